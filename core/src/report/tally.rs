//! What the solves of many calls add up to.

use super::Report;

/// Sums over the solves of many calls, e.g. those of an epoch: who keeps one and looks at it needs no logger to learn that
/// samples were left unsolved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Samples, counted once per call.
    pub solves: usize,
    /// Evaluations of f and products with its Jacobian.
    pub evaluations: usize,
    /// Solves that did not converge, for whatever reason.
    pub unconverged: usize,
    /// The largest relative residual; NaN if one is.
    pub residual: f64,
}

impl Tally {
    /// Adds the solves of one call.
    pub fn add(&mut self, report: &Report) {
        self.solves += report.samples.len();
        self.evaluations += report.evaluations();
        self.unconverged += report.unconverged();
        let residuals = report.samples.iter().map(|sample| sample.relative_residual);
        self.residual = super::largest(residuals.chain([self.residual]));
    }

    /// Evaluations per solve; 0 without any.
    pub fn mean_evaluations(&self) -> f64 {
        self.evaluations as f64 / self.solves.max(1) as f64
    }

    /// Share of the solves that did not converge; 0 without any.
    pub fn unconverged_fraction(&self) -> f64 {
        self.unconverged as f64 / self.solves.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SampleReport, Status};

    #[test]
    fn solves_of_many_calls_add_up() {
        let sample = |status, evaluations, relative_residual| SampleReport {
            status,
            steps: evaluations,
            evaluations,
            rounded: 0,
            stage: 0,
            residual: relative_residual,
            relative_residual,
            bound: None,
            trace: Vec::new(),
        };
        let report = |samples| Report { samples };
        let mut tally = Tally::default();
        assert!(tally.mean_evaluations() + tally.unconverged_fraction() < 1e-15);
        tally.add(&report(vec![
            sample(Status::Converged, 3, 1e-5),
            sample(Status::MaxEvaluations, 7, 0.5),
        ]));
        tally.add(&Report::default());
        tally.add(&report(vec![sample(Status::Converged, 2, 1e-6)]));
        assert_eq!(
            (tally.solves, tally.evaluations, tally.unconverged),
            (3, 12, 1)
        );
        assert!((tally.residual - 0.5).abs() < 1e-15);
        assert!((tally.mean_evaluations() - 4.0).abs() < 1e-15);
        tally.add(&report(vec![sample(Status::NonFinite, 1, f64::NAN)]));
        assert!(tally.residual.is_nan());
    }
}
