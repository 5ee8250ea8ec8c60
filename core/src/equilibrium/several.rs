//! Equilibria that do not need each other, solved at the same time.

use dfdx::prelude::{NoneTape, SplitTape};

use super::{Equilibrium, Solved};
use crate::blocks::Blocking;
use crate::bound::{Bound, Job};
use crate::layer::AnyTape;
use crate::{Backend, ImplicitLayer, Matrix, Result, Scalar};

/// Several equilibria without a tape, and the tape they are all on.
pub type AllSolved<E, D, T> = (Vec<Solved<E, D, NoneTape>>, T);

impl<L> Equilibrium<L> {
    /// [`forward_from`](Self::forward_from) of several equilibria, the k-th from `starts[k]` with the inputs `x[k]`. Where
    /// their layers have kernels they are solved at the same time, so that no thread waits for the last sample of each.
    ///
    /// `tape` is the one all inputs were computed on; it is returned, and every z* is on it.
    ///
    /// # Errors
    /// Those of [`forward_from`](Self::forward_from), of the first equilibrium that has one.
    pub fn forward_each<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        equilibria: &[Self],
        starts: Vec<Matrix<E, D>>,
        x: &[&[Matrix<E, D>]],
        mut tape: T,
    ) -> Result<AllSolved<E, D, T>>
    where
        L: ImplicitLayer<E, D>,
    {
        let mut bounds = Vec::with_capacity(equilibria.len());
        for (equilibrium, x) in equilibria.iter().zip(x) {
            let (bound, next) = equilibrium.bind(x, tape)?;
            bounds.push(bound);
            tape = next;
        }
        let given: Vec<Vec<_>> = starts.iter().map(|start| vec![start.clone()]).collect();
        let jobs: Vec<_> = (equilibria.iter())
            .map(|equilibrium| equilibrium.solve_job(T::OWNS_TAPE))
            .collect();
        let jobs: Vec<&Job<'_, _>> = jobs.iter().map(|job| job as &Job<'_, _>).collect();
        let outcomes = Bound::run_each(&bounds, Blocking::Threads, &given, &jobs)?;
        let mut all = Vec::with_capacity(outcomes.len());
        let solves = equilibria.iter().zip(bounds).zip(starts).zip(outcomes);
        for (((equilibrium, bound), start), outcome) in solves {
            let solved = equilibrium.solved(bound, start, outcome, tape)?;
            let (z, next) = solved.z.split_tape();
            tape = next;
            all.push(Solved {
                z,
                report: solved.report,
                adjoint: solved.adjoint,
            });
        }
        Ok((all, tape))
    }
}
