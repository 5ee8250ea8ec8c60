//! The Jacobian penalty is an unbiased estimate of ‖J‖²_F / d.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, Equilibrium, StepOnly};
use equilibria_solvers::regularizers::jacobian::Jacobian;
use equilibria_testing::{random_matrix, AffineMap};

const SPECTRUM: [f64; 4] = [0.9, -0.5, 0.3, 0.1];

fn penalty<L: ImplicitLayer<f64, Cpu>>(
    layer: L,
    jacobian: Jacobian,
    batch: usize,
    seed: u64,
) -> f64 {
    let device = Cpu::default();
    let x = [random_matrix(&device, (batch, 4), 2).expect("inputs")];
    let z = random_matrix(&device, (batch, 4), 3).expect("a state");
    let solver = equilibria_solvers::solver("picard").expect("registered");
    let backward = equilibria_solvers::backward("jacobian-free").expect("registered");
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.regularizers.push(Arc::new(jacobian));
    let value = equilibrium
        .penalty(&z, &x, NoneTape, seed)
        .expect("a value");
    to_host(&value)[0]
}

#[test]
fn its_mean_is_the_squared_frobenius_norm() {
    let map = AffineMap::new(&Cpu::default(), &SPECTRUM, 1).expect("a map");
    let (batch, probes, weight) = (40, 500, 0.25);
    let jacobian = Jacobian {
        weight,
        probes,
        step: 1e-3,
        ..Jacobian::default()
    };
    let square = |power| SPECTRUM.iter().map(|value| value.powi(power)).sum::<f64>();
    // ‖εᵀJ‖² has mean ‖J‖²_F and variance 2 ‖JᵀJ‖²_F; all batch · probes draws are independent.
    let mean = weight * square(2) / 4.0;
    let deviation = weight * (2.0 * square(4) / (batch * probes) as f64).sqrt() / 4.0;
    let value = penalty(map.clone(), jacobian.clone(), batch, 11);
    assert!(
        (value - mean).abs() < 4.0 * deviation,
        "{value} is not {mean} ± {deviation}"
    );
    assert!(deviation < 0.02 * mean, "the test is sharp");
    // Both paths draw the same probes.
    let plain = penalty(StepOnly(map), jacobian, batch, 11);
    assert!(
        (value - plain).abs() < 1e-13 * plain,
        "{value} is not {plain}"
    );
}

#[test]
fn it_is_applied_as_often_as_asked_for_and_then_in_full() {
    let map = AffineMap::new(&Cpu::default(), &SPECTRUM, 1).expect("a map");
    let always = Jacobian::default();
    let rare = Jacobian {
        frequency: 0.25,
        ..always.clone()
    };
    let (seeds, mut applied) = (400, 0);
    for seed in 0..seeds {
        // 40 samples are two blocks with a kernel and one batch without: the decision is the same.
        let got = penalty(map.clone(), rare.clone(), 40, seed);
        let plain = penalty(StepOnly(map.clone()), rare.clone(), 40, seed);
        let whole = penalty(map.clone(), always.clone(), 40, seed);
        assert!((got - plain).abs() < 1e-13 * whole, "{got} is not {plain}");
        if got > 0.0 {
            applied += 1;
            assert_eq!(got.to_bits(), whole.to_bits(), "seed {seed}");
        }
    }
    // Four deviations √(pq / n) of the binomial distribution.
    let share = f64::from(applied) / seeds as f64;
    assert!(
        (share - 0.25).abs() < 4.0 * (0.25_f64 * 0.75 / seeds as f64).sqrt(),
        "{share}"
    );
}

#[test]
fn values_out_of_range_are_refused() {
    let message = |jacobian: Jacobian| jacobian.validate().expect_err("out of range").to_string();
    let good = Jacobian::default;
    assert_eq!(
        message(Jacobian {
            weight: -1.0,
            ..good()
        }),
        "`jacobian`: `weight` must be finite and at least 0, got -1"
    );
    assert_eq!(
        message(Jacobian {
            probes: 0,
            ..good()
        }),
        "`jacobian`: `probes` must be at least 1, got 0"
    );
    assert_eq!(
        message(Jacobian {
            step: f64::NAN,
            ..good()
        }),
        "`jacobian`: `step` must be finite and above 0, got NaN"
    );
    for (frequency, got) in [(0.0, "0"), (1.5, "1.5"), (f64::NAN, "NaN")] {
        assert_eq!(
            message(Jacobian {
                frequency,
                ..good()
            }),
            format!("`jacobian`: `frequency` must be in (0, 1], got {got}")
        );
    }
}
