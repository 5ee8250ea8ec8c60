//! Results do not depend on the number of threads, to the last bit.

use dfdx::prelude::*;
use equilibria_core::{Backend, Matrix};
use equilibria_fusion::fusions::deq::{Deq, Schedule};
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::solvers::regularizers::jacobian::Jacobian;
use equilibria_fusion::{FusionRequest, Fusions, Pass};
use equilibria_testing::random_matrix;

/// Enough rows for several blocks.
const BATCH: usize = 90;
const WIDTH: usize = 48;

/// The fused state and the gradients of all parameters and features, as bits.
fn everything(schedule: Schedule) -> Vec<Vec<u32>> {
    let device = Cpu::default();
    let config = Deq {
        schedule,
        deviation: 0.08,
        regularizer: vec![Box::new(Jacobian::default())],
        ..Deq::default()
    };
    let request = FusionRequest {
        modalities: 2,
        width: WIDTH,
        widths: &[],
        init: &mut Initializer::new(&device, 3),
    };
    let fusion = <Cpu as Backend<f32>>::build::<Fusions>(&config, request).expect("a fusion");
    let x: Vec<Matrix<f32, Cpu>> = (0..2)
        .map(|seed| random_matrix(&device, (BATCH, WIDTH), seed).expect("a matrix"))
        .collect();
    let mut pass = Pass::training(1);
    let z = fusion.fuse(&x, &mut pass).expect("an equilibrium");
    let loss = pass.run(&z, |z| {
        z.square().sum::<Rank0, Axes2<0, 1>>().reshape_like(&(1, 1))
    });
    let mut gradients = pass.backward(&loss).expect("gradients").gradients;
    let named = fusion.named();
    let tensors = named.iter().map(|(_, tensor)| tensor).chain(&x);
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    let mut all: Vec<Vec<u32>> = vec![bits(z.as_vec())];
    for tensor in tensors {
        gradients.get_or_alloc_mut(tensor).expect("room");
        all.push(bits(gradients.get(tensor).as_vec()));
    }
    all
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for schedule in [Schedule::Sequential, Schedule::Joint] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().expect("threads");
            pool.install(|| everything(schedule))
        };
        let one = with(1);
        assert!(one.iter().flatten().any(|&bits| bits != 0), "all zero");
        for threads in [2, 3, 5] {
            assert!(one == with(threads), "{threads} threads, {schedule:?}");
        }
    }
}
