//! The one solve loop: evaluates, measures, stops and keeps the books for every solver.

use serde::{Deserialize, Serialize};

use crate::report::{Report, SampleReport, Status};
use crate::{Coef, Error, Evaluation, FixedPointSolver, Result, Slot, StateSpace};

/// When a sample counts as solved: ‖f(z) − z‖₂ ≤ `absolute` + `relative` · ‖f(z)‖₂.
///
/// Set one of the two for an absolute or a relative test, both for a mixed one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// In units of z; at least 0.
    pub absolute: f64,
    /// Dimensionless; at least 0.
    pub relative: f64,
}

impl Default for Tolerance {
    /// Both 0, so that a table that names one of the two means that one alone.
    fn default() -> Self {
        Self::mixed(0.0, 0.0)
    }
}

impl Tolerance {
    /// ‖f(z) − z‖₂ ≤ `absolute`.
    pub fn absolute(absolute: f64) -> Self {
        Self::mixed(absolute, 0.0)
    }

    /// ‖f(z) − z‖₂ ≤ `relative` · ‖f(z)‖₂.
    pub fn relative(relative: f64) -> Self {
        Self::mixed(0.0, relative)
    }

    /// ‖f(z) − z‖₂ ≤ `absolute` + `relative` · ‖f(z)‖₂.
    pub fn mixed(absolute: f64, relative: f64) -> Self {
        Self { absolute, relative }
    }

    /// The largest residual that counts as solved.
    fn bound(&self, norm: f64) -> f64 {
        self.absolute + self.relative * norm
    }
}

/// What happens when a solve leaves samples unsolved. The report tells in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnconverged {
    /// The call fails with [`Error::Unconverged`].
    Error,
    /// A warning is logged (through the `log` crate) and the best iterate is used.
    Warn,
    /// The best iterate is used.
    Accept,
}

/// When a solve ends, for every solver alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// When a sample counts as solved. Default: relative 1e-4.
    pub tolerance: Tolerance,
    /// Evaluations of `f` allowed per sample, at least 1. Default: 100.
    pub max_steps: usize,
    /// A sample has stalled when its best residual has not shrunk by 1 % over this many evaluations. Default: 30.
    pub patience: usize,
    /// A sample has diverged when its residual exceeds its first one by this factor, above 1. Default: 1e8.
    pub divergence: f64,
    /// What to do about unsolved samples. Default: warn.
    pub on_unconverged: OnUnconverged,
    /// Keep every residual of every sample in the report. Default: false.
    pub trace: bool,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            tolerance: Tolerance::relative(1e-4),
            max_steps: 100,
            patience: 30,
            divergence: 1e8,
            on_unconverged: OnUnconverged::Warn,
            trace: false,
        }
    }
}

impl Stop {
    /// The defaults with another tolerance.
    pub fn at(tolerance: Tolerance) -> Self {
        Self {
            tolerance,
            ..Self::default()
        }
    }

    /// Checks the ranges of all fields.
    pub fn validate(&self) -> Result<()> {
        let Tolerance { absolute, relative } = self.tolerance;
        let proper = |t: f64| t >= 0.0 && t.is_finite();
        Error::require(
            proper(absolute),
            "tolerance",
            "absolute",
            "finite and at least 0",
            absolute,
        )?;
        Error::require(
            proper(relative),
            "tolerance",
            "relative",
            "finite and at least 0",
            relative,
        )?;
        Error::require(
            self.max_steps >= 1,
            "stop",
            "max_steps",
            "at least 1",
            self.max_steps,
        )?;
        Error::require(
            self.patience >= 1,
            "stop",
            "patience",
            "at least 1",
            self.patience,
        )?;
        Error::require(
            self.divergence > 1.0,
            "stop",
            "divergence",
            "above 1",
            self.divergence,
        )
    }

    /// Applies [`OnUnconverged`] to a finished solve; `solve` is `forward` or `adjoint`.
    pub fn judge(&self, report: &Report, solve: &'static str) -> Result<()> {
        let unconverged = report.unconverged();
        let Some((sample, worst)) = report.worst().filter(|_| unconverged > 0) else {
            return Ok(());
        };
        let error = Error::Unconverged {
            solve,
            unconverged,
            batch: report.samples.len(),
            sample,
            status: worst.status,
            residual: worst.relative_residual,
        };
        match self.on_unconverged {
            OnUnconverged::Error => return Err(error),
            OnUnconverged::Warn => log::warn!("{error}"),
            OnUnconverged::Accept => {}
        }
        Ok(())
    }
}

/// Solves `z = f(z)` for every active sample of `space`.
///
/// `z` holds the start on entry and the iterate with the smallest residual on return, chosen per sample. A sample
/// that is done leaves the batch, so the others are evaluated alone; every sample's result is what it would be in any
/// other batch.
///
/// # Errors
/// Those of the space and the solver. An unsolved sample is no error here: see [`Stop::judge`].
pub fn solve(
    solver: &dyn FixedPointSolver,
    space: &mut dyn StateSpace,
    z: Slot,
    stop: &Stop,
) -> Result<Report> {
    let batch = space.batch();
    let mut iteration = solver.start(space)?;
    let mut at = Evaluation {
        z: space.alloc()?,
        fz: space.alloc()?,
        residual: space.alloc()?,
    };
    let mut next = space.alloc()?;
    space.combine(at.z, &[(Coef::Same(1.0), z)])?;

    let mut books = Books::new(batch, stop);
    let mut swaps = Vec::new();
    for step in 1..=stop.max_steps {
        space.apply(at.z, at.fz)?;
        space.combine(
            at.residual,
            &[(Coef::Same(1.0), at.fz), (Coef::Same(-1.0), at.z)],
        )?;
        books.record(space, &at, step)?;
        space.copy_rows(at.z, z, &books.improved)?;

        let first_swap = swaps.len();
        let active = books.retire(&mut swaps);
        if active < space.batch() {
            space.permute(&swaps[first_swap..], active)?;
            iteration.permute(&swaps[first_swap..], active);
        }
        if active == 0 || step == stop.max_steps {
            break;
        }
        iteration.advance(space, at, next)?;
        std::mem::swap(&mut at.z, &mut next);
    }

    iteration.finish(space);
    for slot in [at.z, at.fz, at.residual, next] {
        space.release(slot);
    }
    swaps.reverse();
    space.permute(&swaps, batch)?;
    Ok(books.into_report())
}

/// The smallest residual of a sample must shrink below this factor within `patience` evaluations.
const PROGRESS: f64 = 0.99;

/// What the loop knows of one sample.
struct Account {
    sample: usize,
    report: SampleReport,
    /// Smallest residual so far, in units of the tolerance where there is one.
    best: f64,
    first_residual: f64,
    milestone: f64,
    milestone_step: usize,
}

/// The accounts of all samples, ordered like the rows of the space.
struct Books<'a> {
    stop: &'a Stop,
    rows: Vec<Account>,
    active: usize,
    improved: Vec<usize>,
    done: Vec<bool>,
    residuals: Vec<f64>,
    norms: Vec<f64>,
}

impl<'a> Books<'a> {
    fn new(batch: usize, stop: &'a Stop) -> Self {
        let account = |sample| Account {
            sample,
            report: SampleReport {
                status: Status::MaxSteps,
                steps: 0,
                residual: f64::INFINITY,
                relative_residual: f64::INFINITY,
                trace: Vec::with_capacity(if stop.trace { stop.max_steps } else { 0 }),
            },
            best: f64::INFINITY,
            first_residual: f64::INFINITY,
            milestone: f64::INFINITY,
            milestone_step: 0,
        };
        Self {
            stop,
            rows: (0..batch).map(account).collect(),
            active: batch,
            improved: Vec::with_capacity(batch),
            done: vec![false; batch],
            residuals: vec![0.0; batch],
            norms: vec![0.0; batch],
        }
    }

    /// Measures the residuals of this evaluation: which samples improved, which are done and why.
    fn record(&mut self, space: &mut dyn StateSpace, at: &Evaluation, step: usize) -> Result<()> {
        let active = self.active;
        space.dots(at.residual, &[at.residual], &mut self.residuals[..active])?;
        space.dots(at.fz, &[at.fz], &mut self.norms[..active])?;
        self.improved.clear();
        for row in 0..active {
            let (residual, norm) = (self.residuals[row].sqrt(), self.norms[row].sqrt());
            let account = &mut self.rows[row];
            if account.improve(residual, norm, self.stop) {
                self.improved.push(row);
            }
            let ended = account.end(residual, norm, step, self.stop);
            account.report.steps = step;
            account.report.status = ended.unwrap_or(Status::MaxSteps);
            self.done[row] = ended.is_some();
        }
        Ok(())
    }

    /// Moves the samples that are done behind the others; appends the exchanges to `swaps`, returns how many are left.
    fn retire(&mut self, swaps: &mut Vec<(usize, usize)>) -> usize {
        let left = self.done[..self.active]
            .iter()
            .filter(|done| !**done)
            .count();
        let mut from = left;
        for row in 0..left {
            if self.done[row] {
                while self.done[from] {
                    from += 1;
                }
                self.rows.swap(row, from);
                self.done.swap(row, from);
                swaps.push((row, from));
            }
        }
        self.active = left;
        left
    }

    fn into_report(mut self) -> Report {
        self.rows.sort_by_key(|account| account.sample);
        Report {
            samples: self
                .rows
                .into_iter()
                .map(|account| account.report)
                .collect(),
        }
    }
}

impl Account {
    /// Whether this iterate is the best so far; NaN never is.
    fn improve(&mut self, residual: f64, norm: f64, stop: &Stop) -> bool {
        let bound = stop.tolerance.bound(norm);
        let measure = if bound > 0.0 {
            residual / bound
        } else {
            residual
        };
        let better = measure < self.best && norm.is_finite();
        if better {
            self.best = measure;
            self.report.residual = residual;
            self.report.relative_residual = if residual > 0.0 { residual / norm } else { 0.0 };
        }
        better
    }

    /// Why the sample is done, if it is.
    fn end(&mut self, residual: f64, norm: f64, step: usize, stop: &Stop) -> Option<Status> {
        if stop.trace {
            self.report.trace.push(residual);
        }
        if !residual.is_finite() || !norm.is_finite() {
            return Some(Status::NonFinite);
        }
        if residual <= stop.tolerance.bound(norm) {
            return Some(Status::Converged);
        }
        if step == 1 {
            self.first_residual = residual;
        }
        if residual > stop.divergence * self.first_residual {
            return Some(Status::Diverged);
        }
        if self.best < PROGRESS * self.milestone {
            (self.milestone, self.milestone_step) = (self.best, step);
        }
        (step - self.milestone_step >= stop.patience).then_some(Status::Stalled)
    }
}
