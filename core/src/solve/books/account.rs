//! What the solve loop knows of one sample.

use crate::report::{SampleReport, Status};
use crate::Stop;

/// The smallest residual of a sample must shrink below this factor within `patience` steps.
const PROGRESS: f64 = 0.99;

/// Where it is not known what rounding changes, a sample is evaluated exactly once its relative residual is below this: bf16
/// errs by up to 2e-3 per factor.
const ROUNDED_RESIDUAL: f64 = 1e-2;

/// Likewise once an evaluation does not shrink its smallest residual below this factor: then rounding may be what is in the way.
const ROUNDED_PROGRESS: f64 = 0.9;

/// Where it is known, a sample is evaluated exactly next if this may be a larger share of its residual.
const DOUBT: f64 = 0.2;

/// What is measured of one sample in an evaluation.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// ‖f(z) − z‖₂ and what rounding may hide of it.
    pub residual: f64,
    /// ‖f(z)‖₂.
    pub norm: f64,
    /// Whether it is known what rounding may have changed.
    pub error_known: bool,
    /// Whether that may be a large share of the residual.
    doubtful: bool,
}

impl Reading {
    /// Of an infinite `error` nothing is known.
    pub fn new(residual: f64, norm: f64, error: f64) -> Self {
        let error_known = error.is_finite();
        let error = if error_known { error } else { 0.0 };
        Self {
            residual: residual + error,
            norm,
            error_known,
            doubtful: error > DOUBT * residual,
        }
    }
}

/// What the loop knows of one sample.
pub(super) struct Account {
    pub sample: usize,
    pub report: SampleReport,
    pub state: State,
    /// Smallest residual so far, in units of the tolerance where there is one.
    pub best: f64,
    /// The same within the stage.
    lowest: f64,
    /// Step within the stage.
    step: usize,
    first_residual: f64,
    milestone: f64,
    milestone_step: usize,
    /// Whether the next evaluation may be rounded.
    pub rounded: bool,
    /// Whether the residual of the present evaluation is one of f: of a rounded f it is not known how far off that is.
    comparable: bool,
    /// Whether `best` and the report are those of a rounded f of which that is not known.
    best_incomparable: bool,
    /// Whether the space has linearized at the best iterate as it evaluated there.
    pub linearized: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Active,
    /// Given up by one stage, to be taken up by the next.
    Waiting,
    Done,
}

impl Account {
    pub fn new(sample: usize) -> Self {
        Self {
            sample,
            report: SampleReport {
                status: Status::MaxEvaluations,
                steps: 0,
                evaluations: 0,
                rounded: 0,
                stage: 0,
                residual: f64::INFINITY,
                relative_residual: f64::INFINITY,
                bound: None,
                trace: Vec::new(),
            },
            state: State::Active,
            best: f64::INFINITY,
            lowest: f64::INFINITY,
            step: 0,
            first_residual: f64::INFINITY,
            milestone: f64::INFINITY,
            milestone_step: 0,
            rounded: true,
            comparable: true,
            best_incomparable: false,
            linearized: false,
        }
    }

    /// Begins a stage.
    pub fn begin(&mut self, stage: usize) {
        self.report.stage = stage;
        (self.step, self.milestone_step) = (0, 0);
        (self.first_residual, self.milestone) = (f64::INFINITY, f64::INFINITY);
        self.lowest = f64::INFINITY;
    }

    /// Counts one more evaluation.
    pub fn count(&mut self, evaluations: usize, error_known: bool) {
        self.comparable = error_known || !self.rounded;
        self.step += 1;
        self.report.steps += 1;
        self.report.evaluations = evaluations;
        self.report.rounded += usize::from(self.rounded);
    }

    /// Whether this iterate is the best so far; NaN never is.
    pub fn improve(&mut self, residual: f64, norm: f64, stop: &Stop) -> bool {
        // In units of the tolerance; a bound of 0 is met by a residual of 0 alone.
        let measure = match stop.tolerance.is_zero() {
            true => residual,
            false if residual <= 0.0 => 0.0,
            false => residual / stop.tolerance.bound(norm),
        };
        // The first finite point is better than none, however far from the tolerance it is; and the first whose residual can be
        // compared is better than one whose residual cannot.
        let first_comparable = self.best_incomparable && self.comparable;
        let first =
            (self.report.residual.is_infinite() || first_comparable) && residual.is_finite();
        let better = (measure < self.best || first) && norm.is_finite();
        if norm.is_finite() {
            // A stage that begins elsewhere is judged by its own progress, not by whether it beats the stages before.
            self.lowest = self.lowest.min(measure);
        }
        if better {
            if first_comparable {
                // Progress is counted from here: residuals of the rounded map say little of those of the exact one.
                self.milestone = f64::INFINITY;
                self.lowest = measure;
            }
            self.best_incomparable = !self.comparable;
            self.best = measure;
            self.report.residual = residual;
            self.report.relative_residual = if residual > 0.0 { residual / norm } else { 0.0 };
        }
        better
    }

    /// Whether there are evaluations left for a rounded one and an exact one.
    pub fn may_round(&self, stop: &Stop) -> bool {
        self.report.evaluations + 2 <= stop.max_evaluations
    }

    /// Whether the next evaluation had better be rounded as well; `best` was the smallest residual before this one.
    pub fn rounds_next(&self, reading: Reading, bound: f64, best: f64) -> bool {
        let small = reading.residual <= bound.max(ROUNDED_RESIDUAL * reading.norm);
        let slow = self.best > ROUNDED_PROGRESS * best;
        match reading.error_known {
            true => !reading.doubtful,
            false => self.rounded && !small && !slow,
        }
    }

    /// Ends the sample, or lets it wait for the next stage, unless this is the `last` one.
    pub fn close(&mut self, status: Status, last: bool) {
        self.report.status = status;
        let solved = [Status::Converged, Status::MaxEvaluations].contains(&status);
        self.state = match solved || last {
            true => State::Done,
            false => State::Waiting,
        };
    }

    /// Why the sample is done, if it is.
    pub fn end(&mut self, residual: f64, norm: f64, stop: &Stop) -> Option<Status> {
        if !residual.is_finite() || !norm.is_finite() {
            return Some(Status::NonFinite);
        }
        if residual <= stop.tolerance.bound(norm) && self.comparable {
            return Some(Status::Converged);
        }
        if self.report.evaluations >= stop.max_evaluations {
            return Some(Status::MaxEvaluations);
        }
        if self.step == 1 {
            self.first_residual = residual;
        }
        if residual > stop.divergence * self.first_residual {
            return Some(Status::Diverged);
        }
        if self.lowest < PROGRESS * self.milestone {
            (self.milestone, self.milestone_step) = (self.lowest, self.step);
        }
        (self.step - self.milestone_step >= stop.patience).then_some(Status::Stalled)
    }
}
