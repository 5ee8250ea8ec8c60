//! Contracts of all registered regularizers: a new one is tested without an edit.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::json;
use equilibria_core::{to_host, Equilibrium, StepOnly};
use equilibria_solvers::backward::jacobian_free::JacobianFree;
use equilibria_solvers::forward::picard::Picard;
use equilibria_testing::{random_matrix, relative_difference, AffineMap};

/// More rows than one block has.
const SHAPE: (usize, usize) = (40, 4);

/// No contraction, so that a bound on the spectrum is exceeded.
const SPECTRUM: [f64; 4] = [1.2, -0.5, 0.3, 0.1];

/// The penalty, then its gradients by A and x.
fn penalty<L: ImplicitLayer<f64, Cpu>>(
    layer: L,
    regularizer: Arc<dyn Regularizer>,
    seed: u64,
) -> Vec<Vec<f64>> {
    let matrix = |seed| random_matrix(&Cpu::default(), SHAPE, seed).expect("memory");
    let (z, x) = (matrix(2), [matrix(3)]);
    let solver: Arc<dyn FixedPointSolver> = Arc::new(Picard::default());
    let backward: Arc<dyn BackwardStrategy> = Arc::new(JacobianFree::default());
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.regularizers.push(regularizer);
    let value = equilibrium.penalty(&z, &x, OwnedTape::default(), seed);
    let (value, tape) = value.expect("a value").split_tape();
    let mut all = vec![to_host(&value)];
    let mut gradients = value.put_tape(tape).sum::<Rank0, _>().backward();
    let parameters = equilibrium.named().into_iter().map(|(_, tensor)| tensor);
    for tensor in parameters.chain(x) {
        gradients.try_alloc_for(&tensor).expect("memory");
        all.push(to_host(&gradients.get(&tensor)));
    }
    all
}

#[test]
fn every_regularizer_does_the_same_with_a_kernel_and_with_step_alone() {
    let map: AffineMap<f64, Cpu> = AffineMap::new(&Cpu::default(), &SPECTRUM, 1).expect("a map");
    for plugin in registry::of_kind("regularizer").expect("linked") {
        let regularizer = registry::default::<dyn Regularizer>(&plugin.name).expect("registered");
        let regularizer: Arc<dyn Regularizer> = Arc::from(regularizer);
        let fast = penalty(map.clone(), regularizer.clone(), 11);
        let plain = penalty(StepOnly(map.clone()), regularizer.clone(), 11);
        assert!(fast[0][0] > 0.01, "{}: {:?}", plugin.name, fast[0]);
        for (fast, plain) in fast.iter().zip(&plain) {
            // Roundings, some 100 of them; a difference over 5e-3 loses two digits more.
            let difference = relative_difference(fast, plain);
            assert!(difference < 1e-12, "{}: {difference:e}", plugin.name);
        }
        let bits = |all: &[Vec<f64>]| -> Vec<u64> {
            all.iter().flatten().map(|value| value.to_bits()).collect()
        };
        let again = penalty(map.clone(), regularizer, 11);
        assert_eq!(bits(&again), bits(&fast), "{}", plugin.name);
    }
}

#[test]
fn every_regularizer_refuses_a_negative_weight() {
    for plugin in registry::of_kind("regularizer").expect("linked") {
        let name = &plugin.name;
        let config = json!({ "type": name, "weight": -1.0 });
        let made = registry::make::<dyn Regularizer>(&config).expect("it parses");
        let error = made.validate().expect_err("out of range");
        let message = format!("`{name}`: `weight` must be finite and at least 0, got -1");
        assert_eq!(error.to_string(), message);
    }
}
