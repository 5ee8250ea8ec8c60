//! A batch of many blocks, each solved by a thread of its own, is one batch: values, reports and gradients.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, Equilibrium, StepOnly};
use equilibria_layers::plugins::affine_tanh::AffineTanhConfig;
use equilibria_layers::solvers::backward::implicit::Implicit;
use equilibria_layers::solvers::regularizers::jacobian::Jacobian;
use equilibria_layers::{Initializer, LayerRequest};
use equilibria_testing::{perturb, random_matrix, relative_difference};

const WIDTH: usize = 6;
const BATCH: usize = 101;

type Values = Vec<Vec<f64>>;

/// z, penalty and all gradients of ⟨c, z*⟩ + penalty.
fn everything<L: ImplicitLayer<f64, Cpu>>(layer: L, x: &Matrix<f64, Cpu>) -> Values {
    let stop = Stop {
        max_evaluations: 300,
        on_unconverged: OnUnconverged::Error,
        ..Stop::at(Tolerance::relative(1e-13))
    };
    let implicit = Implicit {
        stop: stop.clone(),
        ..Implicit::default()
    };
    let backward: Arc<dyn BackwardStrategy> = Arc::new(implicit);
    let solver = equilibria_layers::solvers::solver("anderson").expect("registered");
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.stop = stop;
    // The step is that of the difference which takes the place of exact gradients without a kernel.
    let jacobian = Jacobian {
        step: 1e-4,
        ..Jacobian::default()
    };
    equilibrium.regularizers.push(Arc::new(jacobian));
    let inputs = [x.clone()];
    let solved = equilibrium
        .forward(&inputs, OwnedTape::default())
        .expect("solvable");
    assert_eq!(solved.report.samples.len(), BATCH);
    let (z, tape) = solved.z.split_tape();
    let penalty = equilibrium
        .penalty(&z, &inputs, NoneTape, 4)
        .expect("a value");
    let mut all = vec![to_host(&z), to_host(&penalty)];

    let weights = random_matrix(&Cpu::default(), (BATCH, WIDTH), 3).expect("memory");
    let (loss, tape) = (z.clone().put_tape(tape) * weights)
        .sum::<Rank0, _>()
        .split_tape();
    let penalty = equilibrium.penalty(&z, &inputs, tape, 4).expect("a value");
    let mut gradients = (penalty.sum::<Rank0, _>() + loss).backward();
    let parameters = equilibrium
        .layer
        .named()
        .into_iter()
        .map(|(_, tensor)| tensor);
    for tensor in parameters.chain(inputs) {
        gradients.try_alloc_for(&tensor).expect("memory");
        all.push(to_host(&gradients.get(&tensor)));
    }
    let adjoint = solved
        .adjoint
        .take()
        .expect("solved")
        .expect("the tape has run");
    assert_eq!(adjoint.samples.len(), BATCH);
    all
}

#[test]
fn a_batch_of_many_blocks_is_one_batch() {
    let device = Cpu::default();
    let request = LayerRequest {
        state: WIDTH,
        inputs: &[WIDTH],
        init: &mut Initializer::new(&device, 1),
    };
    let config = AffineTanhConfig::default();
    let mut layer = Build::build::<f64, Cpu>(&config, request).expect("it builds");
    perturb(&mut layer, 0.05, 2).expect("memory");
    let x = random_matrix(&device, (BATCH, WIDTH), 5).expect("inputs");
    let blocks = everything(layer.clone(), &x);
    let whole = everything(StepOnly(layer.clone()), &x);
    for (index, (a, b)) in blocks.iter().zip(&whole).enumerate() {
        // Both solves are good to 1e-13 times ‖(I − J)⁻¹‖; the difference to h² = 1e-8 times third derivatives, here some
        // 3e-3, and to ε / h = 2e-12.
        let difference = relative_difference(a, b);
        assert!(difference < 1e-10, "array {index}: {difference:e}");
    }
    // Threads race, results do not: a second run gives the same bits.
    let bits = |all: &Values| -> Vec<u64> { all.iter().flatten().map(|v| v.to_bits()).collect() };
    assert_eq!(bits(&everything(layer, &x)), bits(&blocks));
}
