//! When a solve ends.

use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::{Error, Result};

/// When a sample counts as solved: ‖f(z) − z‖₂ ≤ `absolute` + `relative` · ‖f(z)‖₂.
///
/// Set one of the two for an absolute or a relative test, both for a mixed one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(expecting = "a table such as `{ relative = 1e-4 }`")]
pub struct Tolerance {
    /// In units of z; at least 0.
    pub absolute: f64,
    /// Dimensionless; in [0, 1): at 1 the start z = 0 would be a solution of everything.
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

    pub(super) fn is_zero(&self) -> bool {
        self.absolute <= 0.0 && self.relative <= 0.0
    }

    /// The largest residual that counts as solved, where ‖f(z)‖₂ is `norm`.
    pub fn bound(&self, norm: f64) -> f64 {
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

impl OnUnconverged {
    /// Applies it to a finished solve; `solve` is `forward` or `adjoint`, and `name` that of the equilibrium, or empty.
    pub(crate) fn judge(self, report: &Report, solve: &'static str, name: &str) -> Result<()> {
        let Some((sample, worst)) = report.worst_unconverged() else {
            return Ok(());
        };
        let error = Error::Unconverged {
            solve,
            unconverged: report.unconverged(),
            batch: report.samples.len(),
            sample,
            status: worst.status,
            residual: worst.relative_residual,
        };
        let error = error.of_equilibrium(name);
        match self {
            Self::Error => return Err(error),
            Self::Warn => log::warn!("{error}"),
            Self::Accept => {}
        }
        Ok(())
    }
}

/// When a solve ends, for every solver alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// When a sample counts as solved. Default: relative 1e-4.
    pub tolerance: Tolerance,
    /// Evaluations of `f` and products with its Jacobian allowed per sample, at least 1; a solver that takes several for
    /// one step may exceed it by those. Default: 100. Configurations of earlier versions call it `max_steps`.
    #[serde(alias = "max_steps")]
    pub max_evaluations: usize,
    /// A sample has stalled when its best residual has not shrunk by 1 % over this many steps. Default: 30.
    pub patience: usize,
    /// A sample has diverged when its residual exceeds its first one by this factor, above 1. Default: 1e8.
    pub divergence: f64,
    /// What to do about unsolved samples. Default: warn.
    pub on_unconverged: OnUnconverged,
    /// Keep every residual of every sample in the report. They are kept as well where the level of the `log` crate is trace,
    /// so that [`Report::log`] can tell them. Default: false.
    pub trace: bool,
    /// Bound the error of every sample where the layer has a [certificate](crate::Certificate), once the solve has ended; it takes as
    /// long as several evaluations. It is done as well where the level of the `log` crate is debug. Default: false.
    pub certify: bool,
    /// Evaluations may be rounded to 8 binary digits (bf16), where the processor is faster with them. In a forward solve while
    /// the relative residual of a sample is above 1e-2; what counts as solved is measured exactly. In an adjoint solve while
    /// rounding changes less than a fifth of a residual; what it changes is [estimated](crate::AdjointMap) and counts in what is
    /// solved. Pays where solves are long; one of three or four evaluations takes twice as many. Default: false.
    pub rounded: bool,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            tolerance: Tolerance::relative(1e-4),
            max_evaluations: 100,
            patience: 30,
            divergence: 1e8,
            on_unconverged: OnUnconverged::Warn,
            trace: false,
            certify: false,
            rounded: false,
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
    ///
    /// # Errors
    /// [`Error::Config`] for a field out of range.
    pub fn validate(&self) -> Result<()> {
        let Tolerance { absolute, relative } = self.tolerance;
        Error::require_not_negative("tolerance", "absolute", absolute)?;
        Error::require_not_negative("tolerance", "relative", relative)?;
        // Every point meets a relative tolerance of 1 where f(z) is far from 0.
        Error::require_fraction("tolerance", "relative", relative)?;
        Error::require_at_least_one("stop", "max_evaluations", self.max_evaluations)?;
        Error::require_at_least_one("stop", "patience", self.patience)?;
        Error::require_above_one("stop", "divergence", self.divergence)
    }

    /// Applies [`OnUnconverged`] to a finished solve; `solve` is `forward` or `adjoint`.
    ///
    /// # Errors
    /// [`Error::Unconverged`] if samples are unsolved and [`on_unconverged`](Self::on_unconverged) is [`OnUnconverged::Error`].
    pub fn judge(&self, report: &Report, solve: &'static str) -> Result<()> {
        self.on_unconverged.judge(report, solve, "")
    }
}
