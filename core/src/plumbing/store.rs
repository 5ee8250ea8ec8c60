//! What vectors are kept in.

use crate::{Coef, Result, Slot, Vectors};

/// The store of a map's vectors: [`Vectors`], the order of their rows, and the way to and from the host.
///
/// The solve loop needs it, and few methods do: those that let samples leave within a step, work on numbers of the host, or keep
/// numbers per sample beside the slots.
pub trait Store: Vectors {
    /// The sample in each row, from 0, whether active or done.
    fn samples(&self) -> &[usize];

    /// Counts the samples from `first` on where random numbers are drawn, for the rows of a batch that begin there; else from 0.
    fn number_from(&mut self, first: usize);

    /// Slots that are held: taken, and not given back.
    fn held(&self) -> usize;

    /// Exchanges the given pairs of rows, one pair after the other, in everything that holds one row per sample
    /// (slots, injected inputs, linearization); then the first `batch` rows are the active ones.
    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) -> Result<()>;

    /// `out = a − b`, with ‖out_s‖² in `squares` and ‖a_s‖² in `lengths`, per sample, accumulated in f64. Default: from
    /// [`combine`](Vectors::combine) and [`dots`](Vectors::dots).
    fn difference(
        &mut self,
        a: Slot,
        b: Slot,
        out: Slot,
        squares: &mut [f64],
        lengths: &mut [f64],
    ) -> Result<()> {
        self.combine(out, &[(Coef::Same(1.0), a), (Coef::Same(-1.0), b)])?;
        self.dots(out, &[out], squares)?;
        self.dots(a, &[a], lengths)
    }

    /// Copies the active rows from the host, row-major `[batch, dim]`.
    fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()>;

    /// Copies the active rows to the host, row-major `[batch, dim]`.
    fn read(&self, slot: Slot) -> Result<Vec<f64>>;
}
