//! What the solve loop knows of every sample: statuses, best residuals, and who is still active.

mod account;

use super::norm::norms;
use super::Stop;
use crate::plumbing::Counted;
use crate::report::{Report, TracePoint};
use crate::{Map, Result, Slot};

use account::{Account, Reading, State};

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
    pub exact_rows: usize,
    /// Whether the next evaluation may be the last of a sample.
    pub near: bool,
    /// Whether no other stage comes after the present one.
    last: bool,
    /// ‖f(z) − z‖₂ and ‖f(z)‖₂ of the active rows.
    pub residuals: Vec<f64>,
    pub norms: Vec<f64>,
    /// What rounding may have changed in f(z) of the active rows, ‖·‖₂; infinite where it is not known.
    errors: Vec<f64>,
    /// Scratch memory.
    scaled: Vec<f64>,
}

impl<'a> Books<'a> {
    pub fn new(batch: usize, stop: &'a Stop) -> Self {
        Self {
            stop,
            trace: stop.trace || log::log_enabled!(log::Level::Trace),
            improved: Vec::with_capacity(batch),
            ended: Vec::with_capacity(batch),
            rows: (0..batch).map(Account::new).collect(),
            active: batch,
            rounds: false,
            exact_rows: batch,
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
            account.begin(stage);
            account.rounded &= rounded && account.may_round(self.stop);
        }
        self.exact_rows = self.gather(self.active, |account| !account.rounded, swaps);
    }

    /// Writes the residuals of an evaluation and measures them: which samples improved, which are done and why.
    /// `scratch` is overwritten; `linearized` tells whether the space has linearized at the point.
    pub fn record(
        &mut self,
        space: &mut Counted<'_>,
        (point, fz): (Slot, Slot),
        residual: Slot,
        scratch: Slot,
        linearized: bool,
    ) -> Result<()> {
        self.measure(space, (point, fz), residual, scratch)?;
        self.improved.clear();
        self.ended.clear();
        self.near = false;
        for row in 0..self.active {
            self.record_row(row, space.spent(row), linearized);
        }
        Ok(())
    }

    /// Writes the residuals of an evaluation, and measures them, its values, and what rounding has changed in these.
    fn measure(
        &mut self,
        space: &mut Counted<'_>,
        (point, fz): (Slot, Slot),
        residual: Slot,
        scratch: Slot,
    ) -> Result<()> {
        let active = self.active;
        let (residuals, lengths) = (&mut self.residuals[..active], &mut self.norms[..active]);
        let vectors = space.vectors_mut();
        vectors.difference(fz, point, residual, residuals, lengths)?;
        let scaled = &mut self.scaled[..active];
        norms(vectors, residual, scratch, residuals, scaled)?;
        norms(vectors, fz, scratch, lengths, scaled)?;
        let errors = &mut self.errors[..active];
        errors.fill(f64::INFINITY);
        if self.rounds {
            space.rounding_errors(errors);
        }
        Ok(())
    }

    /// Enters what was measured of one sample, which has taken so many evaluations so far.
    fn record_row(&mut self, row: usize, evaluations: usize, linearized: bool) {
        let account = &mut self.rows[row];
        let reading = Reading::new(self.residuals[row], self.norms[row], self.errors[row]);
        let Reading { residual, norm, .. } = reading;
        let before = account.best;
        account.count(evaluations, reading.error_known);
        let improved = account.improve(residual, norm, self.stop);
        if improved {
            self.improved.push(row);
        }
        account.linearized = match linearized {
            true => improved && !account.rounded,
            false => account.linearized && !improved,
        };
        if self.trace {
            let point = TracePoint {
                evaluations,
                residual,
            };
            account.report.trace.push(point);
        }
        let bound = self.stop.tolerance.bound(norm);
        let end = account.end(residual, norm, self.stop);
        self.near |= end.is_none() && residual <= NEAR * bound;
        if let Some(status) = end {
            account.close(status, self.last);
            self.ended.push(row);
        }
        account.rounded =
            account.rounds_next(reading, bound, before) && account.may_round(self.stop);
    }

    /// Moves the samples that are no longer active behind the others, and those to be evaluated exactly before these;
    /// appends the exchanges to `swaps`, returns how many are active.
    pub fn retire(&mut self, swaps: &mut Vec<(usize, usize)>) -> usize {
        let active = |account: &Account| account.state == State::Active;
        self.active = self.gather(self.active, active, swaps);
        self.exact_rows = self.gather(self.active, |account| !account.rounded, swaps);
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

    /// Whether the space has linearized at the best iterates of all samples.
    pub fn all_linearized(&self) -> bool {
        self.rows.iter().all(|account| account.linearized)
    }

    pub fn into_report(mut self) -> Report {
        self.rows.sort_by_key(|account| account.sample);
        let samples = self.rows.into_iter().map(|account| account.report);
        Report {
            samples: samples.collect(),
        }
    }
}
