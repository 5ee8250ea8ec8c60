//! Contracts of all registered backward strategies: a new one is tested without an edit.

mod knowing;

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::{to_host, StepOnly};
use equilibria_solvers as _;
use equilibria_testing::{check_equilibrium, relative_difference};

use knowing::{equilibrium, gradients, map, matrix, tight, transposed_jacobian, Tanh, DIM};

/// More rows than one block has.
const BATCH: usize = 40;

/// ‖A‖₂ is at most 0.62 + 0.2.
const NOISE: f64 = 0.04;

fn make(config: &Value) -> Arc<dyn BackwardStrategy> {
    let made = registry::make::<dyn BackwardStrategy>(config).expect("it parses");
    made.validate().expect("in range");
    Arc::from(made)
}

/// Every strategy with its defaults, but for a tight adjoint solve where there is one.
fn strategies() -> Vec<(registry::Plugin, Arc<dyn BackwardStrategy>)> {
    let plugins = registry::of_kind("backward").expect("linked").into_iter();
    let tighten = |plugin: registry::Plugin| {
        let mut config = plugin.default.clone();
        if let Some(stop) = config.get_mut("stop") {
            *stop = json!(tight());
        }
        (plugin, make(&config))
    };
    plugins.map(tighten).collect()
}

fn says(plugin: &registry::Plugin, start: &str) -> bool {
    plugin
        .docs
        .split("\n\n")
        .any(|part| part.starts_with(start))
}

/// Strategies whose gradient is that of z*; `unrolled` is when it takes enough steps: 0.82¹⁸⁰ < 1e-15.
fn exact_strategies() -> Vec<(String, Arc<dyn BackwardStrategy>)> {
    let mut exact: Vec<_> = strategies()
        .into_iter()
        .filter(|(plugin, _)| says(plugin, "Exact"))
        .map(|(plugin, strategy)| (plugin.name, strategy))
        .collect();
    let long = json!({ "type": "unrolled", "steps": 180 });
    exact.push(("unrolled".to_owned(), make(&long)));
    exact
}

#[test]
fn every_strategy_says_whether_it_is_exact() {
    for (plugin, _) in strategies() {
        let exact = says(&plugin, "Exact");
        assert!(exact != says(&plugin, "Not exact"), "{}", plugin.name);
    }
    let names: Vec<String> = exact_strategies()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for name in ["dense", "implicit", "shine", "unrolled"] {
        assert!(names.iter().any(|exact| exact == name), "{name}: {names:?}");
    }
}

#[test]
fn every_strategy_does_the_same_with_a_kernel_and_with_step_alone() {
    let x = [matrix((BATCH, DIM), 5)];
    let v = matrix((BATCH, DIM), 6);
    for (plugin, strategy) in strategies() {
        let fast = equilibrium(map(NOISE), strategy.clone());
        let plain = equilibrium(StepOnly(map(NOISE)), strategy);
        let (fast, _) = gradients(&fast, &x, &v).expect("solvable");
        let (plain, _) = gradients(&plain, &x, &v).expect("solvable");
        assert_eq!(fast.len(), 2, "A and x");
        for (fast, plain) in fast.iter().zip(&plain) {
            // Both solves, to 1e-14, times ‖(I − A)⁻¹‖ ≤ 6; steps are few, so roundings add less.
            let difference = relative_difference(fast, plain);
            assert!(difference < 1e-12, "{}: {difference:e}", plugin.name);
            assert!(
                fast.iter().any(|value| value.abs() > 0.1),
                "{}",
                plugin.name
            );
        }
    }
}

#[test]
fn exact_strategies_agree_with_theory_and_with_differences() {
    let map = map(NOISE);
    let (x, v) = ([matrix((BATCH, DIM), 5)], matrix((BATCH, DIM), 6));
    let few = [matrix((3, DIM), 5)];
    let inverse = (nalgebra::DMatrix::identity(DIM, DIM) - transposed_jacobian(&map)).try_inverse();
    let inverse = inverse.expect("‖A‖ < 1");
    let rows = |matrix: &Matrix<f64, Cpu>| {
        nalgebra::DMatrix::from_row_slice(BATCH, DIM, &to_host(matrix)).transpose()
    };
    // Columns are samples: z* = (I − Aᵀ)⁻¹ x, u = (I − A)⁻¹ v; the gradients are Σ_s z_s u_sᵀ and u.
    let (z, u) = (inverse.transpose() * rows(&x[0]), inverse * rows(&v));
    let expected = [(z * u.transpose()).transpose(), u];
    for (name, strategy) in exact_strategies() {
        let curved = equilibrium(Tanh { w: map.a.clone() }, strategy.clone());
        let equilibrium = equilibrium(map.clone(), strategy);
        let (all, _) = gradients(&equilibrium, &x, &v).expect("solvable");
        for (got, expected) in all.iter().zip(&expected) {
            // As above: 1e-14, twice, times 6; nalgebra stores columns.
            let difference = relative_difference(got, expected.as_slice());
            assert!(difference < 1e-12, "{name}: {difference:e}");
        }
        // Differences over h = 2e-5 are wrong by 1e-14 · 6 / h = 3e-9 and by h² ‖(I − A)⁻¹‖² / 6 = 3e-9 at most.
        let error = check_equilibrium(&equilibrium, &few, 2e-5).expect("solvable");
        assert!(error < 1e-8, "{name}: {error:e}");
        let error = check_equilibrium(&curved, &few, 2e-5).expect("solvable");
        assert!(error < 1e-8, "{name}, tanh: {error:e}");
    }
}

#[test]
fn the_gradient_of_a_sample_does_not_depend_on_its_batch() {
    // Cubes of normal numbers: samples of different size end at different steps.
    let cubes = |seed| {
        let normal = matrix((BATCH, DIM), seed);
        normal.clone() * normal.clone() * normal
    };
    let (x, v): (Matrix<f64, Cpu>, Matrix<f64, Cpu>) = (cubes(5), cubes(6));
    for (plugin, strategy) in strategies() {
        let mut equilibrium = equilibrium(map(NOISE), strategy);
        equilibrium.stop.tolerance = Tolerance::absolute(1e-8);
        let (all, whole) = gradients(&equilibrium, std::slice::from_ref(&x), &v).expect("solvable");
        for sample in 0..BATCH {
            let row = |matrix: &Matrix<f64, Cpu>| {
                let row = to_host(matrix)[sample * DIM..][..DIM].to_vec();
                Cpu::default().tensor_from_vec(row, (1, DIM))
            };
            let one = gradients(&equilibrium, &[row(&x)], &row(&v)).expect("solvable");
            let bits = |u: &[f64]| u.iter().map(|u| u.to_bits()).collect::<Vec<_>>();
            let expected = bits(&all[1][sample * DIM..][..DIM]);
            assert_eq!(bits(&one.0[1]), expected, "{} {sample}", plugin.name);
            let report = one.1.samples.first();
            assert_eq!(report, whole.samples.get(sample), "{}", plugin.name);
        }
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let refused = |config: Value, message: &str| {
        let made = registry::make::<dyn BackwardStrategy>(&config).expect("it parses");
        let error = made.validate().expect_err("out of range");
        assert_eq!(error.to_string(), message);
    };
    refused(
        json!({ "type": "dense", "max_dim": 0 }),
        "`dense`: `max_dim` must be at least 1, got 0",
    );
    refused(
        json!({ "type": "neumann", "terms": 0 }),
        "`neumann`: `terms` must be at least 1, got 0",
    );
    for name in ["phantom", "unrolled"] {
        refused(
            json!({ "type": name, "steps": 0 }),
            &format!("`{name}`: `steps` must be at least 1, got 0"),
        );
        for (damping, got) in [(0.0, "0"), (-0.5, "-0.5"), (1.5, "1.5")] {
            refused(
                json!({ "type": name, "damping": damping }),
                &format!("`{name}`: `damping` must be in (0, 1], got {got}"),
            );
        }
    }
    refused(
        json!({ "type": "shine", "solver": { "type": "picard", "damping": 2.0 } }),
        "`picard`: `damping` must be in (0, 1], got 2",
    );
    refused(
        json!({ "type": "shine", "stop": { "max_evaluations": 0 } }),
        "`stop`: `max_evaluations` must be at least 1, got 0",
    );
}
