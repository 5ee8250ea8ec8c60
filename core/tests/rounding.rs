//! Rounded evaluations: early in a solve, sample by sample, never where it counts.

mod damped;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use equilibria_core::plumbing::SliceSpace;
use equilibria_core::prelude::*;
use equilibria_core::SampleReport;

use damped::Damped;

plugin! {
    /// One after the other.
    pub struct InTurn: FixedPointSolver {
        /// The solvers.
        pub stages: Vec<Box<dyn FixedPointSolver>> = Vec::new(),
    }
}

#[typetag::serde(name = "in-turn")]
impl FixedPointSolver for InTurn {
    fn start(&self, space: &mut dyn Map, t: Tolerance) -> Result<Box<dyn Iteration>> {
        self.stages[0].start(space, t)
    }

    fn stages(&self) -> &[Box<dyn FixedPointSolver>] {
        &self.stages
    }
}

/// f(z) = a z + 1, one a per sample, which is its input. Rounded it is wrong by 1 in 256.
struct Slopes {
    is_rounded: bool,
    /// Evaluations of one sample that were rounded.
    count: Arc<AtomicUsize>,
}

impl RowMap<f64> for Slopes {
    fn apply(&self, x: &[&[f64]], z: &[f64], out: &mut [f64], _: &mut Scratch<f64>) {
        for ((a, z), out) in x[0].iter().zip(z).zip(out) {
            *out = a * z + 1.0;
            if self.is_rounded {
                *out *= 1.0 + 1.0 / 256.0;
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn linearize(
        &self,
        _: &[&[f64]],
        _: &[f64],
        _: &mut [f64],
        _: &mut [&mut [f64]],
        _: &mut Scratch<f64>,
    ) {
    }

    fn vjp(&self, _: &[&[f64]], _: &[&[f64]], _: &[f64], _: &mut [f64], _: &mut Scratch<f64>) {}

    fn pull_back(
        &self,
        _: &[&[f64]],
        _: &[&[f64]],
        _: &[f64],
        _: &mut RowGradients<f64>,
        _: &mut Scratch<f64>,
    ) {
    }

    fn rounded(self: Arc<Self>) -> Option<Arc<dyn RowMap<f64>>> {
        let (is_rounded, count) = (true, self.count.clone());
        Some(Arc::new(Self { is_rounded, count }))
    }
}

struct Outcome {
    z: Vec<f64>,
    samples: Vec<SampleReport>,
    rounded: usize,
}

/// Solves from 0.
fn solve_from_0(solver: &dyn FixedPointSolver, slopes: &[f64], stop: &Stop) -> Outcome {
    let rounded = Arc::new(AtomicUsize::new(0));
    let map = Arc::new(Slopes {
        is_rounded: false,
        count: rounded.clone(),
    });
    let (rows, none) = (0..slopes.len(), RowGradients::default());
    let mut space = SliceSpace::new(map, 1, rows, &[slopes], none);
    let z = space.alloc().expect("memory");
    let report = solve(solver, &mut space, z, stop).expect("nothing can fail here");
    let count = rounded.load(Ordering::Relaxed);
    let again = space.alloc().expect("memory");
    space.apply(z, again).expect("nothing can fail here");
    assert_eq!(
        rounded.load(Ordering::Relaxed),
        count,
        "exact after a solve"
    );
    Outcome {
        z: space.vectors().read(z).expect("host"),
        samples: report.samples,
        rounded: count,
    }
}

const SLOPES: [f64; 7] = [0.5, 0.995, -1.0, 3.0, 0.0, 0.25, -0.9];

fn stop() -> Stop {
    Stop {
        max_evaluations: 200,
        divergence: 1e4,
        trace: true,
        rounded: true,
        ..Stop::at(Tolerance::relative(1e-9))
    }
}

#[test]
fn what_counts_as_solved_is_exact() {
    let Outcome {
        z,
        samples,
        rounded,
    } = solve_from_0(&Damped::default(), &SLOPES, &stop());
    let exact = Stop {
        rounded: false,
        ..stop()
    };
    let exact = solve_from_0(&Damped::default(), &SLOPES, &exact);
    assert_eq!(exact.rounded, 0);
    // Slope 1/2: rounded until the residual 2^(1−k) is below 1 % of 2 or so, k = 7 or 8 of the 31 evaluations.
    let alone = solve_from_0(&Damped::default(), &SLOPES[..1], &stop());
    assert!((6..=9).contains(&alone.rounded), "{}", alone.rounded);
    assert!(rounded > alone.rounded);
    for (index, slope) in SLOPES.into_iter().enumerate() {
        let (sample, reference) = (&samples[index], &exact.samples[index]);
        assert_eq!(sample.status, reference.status, "{slope}");
        if sample.status == Status::Converged {
            // The residual of the exact map, of a rounded one it would be 1 / 256 of f.
            let residual = (slope * z[index] + 1.0 - z[index]).abs();
            assert!(residual <= 1.01e-9 * z[index].abs(), "{slope}");
            approx::assert_relative_eq!(residual, sample.residual, epsilon = 1e-15);
            // One more where the first exact evaluation is not as near as a rounded one seemed, and one to confirm.
            assert!(sample.steps <= reference.steps + 2, "{slope}");
        }
    }
}

#[test]
fn a_sample_does_not_know_its_batch_mates() {
    let stages: Vec<Box<dyn FixedPointSolver>> = vec![
        Box::new(Damped::default()),
        Box::new(Damped {
            factor: 0.5,
            tolerant: true,
        }),
        Box::new(Damped {
            factor: 0.25,
            tolerant: false,
        }),
    ];
    for solver in [
        Box::new(Damped::default()) as Box<dyn FixedPointSolver>,
        Box::new(InTurn { stages }),
    ] {
        let batch = solve_from_0(&*solver, &SLOPES, &stop());
        let mut rounded = 0;
        for (index, slope) in SLOPES.into_iter().enumerate() {
            let alone = solve_from_0(&*solver, &[slope], &stop());
            assert_eq!(alone.z[0].to_bits(), batch.z[index].to_bits(), "{slope}");
            assert_eq!(
                format!("{:?}", alone.samples[0]),
                format!("{:?}", batch.samples[index]),
                "{slope}"
            );
            rounded += alone.rounded;
        }
        assert_eq!(batch.rounded, rounded);
        assert!(rounded > 0);
    }
}

#[test]
fn the_last_evaluation_of_a_budget_is_exact() {
    for (max_evaluations, rounded) in [(1, 0), (2, 1), (4, 3)] {
        let stop = Stop {
            max_evaluations,
            ..stop()
        };
        let outcome = solve_from_0(&Damped::default(), &[0.9], &stop);
        assert_eq!(outcome.rounded, rounded);
        let residual = (0.9 * outcome.z[0] + 1.0 - outcome.z[0]).abs();
        approx::assert_relative_eq!(outcome.samples[0].residual, residual, epsilon = 1e-14);
        assert_eq!(outcome.samples[0].status, Status::MaxEvaluations);
    }
}

#[test]
fn solvers_that_do_not_tolerate_it_are_exact() {
    let solver = Damped {
        factor: 1.0,
        tolerant: false,
    };
    assert_eq!(solve_from_0(&solver, &SLOPES, &stop()).rounded, 0);
}
