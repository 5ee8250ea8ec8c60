//! Solvers for maps with several equilibria, or none that is reached from everywhere: what they find, in f64.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, Equilibrium};
use equilibria_solvers::forward::newton_gmres::NewtonGmres;
use equilibria_solvers::forward::picard::Picard;
use equilibria_solvers::forward::pseudo_transient::PseudoTransient;
use equilibria_solvers::forward::restarts::Restarts;
use equilibria_solvers::forward::reversible::Reversible;
use equilibria_testing::problems::{Precision, Space};

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

/// f(z; x) = x + N(z − x) with Newton's N(w) = (2 w³ − 2) / (3 w² − 2) for w³ − 2 w + 2 = 0, which takes 0 to 1 and 1 to 0: plain
/// iteration from there never ends, and from nearly everywhere else it comes to w = −1.769.
#[derive(Clone, Copy)]
struct Cycle;

impl Parameters<f64, Cpu> for Cycle {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {}

    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {}
}

impl ImplicitLayer<f64, Cpu> for Cycle {
    fn state_dim(&self) -> usize {
        1
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![1]
    }

    fn step(&self, z: &Value<f64, Cpu>, x: &[Value<f64, Cpu>]) -> Result<Value<f64, Cpu>> {
        let w = z - &x[0];
        let square = &w * &w;
        Ok((&square * &w * 2.0 - 2.0) / (square * 3.0 - 2.0) + &x[0])
    }
}

/// The solution of w³ − 2 w + 2 = 0.
const ROOT: f64 = -1.769_292_354_238_631_4;

fn restarted(count: usize, x: &[f64]) -> (Vec<f64>, Report) {
    let solver: Arc<dyn FixedPointSolver> = Arc::new(Restarts {
        solver: Box::new(Picard::default()),
        count,
        ..Restarts::default()
    });
    let backward = equilibria_solvers::backward("implicit").expect("registered");
    let mut equilibrium = Equilibrium::new(Cycle, solver, backward);
    equilibrium.stop = Stop {
        max_evaluations: 500,
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::absolute(1e-12))
    };
    let x = [Cpu::default().tensor_from_vec(x.to_vec(), (x.len(), 1))];
    let solved = equilibrium.forward(&x, NoneTape).expect("it runs");
    (to_host(&solved.z), solved.report)
}

/// The first and the second sample are on the cycle at 0, where solves begin; the others are not.
#[test]
fn restarts_leave_a_cycle() {
    let x = [0.0, -1.0, 2.5, 1.5];
    let (_, report) = restarted(0, &x);
    let solved = |report: &Report| -> Vec<bool> {
        let samples = report.samples.iter();
        samples
            .map(|sample| sample.status == Status::Converged)
            .collect()
    };
    assert_eq!(solved(&report), [false, false, true, true]);
    let (z, report) = restarted(8, &x);
    assert_eq!(solved(&report), [true; 4], "{report:?}");
    for (z, x) in z.iter().zip(x) {
        assert!((z - x - ROOT).abs() < 1e-10, "{z} for {x}");
    }
    let stages: Vec<usize> = report.samples.iter().map(|sample| sample.stage).collect();
    assert!(stages[0] > 0 && stages[1] > 0, "{stages:?}");
    assert_eq!(stages[2..], [0, 0]);
}

/// What comes of a sample is the same alone, in a batch, and in a batch in another order.
#[test]
fn restarts_do_not_depend_on_the_order_of_samples() {
    let x = [2.5, 0.0, -1.0, 0.0, 1.5, -1.0, 0.0];
    let (z, report) = restarted(8, &x);
    let order = [6, 2, 0, 4, 1, 5, 3];
    let (moved, moved_report) = restarted(8, &order.map(|sample| x[sample]));
    for (row, &sample) in order.iter().enumerate() {
        let (alone, alone_report) = restarted(8, &[x[sample]]);
        let expected = z[sample].to_bits();
        assert_eq!(moved[row].to_bits(), expected, "sample {sample}");
        assert_eq!(alone[0].to_bits(), expected, "sample {sample}");
        assert_eq!(moved_report.samples[row], report.samples[sample]);
        assert_eq!(alone_report.samples[0], report.samples[sample]);
    }
}

/// Where there is no solution, what is kept is the best of all starts, and more starts are never worse.
#[test]
fn of_all_starts_the_best_state_is_kept() {
    let problem = equilibria_testing::problems::all().into_iter();
    let problem = problem.filter(|problem| problem.solutions.iter().all(Option::is_none));
    let stop = Stop {
        max_evaluations: 2000,
        ..Stop::at(Tolerance::absolute(1e-12))
    };
    for problem in problem {
        let residuals = [0, 1, 6].map(|count| {
            let solver = Restarts {
                count,
                ..Restarts::default()
            };
            let run = problem.solve(&solver, Precision::Double, Space::Slice, &stop);
            let report = run.expect("it runs").report;
            let samples = report.samples.iter();
            samples.map(|sample| sample.residual).collect::<Vec<f64>>()
        });
        for pair in residuals.windows(2) {
            let worse = pair[1].iter().zip(&pair[0]).any(|(more, few)| more > few);
            assert!(!worse, "{}: {residuals:?}", problem.name);
        }
    }
}

#[test]
fn more_restarts_than_pay_are_refused() {
    let solver = |count| Restarts {
        count,
        ..Restarts::default()
    };
    assert!(solver(1000).validate().is_ok());
    for count in [1001, usize::MAX] {
        match solver(count).validate() {
            Err(Error::Config { field, .. }) => assert_eq!(field, "count"),
            other => panic!("{count}: {other:?}"),
        }
        // Not even where nobody has validated it.
        assert_eq!(solver(count).attempts(), 1001);
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
    let run = problem
        .select(&[0])
        .solve(&solver, Precision::Double, Space::Slice, &stop);
    let trace = &run.expect("it runs").report.samples[0].trace;
    let real = (beta * lambda + (beta * beta * lambda * lambda + 4.0 * (1.0 - beta)).sqrt()) / 2.0;
    let rate = (trace[79].residual / trace[19].residual).powf(1.0 / 60.0);
    // The eigenvalues of modulus 0.9 are complex: none is slower than a real one.
    assert!(rate < real + 1e-3 && rate > 0.7, "{rate}, {real}");
}
