//! The conformance kit: does a solver keep its contract, and what can it solve?
//!
//! [`check_solver`] solves every [problem](super::problems) in f32 and f64, in the slice space and in the tensor space,
//! and examines the outcome with numbers that share nothing with the solve loop:
//!
//! - a sample reported as solved *is* solved: its residual, evaluated in f64 on the host, meets the tolerance, and where
//!   the problem bounds the error by the residual, the exact solution is that near;
//! - every status is one that is truthful for the sample, `NonFinite` only where f has overflowed;
//! - no panic, no NaN in what is returned, no NaN proposed before f returned one;
//! - evaluations are counted as a watching map sees them, and all slots are given back;
//! - a second solve, in the same space, gives the same bits: nothing is kept;
//! - a sample's result is the same alone, in half a batch, and in a batch in another order: to 4500 ε, which is 1e-12
//!   in f64; in the tensor space, where matrix products round differently for every size of the batch, as near as both
//!   are to the solution.
//!
//! [`check_configuration`] does the rest: the round trip through serde, and fields out of bounds. That a warm solve
//! allocates nothing is not looked at here: it takes an allocator of one's own, so a test program of one's own.
//!
//! An unsolved problem is no breach. Which ones a solver must solve is for its author to say, in a test.

mod examine;
mod probe;
mod watch;

pub use probe::check_configuration;

use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::problems::{self, Precision, Problem, Space};
use equilibria_core::report::Status;
use equilibria_core::{FixedPointSolver, Stop, Tolerance};

/// What has come of one problem.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Outcome {
    /// Name of the problem.
    pub problem: &'static str,
    /// Element type of the solve.
    pub precision: Precision,
    /// Space of the solve.
    pub space: Space,
    /// How each sample ended; empty if the solve did not end.
    pub statuses: Vec<Status>,
    /// What that is worth.
    pub verdict: Verdict,
}

/// What the outcome of a problem is worth.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every sample that has a fixed point has converged to one.
    Solved,
    /// Some have not, or there is none; the report says so, truthfully.
    Unsolved,
    /// The contract is broken, and how.
    Wrong(String),
}

/// Prints the place and the reason of a breach, or the verdict.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome {
            problem,
            precision,
            space,
            ..
        } = self;
        write!(f, "{problem}, {precision}, {space}: ")?;
        match &self.verdict {
            Verdict::Solved => f.write_str("solved"),
            Verdict::Unsolved => f.write_str("unsolved"),
            Verdict::Wrong(reason) => write!(f, "wrong: {reason}"),
        }
    }
}

/// How many problems of a check had which verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Score {
    /// See [`Verdict::Solved`].
    pub solved: usize,
    /// See [`Verdict::Unsolved`].
    pub unsolved: usize,
    /// See [`Verdict::Wrong`].
    pub wrong: usize,
}

impl Score {
    /// Counts verdicts.
    pub fn of<'o>(outcomes: impl IntoIterator<Item = &'o Outcome>) -> Self {
        let (mut solved, mut unsolved, mut wrong) = (0, 0, 0);
        for outcome in outcomes {
            *match outcome.verdict {
                Verdict::Solved => &mut solved,
                Verdict::Unsolved => &mut unsolved,
                Verdict::Wrong(_) => &mut wrong,
            } += 1;
        }
        Self {
            solved,
            unsolved,
            wrong,
        }
    }
}

/// A Markdown table of solved counts: one row per solver, one column per dtype and space, and the breaches.
pub fn table(checked: &[(String, Vec<Outcome>)]) -> String {
    let places: Vec<(Precision, Space)> = places().collect();
    let mut text = String::from("| solver |");
    for (precision, space) in &places {
        text += &format!(" {precision} {space} |");
    }
    text += &format!(" wrong |\n|---|{}---|\n", "---|".repeat(places.len()));
    for (name, outcomes) in checked {
        text += &format!("| `{name}` |");
        for &place in &places {
            let here = outcomes.iter().filter(|o| (o.precision, o.space) == place);
            let count = here.clone().count();
            text += &format!(" {} of {count} |", Score::of(here).solved);
        }
        text += &format!(" {} |\n", Score::of(outcomes).wrong);
    }
    text
}

/// Checks a solver on every problem, in every dtype and space.
pub fn check_solver(solver: &dyn FixedPointSolver) -> Vec<Outcome> {
    let problems = problems::all();
    let each = |problem: &Problem| -> Vec<Outcome> {
        places()
            .map(|(precision, space)| {
                check_problem(solver, problem, precision, space, &stop(problem, precision))
            })
            .collect()
    };
    problems.iter().flat_map(each).collect()
}

/// Checks a solver on one problem.
pub fn check_problem(
    solver: &dyn FixedPointSolver,
    problem: &Problem,
    precision: Precision,
    space: Space,
    stop: &Stop,
) -> Outcome {
    let examined = quietly(|| examine::examine(solver, problem, precision, space, stop));
    let (statuses, verdict) = match examined {
        Ok(Ok(statuses)) => {
            let solvable = |&sample: &usize| problem.solutions[sample].is_some();
            let mut solvable = (0..problem.batch).filter(solvable).peekable();
            let any = solvable.peek().is_some();
            let solved = any && solvable.all(|sample| statuses[sample] == Status::Converged);
            let verdict = match solved {
                true => Verdict::Solved,
                false => Verdict::Unsolved,
            };
            (statuses, verdict)
        }
        Ok(Err(breach)) | Err(breach) => (Vec::new(), Verdict::Wrong(breach)),
    };
    Outcome {
        problem: problem.name,
        precision,
        space,
        statuses,
        verdict,
    }
}

/// When the solves of [`check_solver`] end: relative tolerance 1e-10 in f64 and 1e-5 in f32, at most 500 evaluations.
///
/// The tolerance is absolute for problems without any fixed point: their states grow without bound, until any residual
/// is small compared with them.
pub fn stop(problem: &Problem, precision: Precision) -> Stop {
    let tolerance = match precision {
        Precision::Single => 1e-5,
        Precision::Double => 1e-10,
    };
    let solvable = problem.solutions.iter().any(Option::is_some);
    Stop {
        max_evaluations: 500,
        patience: 50,
        ..Stop::at(match solvable {
            true => Tolerance::relative(tolerance),
            false => Tolerance::absolute(tolerance),
        })
    }
}

/// Every dtype in every space.
fn places() -> impl Iterator<Item = (Precision, Space)> {
    let both = |precision| Space::ALL.map(|space| (precision, space));
    Precision::ALL.into_iter().flat_map(both)
}

/// Turns a panic into its message.
fn quietly<R>(job: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        format!("panicked: {}", text.unwrap_or("without a message"))
    })
}
