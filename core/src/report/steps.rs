//! A solve as a table of steps, and as lines of a log.

use crate::report::{Report, TracePoint};

/// One step of a solve, over the samples that were active then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Evaluations and products spent on a sample until then; the most, where stages of a chain differ.
    pub evaluations: usize,
    /// The largest ‖f(z) − z‖₂; NaN if one is.
    pub residual: f64,
    /// Samples that were active.
    pub active: usize,
}

impl Report {
    /// The steps of the solve, if it has [traces](crate::Stop::trace); else none.
    pub fn steps(&self) -> Vec<Step> {
        let traces: Vec<_> = self.samples.iter().map(|sample| &sample.trace).collect();
        let count = traces.iter().map(|trace| trace.len()).max().unwrap_or(0);
        let step = |number| {
            let points: Vec<TracePoint> = (traces.iter())
                .filter_map(|trace| trace.get(number).copied())
                .collect();
            let evaluations = points.iter().map(|point| point.evaluations);
            Step {
                evaluations: evaluations.max().unwrap_or(0),
                residual: largest(points.iter().map(|point| point.residual)),
                active: points.len(),
            }
        };
        (0..count).map(step).collect()
    }

    /// Logs the solve: one line at level debug, one line per step at level trace. `solve` says which one it is, e.g.
    /// `forward solve by anderson`; it is asked only if there is something to log.
    ///
    /// A report without samples says nothing: there was no solve.
    pub fn log(&self, solve: impl FnOnce() -> String) {
        if self.samples.is_empty() || !log::log_enabled!(log::Level::Debug) {
            return;
        }
        let solve = solve();
        let residual = largest(self.samples.iter().map(|sample| sample.relative_residual));
        log::debug!(
            "{solve}: {} samples, {} evaluations, {} at most for one sample, largest relative residual {residual:.1e}, \
             {} unconverged{}",
            self.samples.len(),
            self.evaluations(),
            self.max_evaluations(),
            self.unconverged(),
            (self.bound()).map_or_else(String::new, |bound| format!(", error at most {bound:.1e}")),
        );
        if log::log_enabled!(log::Level::Trace) {
            for (number, step) in self.steps().iter().enumerate() {
                log::trace!(
                    "{solve}: step {}, {} evaluations, largest residual {:.3e}, {} active samples",
                    number + 1,
                    step.evaluations,
                    step.residual,
                    step.active
                );
            }
        }
    }
}

/// The largest of some norms; NaN if one is, which `f64::max` would forget.
pub fn largest(norms: impl IntoIterator<Item = f64>) -> f64 {
    let norms = norms.into_iter();
    norms.fold(0.0, |a, b| if b.is_nan() || b > a { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{SampleReport, Status};

    fn sample(trace: &[(usize, f64)]) -> SampleReport {
        let point = |&(evaluations, residual)| TracePoint {
            evaluations,
            residual,
        };
        SampleReport {
            status: Status::Converged,
            steps: trace.len(),
            evaluations: trace.len(),
            rounded: 0,
            stage: 0,
            residual: 0.0,
            relative_residual: 0.0,
            bound: None,
            trace: trace.iter().map(point).collect(),
        }
    }

    #[test]
    fn a_step_is_over_the_samples_that_were_active() {
        let report = Report {
            samples: vec![
                sample(&[(1, 0.5), (2, 0.25), (4, 0.125)]),
                sample(&[(1, 0.75)]),
                sample(&[]),
            ],
        };
        let steps = report.steps();
        let cells = |step: &Step| (step.evaluations, step.active);
        assert_eq!(
            steps.iter().map(cells).collect::<Vec<_>>(),
            [(1, 2), (2, 1), (4, 1)]
        );
        let residuals: Vec<String> = steps.iter().map(|s| s.residual.to_string()).collect();
        assert_eq!(residuals, ["0.75", "0.25", "0.125"]);
        assert!(Report::default().steps().is_empty());
    }

    #[test]
    fn nan_is_the_largest() {
        assert!(largest([1.0, f64::NAN, 2.0]).is_nan());
        assert!((largest([1.0, 3.0, 2.0]) - 3.0).abs() < 1e-15);
    }
}
