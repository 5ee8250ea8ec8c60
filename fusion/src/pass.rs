//! One pass through a model: the tape, the random seed, and what the solves had to report.

mod dropout;

use dfdx::prelude::*;
use equilibria_core::seed::mix;
use equilibria_core::{
    separate, Adjoint, AllSolved, Backend, Equilibrium, Error, ImplicitLayer, Matrix, Report,
    Result, Scalar, Value,
};

use crate::layers::modules::{concatenate, linear_combination};
use crate::part::Part;

pub use crate::layers::stabilizer::Traced;

/// An equilibrium solved in this pass.
#[derive(Debug)]
pub struct Solve {
    /// Which one, e.g. `theta.1` or `fuse`.
    pub name: String,
    /// How the forward solve went.
    pub report: Report,
    /// How the adjoint solve goes, once the tape has run.
    pub adjoint: Adjoint,
}

/// How much of a modality a fusion lets through, over the rows of a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gate {
    /// Mean of |α_i| over rows and entries, with α_i = θ_α (z_fuse* + z_i*) + b_α at the equilibrium (eq. 9).
    pub magnitude: f64,
    /// w_i, the factor of x_i in x_fuse (eq. 12).
    pub weight: f64,
}

/// What came of a backward pass.
pub struct Differentiated<E: Scalar, D: Backend<E>> {
    /// Of the sum of all loss terms.
    pub gradients: Gradients<E, D>,
    /// The value of that sum.
    pub loss: f64,
    /// Every equilibrium of the pass: name, forward and adjoint report.
    pub reports: Vec<(String, Report, Option<Report>)>,
}

/// What travels through a model beside the features.
///
/// Features are plain matrices; the tape is kept here and lent to one operation after the other, which lets any number
/// of features share it.
pub struct Pass<E: Scalar, D: Backend<E>> {
    /// Seed of dropout masks and probes; `None` in evaluation, where neither is used.
    pub seed: Option<u64>,
    /// Which rows of a batch these are, where they are not all: masks and probes are those of the whole batch, and gradients those of its loss.
    /// `None` for all.
    pub part: Option<Part>,
    /// Number of the sample in each row, the same in every pass; `None` where samples are not told apart.
    pub samples: Option<Vec<usize>>,
    /// Number, from 0, of the first row of the pass among all that are evaluated, by which errors name rows.
    pub first: usize,
    /// The equilibria solved so far.
    pub solves: Vec<Solve>,
    /// Whether somebody will read about this pass: solves keep [traces](equilibria_core::Stop::trace), gates are measured.
    pub inspect: bool,
    /// One per modality, of a fusion that has gates; empty unless asked for by [`inspect`](Self::inspect).
    pub gates: Vec<Gate>,
    /// Values on the way by name, of backbones that show some; empty unless asked for by [`inspect`](Self::inspect).
    pub shown: Vec<(&'static str, Matrix<E, D>)>,
    /// Terms to be added to the loss, each `[1, 1]`.
    pub losses: Vec<Matrix<E, D>>,
    /// Number of the first of every group of equilibria that were solved together.
    together: Vec<usize>,
    tape: OwnedTape<E, D>,
    recording: bool,
}

impl<E: Scalar, D: Backend<E>> Pass<E, D> {
    /// A pass in training; the same seed gives the same masks and probes.
    pub fn training(seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..Self::noiseless()
        }
    }

    /// A pass in evaluation: nothing is recorded, so there is nothing to differentiate.
    pub fn evaluation() -> Self {
        Self {
            recording: false,
            ..Self::noiseless()
        }
    }

    /// A pass in evaluation that somebody will read about, see [`inspect`](Self::inspect).
    pub fn inspection() -> Self {
        Self {
            inspect: true,
            ..Self::evaluation()
        }
    }

    /// A pass that can be differentiated but draws no random numbers: no dropout, no penalties.
    pub fn noiseless() -> Self {
        Self {
            recording: true,
            seed: None,
            part: None,
            samples: None,
            first: 0,
            solves: Vec::new(),
            together: Vec::new(),
            inspect: false,
            gates: Vec::new(),
            shown: Vec::new(),
            losses: Vec::new(),
            tape: OwnedTape::default(),
        }
    }

    /// Whether this is a pass in training: batches are normalized by themselves, and entries dropped.
    pub fn trains(&self) -> bool {
        self.seed.is_some()
    }

    /// What errors call a row of the pass, from 0: its number among all that are trained on or evaluated, from 1.
    pub fn number_of(&self, row: usize) -> usize {
        let samples = self.samples.as_ref();
        let sample = samples.and_then(|samples| samples.get(row).copied());
        sample.unwrap_or(self.first + row) + 1
    }

    /// Leaves a value in [`shown`](Self::shown), if somebody will read about this pass.
    pub fn show(&mut self, name: &'static str, x: &Matrix<E, D>) {
        if self.inspect {
            self.shown.push((name, x.clone()));
        }
    }

    /// In evaluation the operations are forgotten at once: their closures hold on to all they worked on.
    fn put_back(&mut self, tape: OwnedTape<E, D>) {
        if self.recording {
            self.tape = tape;
        }
    }

    /// Runs operations on `x` and records them on the tape.
    pub fn run(
        &mut self,
        x: &Matrix<E, D>,
        operations: impl FnOnce(Traced<E, D>) -> Traced<E, D>,
    ) -> Matrix<E, D> {
        let (y, tape) = operations(x.clone().put_tape(std::mem::take(&mut self.tape))).split_tape();
        self.put_back(tape);
        y
    }

    /// [`run`](Self::run) of operations that can fail.
    pub fn try_run(
        &mut self,
        x: &Matrix<E, D>,
        operations: impl FnOnce(Traced<E, D>) -> Result<Traced<E, D>>,
    ) -> Result<Matrix<E, D>> {
        self.lend(|tape| Ok(operations(x.clone().put_tape(tape))?.split_tape()))
    }

    /// The matrices side by side, `[x_1 | … | x_N]`; they have the same number of rows.
    ///
    /// # Errors
    /// [`Error::Missing`] if there are none, [`Error::Shape`] if they differ in their number of rows.
    pub fn concatenate(&mut self, x: &[Matrix<E, D>]) -> Result<Matrix<E, D>> {
        self.lend(|tape| concatenate(x, tape))
    }

    /// Combines matrices one after the other, e.g. to their product. The same one may come several times.
    ///
    /// # Errors
    /// [`Error::Missing`] if there are none.
    pub fn fold(
        &mut self,
        x: impl IntoIterator<Item = Matrix<E, D>>,
        combine: impl Fn(Traced<E, D>, Matrix<E, D>) -> Traced<E, D>,
    ) -> Result<Matrix<E, D>> {
        let folded = x.into_iter().reduce(|folded, next| {
            let next = self.run(&next, separate);
            self.run(&folded, |folded| combine(folded, next))
        });
        folded.ok_or_else(|| Error::Missing {
            what: "a feature to fuse".to_owned(),
            remedy: "give at least one",
        })
    }

    /// The sum of matrices of the same shape.
    ///
    /// # Errors
    /// [`Error::Missing`] if there are none, [`Error::Shape`] if they differ in shape.
    pub fn sum(&mut self, x: &[Matrix<E, D>]) -> Result<Matrix<E, D>> {
        self.lend(|tape| linear_combination(None, x, tape))
    }

    /// An equation in the [vocabulary](crate::layers::Vocabulary) of layers, on matrices of this pass, of which there is one at least. It
    /// is recorded on the tape as any operation.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no matrix, and those of the equation.
    pub fn equation(
        &mut self,
        x: &[Matrix<E, D>],
        equation: impl FnOnce(&[Value<E, D>]) -> Result<Value<E, D>>,
    ) -> Result<Matrix<E, D>> {
        let (first, others) = x.split_first().ok_or_else(|| Error::Missing {
            what: "a matrix for an equation".to_owned(),
            remedy: "give at least one",
        })?;
        self.try_run(first, |first| {
            Value::on_tape(first, others, |first, others| {
                equation(&[std::slice::from_ref(first), others].concat())
            })
        })
    }

    /// Lends the tape to something that hands it back.
    pub fn lend<R>(
        &mut self,
        operations: impl FnOnce(OwnedTape<E, D>) -> Result<(R, OwnedTape<E, D>)>,
    ) -> Result<R> {
        let (result, tape) = operations(std::mem::take(&mut self.tape))?;
        self.put_back(tape);
        Ok(result)
    }

    /// Solves an equilibrium, from `start`, `[batch, state_dim]`, or from 0. The tape goes on through z*, and the reports are
    /// left in [`solves`](Self::solves) under the name of the equilibrium.
    ///
    /// In training, `share` times its penalty is left in [`losses`](Self::losses): 1 where it stands alone, 1 / N for the
    /// mean over N equilibria.
    ///
    /// # Errors
    /// Those of [`Equilibrium::forward_from`] and [`Equilibrium::penalty`].
    pub fn solve<L: ImplicitLayer<E, D>>(
        &mut self,
        equilibrium: &Equilibrium<L>,
        x: &[Matrix<E, D>],
        start: Option<Matrix<E, D>>,
        share: f64,
    ) -> Result<Matrix<E, D>> {
        let mut states = self.solve_each(vec![equilibrium.clone()], &[x], vec![start], share)?;
        Ok(states.swap_remove(0))
    }

    /// [`solve`](Self::solve) of several equilibria that do not need each other, at the same time, the k-th with the inputs
    /// `x[k]` and the start `starts[k]`.
    pub fn solve_each<L: ImplicitLayer<E, D>>(
        &mut self,
        mut equilibria: Vec<Equilibrium<L>>,
        x: &[&[Matrix<E, D>]],
        starts: Vec<Option<Matrix<E, D>>>,
        share: f64,
    ) -> Result<Vec<Matrix<E, D>>> {
        for equilibrium in &mut equilibria {
            equilibrium.stop.trace |= self.inspect;
            equilibrium.stop.certify |= self.inspect;
        }
        let problems = equilibria.iter().zip(x).zip(starts);
        let starts = problems
            .map(|((equilibrium, x), start)| start.map_or_else(|| equilibrium.zero_start(x), Ok))
            .collect::<Result<Vec<_>>>()?;
        let AllSolved {
            solved, penalties, ..
        } = match self.recording {
            true => self.solve_on_tape(&equilibria, x, starts)?,
            // Without a tape nothing is prepared for gradients.
            false => Equilibrium::forward_each(&equilibria, starts, x, NoneTape, None)?,
        };
        for penalty in penalties {
            let penalty = self.run(&penalty, |penalty| penalty * E::of(share));
            self.losses.push(penalty);
        }
        let states = solved.iter().map(|solved| solved.z.clone()).collect();
        let solves = equilibria.into_iter().zip(solved);
        self.together.push(self.solves.len());
        (self.solves).extend(solves.map(|(equilibrium, solved)| Solve {
            name: equilibrium.name,
            report: solved.report,
            adjoint: solved.adjoint,
        }));
        Ok(states)
    }

    /// Solves and puts the equilibria on the tape; in training their penalties as well, if they have regularizers.
    fn solve_on_tape<L: ImplicitLayer<E, D>>(
        &mut self,
        equilibria: &[Equilibrium<L>],
        x: &[&[Matrix<E, D>]],
        starts: Vec<Matrix<E, D>>,
    ) -> Result<AllSolved<E, D, NoneTape>> {
        let regularized = equilibria.iter().any(|e| !e.regularizers.is_empty());
        let numbers = (self.solves.len()..).take(equilibria.len());
        let seeds = self.seed.filter(|_| regularized).map(|seed| {
            let seeds = numbers.map(|number| mix(seed, number as u64));
            seeds.collect::<Vec<_>>()
        });
        let first = match (&self.part, starts.first()) {
            (Some(part), Some(start)) => part.first_of(start.shape().0)?,
            _ => 0,
        };
        self.lend(|tape| {
            let seeds = seeds.as_deref();
            let all = Equilibrium::forward_part(equilibria, starts, x, tape, seeds, first)?;
            let solved = AllSolved {
                solved: all.solved,
                penalties: all.penalties,
                tape: NoneTape,
            };
            Ok((solved, all.tape))
        })
    }

    /// The rows of this pass, if there are others in the batch.
    fn proper_part(&self) -> Option<Part> {
        self.part.filter(|part| !part.is_whole())
    }

    /// Adds all loss terms to `loss` and runs the tape. Of a [part](Self::part) of a batch, the sum is multiplied by its share of the rows:
    /// losses are means over rows, and the sums of all parts add up to that of the batch.
    ///
    /// # Errors
    /// Those of the adjoint solves, see [`Adjoint::take`].
    pub fn backward(self, loss: &Matrix<E, D>) -> Result<Differentiated<E, D>> {
        let part = self.proper_part();
        let mut total = loss.clone().put_tape(self.tape);
        for term in self.losses {
            total = total + term;
        }
        if let Some(part) = part {
            total = total * E::of(part.share());
        }
        let value = total.as_vec()[0].wide();
        let total = total.sum::<Rank0, Axes2<0, 1>>();
        let gradients = total.try_backward().map_err(Error::device)?;
        // The group that was solved last has been differentiated first: what fails in it spoils the cotangents of those
        // before it, which then fail as well.
        let report = |solve: Solve| Ok((solve.name, solve.report, solve.adjoint.take()?));
        let (mut solves, mut reports) = (self.solves, Vec::new());
        for first in self.together.into_iter().rev() {
            let group = solves.split_off(first.min(solves.len())).into_iter();
            let group: Vec<_> = group.map(report).collect::<Result<_>>()?;
            reports.splice(..0, group);
        }
        Ok(Differentiated {
            gradients,
            loss: value,
            reports,
        })
    }
}
