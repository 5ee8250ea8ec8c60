//! What the solve loop knows of every sample: statuses, best residuals, and who is still active.

use super::counted::Counted;
use super::norm::norms;
use super::Stop;
use crate::report::{Report, SampleReport, Status, TracePoint};
use crate::{Result, Slot, StateSpace};

/// The smallest residual of a sample must shrink below this factor within `patience` steps.
const PROGRESS: f64 = 0.99;

/// Where it is not known what rounding changes, a sample is evaluated exactly once its relative residual is below this: bf16
/// errs by up to 2e-3 per factor.
const ROUNDED_RESIDUAL: f64 = 1e-2;

/// Likewise once an evaluation does not shrink its smallest residual below this factor: then rounding may be what is in the way.
const ROUNDED_PROGRESS: f64 = 0.9;

/// Where it is known, a sample is evaluated exactly next if this may be a larger share of its residual.
const DOUBT: f64 = 0.2;

/// Few evaluations shrink a residual by more than this factor: a sample may be done with the next one if its residual is below
/// the tolerance times this.
const NEAR: f64 = 30.0;

/// The accounts of all samples, ordered like the rows of the space.
pub(super) struct Books<'a> {
    pub stop: &'a Stop,
    /// Whether residuals are kept.
    trace: bool,
    /// Rows whose best iterate is the present one.
    pub improved: Vec<usize>,
    /// Rows that are done, or given up by the present stage, since this evaluation.
    pub ended: Vec<usize>,
    rows: Vec<Account>,
    active: usize,
    /// Whether evaluations of the present stage may be rounded.
    pub rounds: bool,
    /// Active rows whose next evaluation is exact; those that may be rounded come after them.
    pub exact: usize,
    /// Whether the next evaluation may be the last of a sample.
    pub near: bool,
    /// Whether no other stage comes after the present one.
    last: bool,
    /// ‖f(z) − z‖₂ and ‖f(z)‖₂ of the active rows.
    pub residuals: Vec<f64>,
    pub norms: Vec<f64>,
    /// What rounding may have changed in f(z) of the active rows, ‖·‖₂; infinite where it is not known.
    errors: Vec<f64>,
    /// Work space.
    scaled: Vec<f64>,
}

/// What the loop knows of one sample.
struct Account {
    sample: usize,
    report: SampleReport,
    state: State,
    /// Smallest residual so far, in units of the tolerance where there is one.
    best: f64,
    /// Step within the stage.
    step: usize,
    first_residual: f64,
    milestone: f64,
    milestone_step: usize,
    /// Whether the next evaluation may be rounded.
    rounded: bool,
    /// Whether the residual of the present evaluation is one of f: of a rounded f it is not known how far off that is.
    comparable: bool,
    /// Whether `best` and the report are those of a rounded f of which that is not known.
    best_incomparable: bool,
    /// Whether the space has kept what a linearization at the best iterate takes.
    kept: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    /// Given up by one stage, to be taken up by the next.
    Waiting,
    Done,
}

impl<'a> Books<'a> {
    pub fn new(batch: usize, stop: &'a Stop) -> Self {
        let account = |sample| Account {
            sample,
            report: SampleReport {
                status: Status::MaxEvaluations,
                steps: 0,
                evaluations: 0,
                rounded: 0,
                stage: 0,
                residual: f64::INFINITY,
                relative_residual: f64::INFINITY,
                trace: Vec::new(),
            },
            state: State::Active,
            best: f64::INFINITY,
            step: 0,
            first_residual: f64::INFINITY,
            milestone: f64::INFINITY,
            milestone_step: 0,
            rounded: true,
            comparable: true,
            best_incomparable: false,
            kept: false,
        };
        Self {
            stop,
            trace: stop.trace || log::log_enabled!(log::Level::Trace),
            improved: Vec::with_capacity(batch),
            ended: Vec::with_capacity(batch),
            rows: (0..batch).map(account).collect(),
            active: batch,
            rounds: false,
            exact: batch,
            near: false,
            last: true,
            residuals: vec![0.0; batch],
            norms: vec![0.0; batch],
            errors: vec![0.0; batch],
            scaled: vec![0.0; batch],
        }
    }

    /// Begins a stage with the active samples. Where `rounded`, the evaluations of those that were not to be exact so far are
    /// rounded at first. Appends exchanges of rows to `swaps`.
    pub fn begin(
        &mut self,
        stage: usize,
        last: bool,
        rounded: bool,
        swaps: &mut Vec<(usize, usize)>,
    ) {
        (self.last, self.near, self.rounds) = (last, false, rounded);
        for account in &mut self.rows[..self.active] {
            account.report.stage = stage;
            (account.step, account.milestone_step) = (0, 0);
            (account.first_residual, account.milestone) = (f64::INFINITY, f64::INFINITY);
            account.rounded &= rounded && account.may_round(self.stop);
        }
        self.exact = self.gather(self.active, |account| !account.rounded, swaps);
    }

    /// Writes the residuals of an evaluation and measures them: which samples improved, which are done and why.
    /// `scratch` is overwritten; `kept` tells whether the space has kept the evaluation.
    pub fn record(
        &mut self,
        space: &mut Counted<'_>,
        (point, fz): (Slot, Slot),
        residual: Slot,
        scratch: Slot,
        kept: bool,
    ) -> Result<()> {
        let active = self.active;
        let (residuals, lengths) = (&mut self.residuals[..active], &mut self.norms[..active]);
        space.difference(fz, point, residual, residuals, lengths)?;
        let scaled = &mut self.scaled[..active];
        norms(space, residual, scratch, residuals, scaled)?;
        norms(space, fz, scratch, lengths, scaled)?;
        let errors = &mut self.errors[..active];
        errors.fill(f64::INFINITY);
        if self.rounds {
            space.rounding_errors(errors);
        }
        self.improved.clear();
        self.ended.clear();
        self.near = false;
        for (row, account) in self.rows[..active].iter_mut().enumerate() {
            let (residual, norm) = (self.residuals[row], self.norms[row]);
            let known = self.errors[row].is_finite();
            let error = if known { self.errors[row] } else { 0.0 };
            let doubtful = error > DOUBT * residual;
            // What rounding may hide of it counts.
            let residual = residual + error;
            account.comparable = known || !account.rounded;
            account.step += 1;
            account.report.steps += 1;
            account.report.evaluations = space.spent[row];
            account.report.rounded += usize::from(account.rounded);
            let before = account.best;
            let improved = account.improve(residual, norm, self.stop);
            if improved {
                self.improved.push(row);
            }
            account.kept = match kept {
                true => improved && !account.rounded,
                false => account.kept && !improved,
            };
            if self.trace {
                account.report.trace.push(TracePoint {
                    evaluations: account.report.evaluations,
                    residual,
                });
            }
            let bound = self.stop.tolerance.bound(norm);
            let end = account.end(residual, norm, self.stop);
            self.near |= end.is_none() && residual <= NEAR * bound;
            if let Some(status) = end {
                account.report.status = status;
                self.ended.push(row);
                let solved = [Status::Converged, Status::MaxEvaluations].contains(&status);
                account.state = match solved || self.last {
                    true => State::Done,
                    false => State::Waiting,
                };
            }
            let small = residual <= bound.max(ROUNDED_RESIDUAL * norm);
            let slow = account.best > ROUNDED_PROGRESS * before;
            let rounds = match known {
                true => !doubtful,
                false => account.rounded && !small && !slow,
            };
            account.rounded = rounds && account.may_round(self.stop);
        }
        Ok(())
    }

    /// Moves the samples that are no longer active behind the others, and those to be evaluated exactly before these;
    /// appends the exchanges to `swaps`, returns how many are active.
    pub fn retire(&mut self, swaps: &mut Vec<(usize, usize)>) -> usize {
        let active = |account: &Account| account.state == State::Active;
        self.active = self.gather(self.active, active, swaps);
        self.exact = self.gather(self.active, |account| !account.rounded, swaps);
        self.active
    }

    /// Makes the samples that wait for the next stage active again; appends the exchanges to `swaps`, returns how many.
    pub fn readmit(&mut self, swaps: &mut Vec<(usize, usize)>) -> usize {
        let waiting = |account: &Account| account.state == State::Waiting;
        self.active = self.gather(self.rows.len(), waiting, swaps);
        for account in &mut self.rows[..self.active] {
            account.state = State::Active;
        }
        self.active
    }

    /// Moves those of the first `count` rows that are `wanted` to the front; returns how many there are.
    fn gather(
        &mut self,
        count: usize,
        wanted: impl Fn(&Account) -> bool,
        swaps: &mut Vec<(usize, usize)>,
    ) -> usize {
        let found = self.rows[..count].iter().filter(|&row| wanted(row)).count();
        let mut from = found;
        for row in 0..found {
            if !wanted(&self.rows[row]) {
                while !wanted(&self.rows[from]) {
                    from += 1;
                }
                self.rows.swap(row, from);
                self.residuals.swap(row, from);
                self.norms.swap(row, from);
                swaps.push((row, from));
            }
        }
        found
    }

    /// Whether the space has kept what linearizations at the best iterates of all samples take.
    pub fn all_kept(&self) -> bool {
        self.rows.iter().all(|account| account.kept)
    }

    pub fn into_report(mut self) -> Report {
        self.rows.sort_by_key(|account| account.sample);
        let samples = self.rows.into_iter().map(|account| account.report);
        Report {
            samples: samples.collect(),
        }
    }
}

impl Account {
    /// Whether this iterate is the best so far; NaN never is.
    fn improve(&mut self, residual: f64, norm: f64, stop: &Stop) -> bool {
        // In units of the tolerance; a bound of 0 is met by a residual of 0 alone.
        let measure = match stop.tolerance.is_zero() {
            true => residual,
            false if residual <= 0.0 => 0.0,
            false => residual / stop.tolerance.bound(norm),
        };
        // The first finite point is better than none, however far from the tolerance it is.
        // And the first comparable one is better than one that is not.
        let exact = self.best_incomparable && self.comparable;
        let first = (self.report.residual.is_infinite() || exact) && residual.is_finite();
        let better = (measure < self.best || first) && norm.is_finite();
        if better {
            if exact {
                // Progress counts anew as well: the last residual of a rounded map says little of this one.
                self.milestone = f64::INFINITY;
            }
            self.best_incomparable = !self.comparable;
            self.best = measure;
            self.report.residual = residual;
            self.report.relative_residual = if residual > 0.0 { residual / norm } else { 0.0 };
        }
        better
    }

    /// Whether there are evaluations left for a rounded one and an exact one.
    fn may_round(&self, stop: &Stop) -> bool {
        self.report.evaluations + 2 <= stop.max_evaluations
    }

    /// Why the sample is done, if it is.
    fn end(&mut self, residual: f64, norm: f64, stop: &Stop) -> Option<Status> {
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
        if self.best < PROGRESS * self.milestone {
            (self.milestone, self.milestone_step) = (self.best, self.step);
        }
        (self.step - self.milestone_step >= stop.patience).then_some(Status::Stalled)
    }
}
