//! Looking at the map of an equilibrium from within its spaces.

use dfdx::prelude::NoneTape;

use super::all_contiguous;
use crate::layer::form;
use crate::plumbing::blocks::{Partition, Products};
use crate::plumbing::bound::{Bound, Purpose};
use crate::{Backend, DifferentiableMap, Equilibrium, ImplicitLayer, Matrix, Result, Scalar, Slot};

impl<L> Equilibrium<L> {
    /// Runs `job` in the spaces the layer is solved in, on slots that hold the given states: for diagnostics and for
    /// experiments with solvers, where neither gradients nor changed states are wanted.
    ///
    /// Returns one result per block of rows, in the order of the batch: on the CPU one
    /// per block of a size that suits the processor, in tensors a single one. Blocks run at the same time. What the job pulls back or writes is dropped.
    ///
    /// # Shapes
    /// `states[i]`: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape), [`Error::NonFinite`](crate::Error::NonFinite) for bad inputs, and those of the
    /// job.
    pub fn inspect<E: Scalar, D: Backend<E>, R: Send>(
        &self,
        states: &[Matrix<E, D>],
        x: &[Matrix<E, D>],
        job: impl Fn(&mut dyn DifferentiableMap, &[Slot]) -> Result<R> + Sync,
    ) -> Result<Vec<R>>
    where
        L: ImplicitLayer<E, D>,
    {
        let mut bound = Bound::new(
            form(&self.of_any_layer().layer, NoneTape)?.0,
            all_contiguous(x, NoneTape)?.0,
            Partition::Sizes { together: 1 },
        )?;
        let states: Vec<_> = all_contiguous(states, NoneTape)?.0;
        let job = |space: &mut dyn DifferentiableMap, slots: &mut Vec<Slot>| job(space, slots);
        let output = bound.run(Purpose::Differentiate, states, Products::Now, &job)?;
        Ok(output.results)
    }
}
