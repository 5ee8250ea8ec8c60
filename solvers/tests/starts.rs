//! Solvers for maps with several equilibria, or none that is reached from everywhere: what they find, in f64.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, Equilibrium};
use equilibria_solvers::forward::newton_gmres::NewtonGmres;
use equilibria_solvers::forward::pseudo_transient::PseudoTransient;
use equilibria_solvers::forward::reversible::Reversible;

/// f(z; x) = z + x z (1 − z²), entry by entry: steady states of dz/dt = x z (1 − z²), of which 0 repels and ±1 attract.
#[derive(Clone, Copy)]
struct Bistable;

impl Parameters<f64, Cpu> for Bistable {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {}

    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {}
}

impl ImplicitLayer<f64, Cpu> for Bistable {
    fn state_dim(&self) -> usize {
        1
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![1]
    }

    fn step(&self, z: &Value<f64, Cpu>, x: &[Value<f64, Cpu>]) -> Result<Value<f64, Cpu>> {
        let cube = z * z * z;
        Ok(z + (z - cube) * &x[0])
    }
}

fn solve(
    layer: Bistable,
    solver: impl FixedPointSolver + 'static,
    start: Vec<f64>,
    rate: f64,
) -> (Vec<f64>, Report) {
    let solver: Arc<dyn FixedPointSolver> = Arc::new(solver);
    let backward = equilibria_solvers::backward("implicit").expect("registered");
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.stop = Stop {
        max_evaluations: 400,
        // Along a trajectory residuals grow before they shrink.
        patience: 400,
        divergence: 1e3,
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::absolute(1e-10))
    };
    let (device, rows) = (Cpu::default(), start.len());
    let start = device.tensor_from_vec(start, (rows, 1));
    let x = [device.tensor_from_vec(vec![rate; rows], (rows, 1))];
    let solved = equilibrium.forward_from(start, &x, NoneTape);
    let solved = solved.expect("it runs");
    (to_host(&solved.z), solved.report)
}

/// From 0.1 the trajectory leads to 1; the slope at 0.1 leads Newton's method back to 0, which no trajectory comes to.
#[test]
fn pseudo_transient_continuation_follows_the_trajectory() {
    let start = vec![0.1, -0.1, 0.3, 2.0];
    for rate in [0.1, 1.0, 10.0] {
        // A time step in proportion to what the equation does in one.
        let solver = PseudoTransient {
            time_step: 0.2 / rate,
            ..PseudoTransient::default()
        };
        let (z, report) = solve(Bistable, solver, start.clone(), rate);
        assert_eq!(report.unconverged(), 0, "{rate}: {report:?}");
        for (z, expected) in z.iter().zip([1.0, -1.0, 1.0, 1.0]) {
            assert!((z - expected).abs() < 1e-8, "{rate}: {z} is not {expected}");
        }
    }
    let (z, _) = solve(Bistable, NewtonGmres::default(), vec![0.1], 1.0);
    assert!(z[0].abs() < 1e-6, "{}", z[0]);
}

/// Near the end each step squares the error: the residuals of the last three say so.
#[test]
fn pseudo_transient_continuation_ends_as_newtons_method() {
    let (_, report) = solve(Bistable, PseudoTransient::default(), vec![0.4], 0.5);
    let steps = report.samples[0].steps;
    assert!((4..25).contains(&steps), "{steps}");
}

/// For f(z) = λ z the states obey μ² = β λ μ + 1 − β, which is below 1 in modulus for |λ| < 1.
#[test]
fn the_reversible_iteration_has_the_rate_of_its_recurrence() {
    let (beta, lambda) = (0.8, 0.9);
    let problem = equilibria_testing::problems::find("linear-complex").expect("known");
    let stop = Stop {
        max_evaluations: 80,
        patience: 80,
        trace: true,
        ..Stop::at(Tolerance::absolute(1e-12))
    };
    let solver = Reversible { damping: beta };
    let run = problem.select(&[0]).solve(
        &solver,
        equilibria_testing::problems::Precision::Double,
        equilibria_testing::problems::Space::Slice,
        &stop,
    );
    let trace = &run.expect("it runs").report.samples[0].trace;
    let real = (beta * lambda + (beta * beta * lambda * lambda + 4.0 * (1.0 - beta)).sqrt()) / 2.0;
    let rate = (trace[79].residual / trace[19].residual).powf(1.0 / 60.0);
    // The eigenvalues of modulus 0.9 are complex: none is slower than a real one.
    assert!(rate < real + 1e-3 && rate > 0.7, "{rate}, {real}");
}
