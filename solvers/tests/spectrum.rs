//! Measured spectral radii of maps whose spectra are known.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, Equilibrium, StepOnly};
use equilibria_solvers::backward::jacobian_free::JacobianFree;
use equilibria_solvers::forward::picard::Picard;
use equilibria_solvers::spectrum::spectral_radius;
use equilibria_testing::{random_matrix, AffineMap};

/// More rows than one block has.
const BATCH: usize = 40;

fn radii<L: ImplicitLayer<f64, Cpu>>(layer: L, x: &Matrix<f64, Cpu>, krylov: usize) -> Vec<f64> {
    let z = random_matrix(&Cpu::default(), (x.shape().0, layer.state_dim()), 2).expect("memory");
    let solver: Arc<dyn FixedPointSolver> = Arc::new(Picard::default());
    let backward: Arc<dyn BackwardStrategy> = Arc::new(JacobianFree::default());
    let equilibrium = Equilibrium::new(layer, solver, backward);
    let job = |space: &mut dyn DifferentiableMap, slots: &[Slot]| {
        spectral_radius(space, slots[0], krylov, 7)
    };
    let radii = equilibrium.inspect(&[z], std::slice::from_ref(x), job);
    radii.expect("finite").concat()
}

/// f(z; x) = z A + x with the rows of A one after the other.
fn map(rows: &[f64], dim: usize) -> AffineMap<f64, Cpu> {
    let device = Cpu::default();
    let mut map = AffineMap::new(&device, &vec![0.0; dim], 1).expect("a map");
    map.a = from_host(&device, rows.to_vec(), (dim, dim)).expect("memory");
    map
}

/// Every sample, in blocks and as one batch, is within `allowed` of `expected`.
fn check(map: &AffineMap<f64, Cpu>, krylov: usize, expected: f64, allowed: f64) {
    let shape = (BATCH, map.state_dim());
    let x = random_matrix(&Cpu::default(), shape, 3).expect("memory");
    let fast = radii(map.clone(), &x, krylov);
    let plain = radii(StepOnly(map.clone()), &x, krylov);
    assert_eq!((fast.len(), plain.len()), (BATCH, BATCH));
    for radius in fast.iter().chain(&plain) {
        let error = (radius - expected).abs();
        assert!(error <= allowed, "{radius} is not {expected}");
    }
}

#[test]
fn real_spectra() {
    let device = Cpu::default();
    // Symmetric maps: eigenvalues are as accurate as the matrix, some 50 roundings.
    for spectrum in [
        &[0.7][..],
        &[0.0, 0.0],
        &[0.9, -0.5, 0.3],
        &[-1.5, 0.9, 1.2],
    ] {
        let map = AffineMap::new(&device, spectrum, 5).expect("a map");
        let expected = spectrum.iter().fold(0.0_f64, |r, value| r.max(value.abs()));
        check(&map, 10, expected, 1e-14);
    }
    // The other 29 eigenvalues lie in [−0.5, 0.5]: with 20 steps the error is below 1 / T₁₉(1.8)² = 1e-19, T a Chebyshev
    // polynomial, times tan² of the angle at the start, 1e8 at most but for one sample in 1e4.
    let rest = (0..29).map(|k| f64::from(k) / 28.0 - 0.5);
    let spectrum: Vec<f64> = std::iter::once(0.9).chain(rest).collect();
    let map = AffineMap::new(&device, &spectrum, 5).expect("a map");
    check(&map, 20, 0.9, 1e-10);
}

#[test]
fn complex_pairs_are_measured_where_power_iteration_turns_in_circles() {
    let (sin, cos) = 1.0_f64.sin_cos();
    let rotation = [0.9 * cos, -0.9 * sin, 0.9 * sin, 0.9 * cos];
    check(&map(&rotation, 2), 2, 0.9, 1e-14);
    // A product of companion matrices is far from normal: λ² = 2λ − 2 has |λ|² = 2; and 0.5 beside it.
    let companion = [0.0, 1.0, 0.0, -2.0, 2.0, 3.0, 0.0, 0.0, 0.5];
    check(&map(&companion, 3), 3, 2.0_f64.sqrt(), 1e-12);
    // Eigenvalues are the cube roots of 1: all of the same size.
    let cycle = [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
    check(&map(&cycle, 3), 3, 1.0, 1e-12);
}

#[test]
fn a_nilpotent_map_has_no_spectrum_to_speak_of() {
    // A rounding of ε = 2e-16 in a nilpotent matrix of dimension d moves its eigenvalues by ε^(1/d).
    check(&map(&[0.0, 1.0, 0.0, 0.0], 2), 5, 0.0, 1e-7);
    let chain = [0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0];
    check(&map(&chain, 3), 5, 0.0, 1e-4);
    check(&map(&[0.0; 4], 2), 2, 0.0, 0.0);
}

/// f(z; x) = x ⊙ z: every sample has a spectrum of its own.
#[derive(Clone)]
struct Slopes;

impl Parameters<f64, Cpu> for Slopes {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {}

    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {}
}

impl ImplicitLayer<f64, Cpu> for Slopes {
    fn state_dim(&self) -> usize {
        3
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![3]
    }

    fn step(&self, z: &Value<f64, Cpu>, x: &[Value<f64, Cpu>]) -> Result<Value<f64, Cpu>> {
        Ok(z * &x[0])
    }
}

#[test]
fn samples_do_not_share_a_spectrum() {
    // The second sample's Krylov space has one dimension, the third one's none; the fourth cannot be measured.
    let huge = f64::MAX;
    let slopes = [
        0.1, -0.8, 0.3, 0.4, 0.4, 0.4, 0.0, 0.0, 0.0, huge, huge, 1.0,
    ];
    let x = from_host(&Cpu::default(), slopes.to_vec(), (4, 3)).expect("memory");
    let radii = radii(Slopes, &x, 3);
    for (radius, expected) in radii.iter().zip([0.8, 0.4, 0.0]) {
        assert!((radius - expected).abs() < 1e-14, "{radii:?}");
    }
    assert!(radii[3].is_nan(), "{radii:?}");
}

#[test]
fn a_krylov_space_has_a_dimension() {
    let device = Cpu::default();
    let map: AffineMap<f64, Cpu> = AffineMap::new(&device, &[0.5], 1).expect("a map");
    let x = [random_matrix(&device, (1, 1), 3).expect("memory")];
    let solver = equilibria_solvers::solver("picard").expect("registered");
    let backward = equilibria_solvers::backward("implicit").expect("registered");
    let equilibrium = Equilibrium::new(map, solver, backward);
    let error = equilibrium.inspect(&x, &x, |space, at| spectral_radius(space, at[0], 0, 1));
    assert_eq!(
        error.expect_err("refused").to_string(),
        "`spectral_radius`: `krylov` must be at least 1, got 0"
    );
    let wrong = [random_matrix(&device, (2, 1), 3).expect("memory")];
    let error = equilibrium.inspect(&wrong, &x, |_, _| Ok(()));
    assert_eq!(
        error.expect_err("refused").to_string(),
        "a state: expected (1, 1), got (2, 1)"
    );
}
