//! What a solve has to say for itself: one record per sample.

mod steps;
mod tally;

use std::fmt;

pub use steps::{largest, Step};
pub use tally::Tally;

/// How the solve of one sample ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The residual meets the tolerance.
    Converged,
    /// The budget of evaluations, [`Stop::max_evaluations`](crate::Stop::max_evaluations), ended first.
    MaxEvaluations,
    /// The residual has stopped shrinking.
    Stalled,
    /// The residual has grown beyond the divergence bound.
    Diverged,
    /// `f` returned NaN or infinity.
    NonFinite,
    /// The linear equation has no unique solution to working precision; of direct solves only.
    Singular,
}

impl Status {
    /// The name in configurations and tables, e.g. `max-evaluations`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Converged => "converged",
            Self::MaxEvaluations => "max-evaluations",
            Self::Stalled => "stalled",
            Self::Diverged => "diverged",
            Self::NonFinite => "non-finite",
            Self::Singular => "singular",
        }
    }

    /// What helps a sample that ended so, in the imperative.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Converged => "change nothing",
            Self::MaxEvaluations => "raise `max_evaluations`, choose another solver",
            Self::Stalled | Self::Diverged => {
                "choose another solver, make the map contract more (regularizers, stabilizers)"
            }
            Self::NonFinite => "start elsewhere, make the map defined there",
            Self::Singular => "solve the adjoint equation by iterations instead",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The solve of one sample. Residuals belong to the returned iterate.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SampleReport {
    /// How it ended.
    pub status: Status,
    /// Points at which the residual was measured.
    pub steps: usize,
    /// Evaluations of `f` and products with its Jacobian spent on this sample.
    pub evaluations: usize,
    /// The number of those evaluations in which products may have been rounded to bf16; see [`Stop::rounded`](crate::Stop::rounded).
    pub rounded: usize,
    /// Number of the solver or of the start that had the sample last, from 0; above 0 with `chain` and `restarts` only.
    pub stage: usize,
    /// ‖f(z) − z‖₂, in units of z; infinite if `f` was never finite. Where the evaluation was rounded and it is known what that
    /// changes, as in adjoint equations, this is added.
    pub residual: f64,
    /// ‖f(z) − z‖₂ / ‖f(z)‖₂, dimensionless; 0 for an exact fixed point.
    pub relative_residual: f64,
    /// What ‖z − z*‖₂ does not exceed, by the [certificate](crate::Certificate) of the layer, in units of z: infinite where it can say
    /// nothing. None where the layer has no certificate or [`Stop::certify`](crate::Stop::certify) does not ask for it.
    pub bound: Option<f64>,
    /// The residual at every step, if [`Stop::trace`](crate::Stop::trace) is set; else empty.
    pub trace: Vec<TracePoint>,
}

/// The residual at one step of a solve.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct TracePoint {
    /// Evaluations and products spent until then, this one included.
    pub evaluations: usize,
    /// ‖f(z) − z‖₂, in units of z.
    pub residual: f64,
}

/// The solve of a batch, one entry per sample in the order of the batch.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Report {
    /// One record per sample.
    pub samples: Vec<SampleReport>,
}

impl Report {
    /// Evaluations of `f` and products with its Jacobian, summed over samples.
    pub fn evaluations(&self) -> usize {
        self.samples.iter().map(|s| s.evaluations).sum()
    }

    /// Mean number of evaluations per sample; 0 for an empty batch.
    pub fn mean_evaluations(&self) -> f64 {
        self.evaluations() as f64 / self.samples.len().max(1) as f64
    }

    /// Mean number of [rounded](SampleReport::rounded) evaluations per sample; 0 for an empty batch.
    pub fn mean_rounded(&self) -> f64 {
        let rounded: usize = self.samples.iter().map(|s| s.rounded).sum();
        rounded as f64 / self.samples.len().max(1) as f64
    }

    /// The largest [bound](SampleReport::bound) of the error of a sample; none where none has one.
    pub fn bound(&self) -> Option<f64> {
        let bounds: Vec<f64> = self.samples.iter().filter_map(|s| s.bound).collect();
        (!bounds.is_empty()).then(|| largest(bounds))
    }

    /// Evaluations spent on the most expensive sample.
    pub fn max_evaluations(&self) -> usize {
        self.samples
            .iter()
            .map(|s| s.evaluations)
            .max()
            .unwrap_or(0)
    }

    /// Number of samples with the given status.
    pub fn count(&self, status: Status) -> usize {
        self.samples.iter().filter(|s| s.status == status).count()
    }

    /// Number of samples that have not converged, for whatever reason.
    pub fn unconverged(&self) -> usize {
        self.samples.len() - self.count(Status::Converged)
    }

    /// Index and record of the sample with the largest relative residual.
    pub fn worst(&self) -> Option<(usize, &SampleReport)> {
        self.samples
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.relative_residual.total_cmp(&b.1.relative_residual))
    }

    /// Index and record of the sample that has not converged with the largest relative residual; `None` if all have.
    pub fn worst_unconverged(&self) -> Option<(usize, &SampleReport)> {
        let all = self.samples.iter().enumerate();
        let unconverged = all.filter(|(_, sample)| sample.status != Status::Converged);
        unconverged.max_by(|a, b| a.1.relative_residual.total_cmp(&b.1.relative_residual))
    }

    /// One line per sample, counted from 1, with a header: `sample,status,stage,steps,evaluations,residual,relative_residual,bound`,
    /// with an empty bound where there is none.
    pub fn to_csv(&self) -> String {
        let mut csv = String::from(
            "sample,status,stage,steps,evaluations,residual,relative_residual,bound\n",
        );
        for (sample, s) in self.samples.iter().enumerate() {
            csv += &format!(
                "{},{},{},{},{},{},{},{}\n",
                sample + 1,
                s.status.name(),
                s.stage,
                s.steps,
                s.evaluations,
                s.residual,
                s.relative_residual,
                s.bound.map_or_else(String::new, |bound| bound.to_string()),
            );
        }
        csv
    }

    /// Appends the samples of another part of the same batch.
    pub fn extend(&mut self, other: Report) {
        self.samples.extend(other.samples);
    }
}

impl FromIterator<Report> for Report {
    fn from_iter<I: IntoIterator<Item = Report>>(parts: I) -> Self {
        let mut whole = Report::default();
        parts.into_iter().for_each(|part| whole.extend(part));
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table() {
        let sample = SampleReport {
            status: Status::MaxEvaluations,
            steps: 3,
            evaluations: 5,
            rounded: 2,
            stage: 1,
            residual: 0.25,
            relative_residual: 0.5,
            bound: Some(0.75),
            trace: Vec::new(),
        };
        let report = Report {
            samples: vec![sample],
        };
        let csv = report.to_csv();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines[1], "1,max-evaluations,1,3,5,0.25,0.5,0.75");
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
        assert_eq!(lines.len(), 2);
    }
}
