//! The two schedules of DEQ fusion agree, in value and in every gradient, and maps in rows agree with steps.

use dfdx::prelude::*;
use equilibria_core::{AnyLayer, Backend, ImplicitLayer, Matrix, Stop, Tolerance};
use equilibria_fusion::deq::{FuseBlock, JointLayer};
use equilibria_fusion::fusions::deq::{Deq, Schedule};
use equilibria_fusion::layers::modules::{GroupNorm, Linear};
use equilibria_fusion::layers::plugins::residual_block::ResidualBlock;
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::solvers::backward::implicit::Implicit;
use equilibria_fusion::{FusionRequest, Fusions, Pass};
use equilibria_testing::{check_row_map, check_tangent_gradients, perturb, random_matrix};

const WIDTH: usize = 8;

fn random(shape: (usize, usize), seed: u64) -> Matrix<f64, Cpu> {
    random_matrix(&Cpu::default(), shape, seed).expect("a matrix")
}

fn gradients(schedule: Schedule, x: &[Matrix<f64, Cpu>]) -> Vec<Vec<f64>> {
    let stop = Stop::at(Tolerance::relative(1e-13));
    let config = Deq {
        schedule,
        deviation: 0.1,
        stop: stop.clone(),
        backward: Box::new(Implicit {
            stop,
            ..Implicit::default()
        }),
        ..Deq::default()
    };
    let mut init = Initializer::new(&Cpu::default(), 3);
    let request = FusionRequest {
        modalities: x.len(),
        width: WIDTH,
        widths: &[],
        init: &mut init,
    };
    let fusion = <Cpu as Backend<f64>>::build::<Fusions>(&config, request).expect("a fusion");
    let mut pass = Pass::training(1);
    let z = fusion.fuse(x, &mut pass).expect("an equilibrium");
    let weights = random(*z.shape(), 7);
    let loss = pass.run(&z, |z| {
        (z * weights)
            .sum::<Rank0, Axes2<0, 1>>()
            .reshape_like(&(1, 1))
    });
    let mut gradients = pass.backward(&loss).expect("gradients").gradients;
    let named = fusion.named();
    let tensors = named.iter().map(|(_, tensor)| tensor).chain(x);
    let mut all = vec![z.as_vec()];
    for tensor in tensors {
        gradients.get_or_alloc_mut(tensor).expect("room");
        all.push(gradients.get(tensor).as_vec());
    }
    all
}

#[test]
fn both_schedules_have_the_same_fixed_point_and_gradients() {
    let x: Vec<_> = (0..3).map(|seed| random((5, WIDTH), seed)).collect();
    let sequential = gradients(Schedule::Sequential, &x);
    let joint = gradients(Schedule::Joint, &x);
    for (a, b) in sequential.iter().flatten().zip(joint.iter().flatten()) {
        assert!((a - b).abs() <= 1e-10, "{a} {b}");
    }
    assert!(sequential.iter().skip(1).flatten().any(|g| g.abs() > 1e-3));
}

/// Without this, a map that lost its product J v would pass the check of maps.
fn has_jacobian_products(layer: &impl ImplicitLayer<f64, Cpu>) -> bool {
    let map = layer.row_map().expect("a map");
    map.tangents().is_some()
}

#[test]
fn maps_of_the_fusion_layers_in_rows_agree_with_their_steps() {
    let mut init = Initializer::new(&Cpu::default(), 5);
    // Groups of four: in a group of two the normalized values are ±1 whatever x is, so gradients are pure cancellation.
    let mut fuse = FuseBlock::<f64, Cpu>::new(WIDTH, 3, 2, 0.2, &mut init).expect("a layer");
    let (z, x) = (random((6, WIDTH), 1), [2, 3].map(|s| random((6, WIDTH), s)));
    for gate in [true, false] {
        fuse.gate = gate;
        assert!(has_jacobian_products(&fuse), "gate {gate}");
        let worst = check_row_map(&fuse, &z, &x)
            .expect("a check")
            .expect("a map");
        assert!(worst <= 1e-12, "gate {gate}: {worst}");
        let tangent = check_tangent_gradients(&fuse, &z, &x).expect("it works");
        assert!(
            tangent.is_some_and(|d| d < 1e-7),
            "gate {gate}: {tangent:?}"
        );
        let theta = (1..=3).map(|_| {
            let [hat, tilde] = [(); 2].map(|()| Linear::normal(WIDTH, WIDTH, 0.2, &mut init));
            let mut norm = || GroupNorm::new(WIDTH, 2, &mut init).expect("a layer");
            let [gn1, gn2, gn3] = [norm(), norm(), norm()];
            let [hat, tilde] = [hat, tilde].map(|linear| linear.expect("a layer"));
            let skip = false;
            AnyLayer::new(ResidualBlock {
                hat,
                tilde,
                gn1,
                gn2,
                gn3,
                skip,
                tokens: 1,
            })
        });
        let mut joint = JointLayer {
            theta: theta.collect(),
            fuse: fuse.clone(),
        };
        perturb(&mut joint, 0.1, 4).expect("memory");
        let z = random((6, 4 * WIDTH), 1);
        let x = [2, 3, 4, 5].map(|seed| random((6, WIDTH), seed));
        assert!(has_jacobian_products(&joint), "joint, gate {gate}");
        let worst = check_row_map(&joint, &z, &x).expect("a check");
        let worst = worst.expect("a map");
        assert!(worst <= 1e-12, "joint, gate {gate}: {worst}");
        let tangent = check_tangent_gradients(&joint, &z, &x).expect("it works");
        assert!(
            tangent.is_some_and(|d| d < 1e-7),
            "joint, gate {gate}: {tangent:?}"
        );
    }
}
