//! The solve loop: a status per sample, the best iterate, tolerances, and samples that do not know of each other.

mod damped;

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::plumbing::SliceSpace;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, Equilibrium, SampleReport, StepOnly};
use equilibria_testing::{random_matrix, relative_difference, AffineMap};

use damped::Damped;

plugin! {
    /// Plain Picard iteration.
    pub struct Plain: FixedPointSolver {}
}

#[typetag::serde(name = "plain")]
impl FixedPointSolver for Plain {
    fn start(&self, _: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        Ok(Box::new(Plain {}))
    }
}

impl Iteration for Plain {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        space.combine(next, &[(Coef::Same(1.0), at.fz)])
    }
}

plugin! {
    /// No gradient at all.
    pub struct NoGradient: BackwardStrategy {}
}

#[typetag::serde(name = "no-gradient")]
impl BackwardStrategy for NoGradient {
    fn backward(&self, _: &mut dyn DifferentiableMap, _: &Solution, _: Slot) -> Result<Report> {
        Ok(Report::default())
    }
}

/// f(z) = `slope` z + 1 in one dimension, NaN where |f(z) − z| falls below `nan_below`.
#[derive(Clone, Copy)]
struct Line {
    slope: f64,
    nan_below: f64,
}

fn line(slope: f64) -> Line {
    let nan_below = 0.0;
    Line { slope, nan_below }
}

/// One line per sample: its inputs are slopes, and sizes of residuals.
struct Lines;

impl RowMap<f64> for Lines {
    fn apply(&self, x: &[&[f64]], z: &[f64], out: &mut [f64], _: &mut Scratch<f64>) {
        for ((&z, out), (slope, nan_below)) in z.iter().zip(out).zip(x[0].iter().zip(x[1])) {
            let value = slope * z + 1.0;
            *out = if (value - z).abs() < *nan_below {
                f64::NAN
            } else {
                value
            };
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
}

/// Solves every line from 0.
fn solve_lines(lines: &[Line], stop: &Stop) -> (Vec<f64>, Vec<SampleReport>) {
    let slopes: Vec<f64> = lines.iter().map(|line| line.slope).collect();
    let sizes: Vec<f64> = lines.iter().map(|line| line.nan_below).collect();
    let (inputs, none) = ([&slopes[..], &sizes], RowGradients::default());
    let mut space = SliceSpace::new(Arc::new(Lines), 1, 0..lines.len(), &inputs, none);
    let z = space.alloc().expect("memory");
    let report = solve(&Plain {}, &mut space, z, stop).expect("nothing can fail here");
    assert_eq!(space.batch(), lines.len(), "all samples are active again");
    (space.vectors().read(z).expect("host"), report.samples)
}

fn mixed_batch() -> Vec<Line> {
    let failing = Line {
        slope: 0.5,
        nan_below: 0.1,
    };
    vec![
        line(0.5),
        line(0.995),
        line(-1.0),
        line(3.0),
        failing,
        line(0.0),
        line(0.25),
    ]
}

fn mixed_stop() -> Stop {
    Stop {
        max_evaluations: 60,
        patience: 30,
        divergence: 1e4,
        trace: true,
        ..Stop::at(Tolerance::absolute(1e-9))
    }
}

#[test]
fn every_sample_has_its_own_status() {
    let (_, samples) = solve_lines(&mixed_batch(), &mixed_stop());
    let statuses: Vec<Status> = samples.iter().map(|sample| sample.status).collect();
    let expected = [
        Status::Converged,
        Status::MaxEvaluations,
        Status::Stalled,
        Status::Diverged,
        Status::NonFinite,
        Status::Converged,
        Status::Converged,
    ];
    assert_eq!(statuses, expected);
    // From z = 0 the residual at evaluation k is |slope|^(k−1).
    let steps: Vec<usize> = samples.iter().map(|sample| sample.steps).collect();
    // 0.5^(k−1) ≤ 1e-9: k = 31. Out of steps: 60. Stalled: evaluation 1 and 30 more. 3^(k−1) > 1e4: k = 10.
    // 0.5^(k−1) < 0.1: k = 5. Slope 0: z = 1 is exact at k = 2. 0.25^(k−1) ≤ 1e-9: k = 16.
    assert_eq!(steps, [31, 60, 31, 10, 5, 2, 16]);
    for sample in &samples {
        assert_eq!(sample.trace.len(), sample.steps);
        assert_eq!(sample.evaluations, sample.steps);
    }
    assert!(samples[4].trace[4].residual.is_nan());
}

#[test]
fn the_best_iterate_survives_nan_and_divergence() {
    let (z, samples) = solve_lines(&mixed_batch(), &mixed_stop());
    // Slope 1/2: iterates 0, 1, 1.5, 1.75, 1.875 (NaN there); halves are exact.
    approx::assert_relative_eq!(z[4], 1.75, epsilon = 0.0);
    approx::assert_relative_eq!(samples[4].residual, 0.125, epsilon = 0.0);
    approx::assert_relative_eq!(samples[4].relative_residual, 0.125 / 1.875, epsilon = 0.0);
    // Slope 3: the start is the best.
    approx::assert_relative_eq!(z[3], 0.0, epsilon = 0.0);
    approx::assert_relative_eq!(samples[3].residual, 1.0, epsilon = 0.0);
    // Never finite: the start is kept, and the report does not claim a residual.
    let hopeless = Line {
        slope: 0.5,
        nan_below: 2.0,
    };
    let (z, samples) = solve_lines(&[hopeless, line(0.5)], &mixed_stop());
    approx::assert_relative_eq!(z[0], 0.0, epsilon = 0.0);
    assert_eq!(
        (samples[0].status, samples[0].steps),
        (Status::NonFinite, 1)
    );
    assert!(samples[0].residual.is_infinite());
    assert_eq!(samples[1].status, Status::Converged);
}

#[test]
fn tolerances_are_absolute_relative_or_mixed() {
    // Slope 1/2 from 0: at evaluation k the residual is 2^(1−k), ‖f‖ = 2 − 2^(1−k).
    let steps = |tolerance| solve_lines(&[line(0.5)], &Stop::at(tolerance)).1[0].steps;
    // 2^(1−k) ≤ 2^-7: k = 8.
    assert_eq!(steps(Tolerance::absolute(0.0078125)), 8);
    // 2^-6 ≤ 2^-7 (2 − 2^-6) just fails, 2^-7 ≤ 2^-7 (2 − 2^-7) holds: k = 8.
    assert_eq!(steps(Tolerance::relative(0.0078125)), 8);
    // 2^-5 ≤ 2^-7 (1 + 2 − 2^-5) fails, 2^-6 = 2 · 2^-7 ≤ 2^-7 (3 − 2^-6) holds: k = 7.
    assert_eq!(steps(Tolerance::mixed(0.0078125, 0.0078125)), 7);
    // Tolerance 0 is met by an exact fixed point only: slope 0.
    let exact = solve_lines(&[line(0.0)], &Stop::at(Tolerance::absolute(0.0))).1;
    assert_eq!((exact[0].status, exact[0].steps), (Status::Converged, 2));
}

/// f(z) = z / 2 + x in f64, where squares of the residual underflow, lose digits, or overflow.
#[test]
fn norms_neither_underflow_nor_overflow() {
    for size in [1e-170, 1e-150, 1.0, 1e160, 1e200] {
        let device = Cpu::default();
        let map = AffineMap::<f64, Cpu>::new(&device, &[0.5, 0.5], 1).expect("a map");
        let x = [device.tensor_from_vec(vec![size, -size], (1, 2))];
        let equilibrium = Equilibrium::new(map, boxed_solver(), boxed_backward());
        let solved = equilibrium.forward(&x, NoneTape).expect("solved");
        let sample = &solved.report.samples[0];
        assert_eq!(sample.status, Status::Converged, "{size:e}");
        // 2^(1−k) ≤ 1e-4 (2 − 2^(1−k)): k = 14, whatever the unit.
        assert_eq!(sample.steps, 14, "{size:e}");
    }
}

/// f(z) = max(0.05 − z, 0) from 0.05: f(z) = 0 at the start, where a relative tolerance is 0.
#[test]
fn a_vanishing_value_is_no_best_iterate() {
    struct Kink;
    impl RowMap<f64> for Kink {
        fn apply(&self, _: &[&[f64]], z: &[f64], out: &mut [f64], _: &mut Scratch<f64>) {
            out[0] = (0.05 - z[0]).max(0.0);
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
    }
    let none = RowGradients::default();
    let mut space = SliceSpace::new(Arc::new(Kink), 1, 0..1, &[], none);
    let z = space.alloc().expect("memory");
    space.vectors_mut().write(z, &[0.05]).expect("memory");
    let stop = Stop::at(Tolerance::relative(1e-4));
    let damped = Damped {
        factor: 0.3,
        ..Damped::default()
    };
    let report = solve(&damped, &mut space, z, &stop).expect("a solve");
    assert_eq!(report.samples[0].status, Status::Converged);
    let z = space.vectors().read(z).expect("host")[0];
    assert!((z - 0.025).abs() < 1e-5, "{z}");
    assert!(report.samples[0].residual < 1e-5);
}

/// The sample that is named is one that failed.
#[test]
fn the_error_names_an_unsolved_sample() {
    // Slope −1 never settles; slope 0 has converged at a residual of 0 or, at the first step, relative to a small value.
    let lines = [line(0.0), line(-1.0)];
    let (_, samples) = solve_lines(&lines, &mixed_stop());
    let report = Report { samples };
    let stop = Stop {
        on_unconverged: OnUnconverged::Error,
        ..mixed_stop()
    };
    let text = stop
        .judge(&report, "forward")
        .expect_err("one failed")
        .to_string();
    assert!(
        text.contains("1 of 2 samples unsolved (sample 2: stalled"),
        "{text}"
    );
}

#[test]
fn plugins_out_of_range_are_refused_before_they_run() {
    let device = Cpu::default();
    let map = AffineMap::<f64, Cpu>::new(&device, &[0.9], 1).expect("a map");
    let x = [random_matrix(&device, (3, 1), 2).expect("inputs")];
    let mut equilibrium = Equilibrium::new(map, boxed_solver(), boxed_backward());
    equilibrium.stop.patience = 0;
    let error = equilibrium.forward(&x, NoneTape).err().expect("refused");
    assert_eq!(
        error.to_string(),
        "`stop`: `patience` must be at least 1, got 0"
    );
}

#[test]
fn a_sample_does_not_know_its_batch_mates() {
    let (lines, stop) = (mixed_batch(), mixed_stop());
    let (z, samples) = solve_lines(&lines, &stop);
    for (index, &line) in lines.iter().enumerate() {
        let (alone, report) = solve_lines(&[line], &stop);
        assert_eq!(alone[0].to_bits(), z[index].to_bits(), "sample {index}");
        // NaN in the trace of a failed sample is not equal to itself; its text is.
        assert_eq!(
            format!("{:?}", report[0]),
            format!("{:?}", samples[index]),
            "sample {index}"
        );
    }
}

#[test]
fn both_spaces_agree_and_batches_may_be_split() {
    let device = Cpu::default();
    let map = AffineMap::new(&device, &[0.8, -0.5, 0.3], 1).expect("a map");
    let mut stop = Stop::at(Tolerance::absolute(1e-8));
    // 70 rows are three blocks. Rows of very different size finish at different steps.
    let x: Matrix<f64, Cpu> = random_matrix(&device, (70, 3), 2).expect("inputs");
    let x = [x.clone() * x.clone() * x.clone() * x];
    stop.max_evaluations = 500;
    let mut fast = Equilibrium::new(map.clone(), boxed_solver(), boxed_backward());
    fast.stop = stop.clone();
    let mut plain = Equilibrium::new(StepOnly(map.clone()), boxed_solver(), boxed_backward());
    plain.stop = stop;

    let a = fast.forward(&x, NoneTape).expect("solved");
    let b = plain.forward(&x, NoneTape).expect("solved");
    assert_eq!(a.report.unconverged() + b.report.unconverged(), 0);
    let steps = |report: &Report| report.samples.iter().map(|s| s.steps).collect::<Vec<_>>();
    assert_eq!(steps(&a.report), steps(&b.report));
    let different: std::collections::BTreeSet<_> = steps(&a.report).into_iter().collect();
    assert!(different.len() > 5, "samples retire at different steps");
    // Some 100 steps, each wrong by a few ε relative to the rows themselves and damped by 0.8.
    assert!(relative_difference(&to_host(&a.z), &to_host(&b.z)) < 1e-14);

    // The map in rows works row by row: a sample alone gives the same bits as in the batch.
    let host = to_host(&x[0]);
    for sample in [0, 33, 69] {
        let alone = host[sample * 3..][..3].to_vec();
        let alone = device.tensor_from_vec(alone, (1, 3));
        let alone = fast.forward(&[alone], NoneTape).expect("solved");
        assert_eq!(alone.report.samples[0], a.report.samples[sample]);
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            bits(&to_host(&alone.z)),
            bits(&to_host(&a.z)[sample * 3..][..3])
        );
    }
}

#[test]
fn unsolved_samples_are_an_error_only_if_asked_for() {
    let device = Cpu::default();
    let map = AffineMap::<f64, Cpu>::new(&device, &[0.9], 1).expect("a map");
    let x = [random_matrix(&device, (3, 1), 2).expect("inputs")];
    let mut equilibrium = Equilibrium::new(map, boxed_solver(), boxed_backward());
    equilibrium.stop.max_evaluations = 4;
    for policy in [OnUnconverged::Accept, OnUnconverged::Warn] {
        equilibrium.stop.on_unconverged = policy;
        let solved = equilibrium.forward(&x, NoneTape).expect("accepted");
        assert_eq!(solved.report.count(Status::MaxEvaluations), 3);
    }
    equilibrium.stop.on_unconverged = OnUnconverged::Error;
    let error = equilibrium.forward(&x, NoneTape).err().expect("refused");
    let text = error.to_string();
    assert!(
        text.starts_with("forward solve: 3 of 3 samples unsolved"),
        "{text}"
    );
}

fn boxed_solver() -> Arc<dyn FixedPointSolver> {
    Arc::new(Plain {})
}

fn boxed_backward() -> Arc<dyn BackwardStrategy> {
    Arc::new(NoGradient {})
}
