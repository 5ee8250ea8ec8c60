//! The vectors of a solve: handles to batches of them, and the few coarse operations that methods need.
//!
//! Solvers, backward strategies and regularizers see nothing but these and a [`Map`] on them. Written once, they run on CPU and
//! CUDA, in f32 and f64. SUNDIALS splits its solvers from its vectors in the same way (`N_Vector`).

use arrayvec::ArrayVec;

use crate::{Map, Result};

/// Handle to one batch of vectors, `[batch, dim]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(pub(crate) usize);

/// A coefficient of [`Vectors::combine`].
#[derive(Debug, Clone, Copy)]
pub enum Coef<'a> {
    /// One number for the whole batch.
    Same(f64),
    /// One number per sample, `[batch]`.
    PerSample(&'a [f64]),
}

impl Coef<'_> {
    /// The coefficient of one sample.
    #[inline]
    pub fn of(&self, sample: usize) -> f64 {
        match self {
            Self::Same(c) => *c,
            Self::PerSample(c) => c[sample],
        }
    }
}

/// The vectors of a solve, in batches with one row per sample.
///
/// The first [`batch`](Self::batch) rows of a slot are *active*; rows behind them belong to samples that are done, and no
/// operation here touches them.
///
/// Every [`Map`] has these methods, from the [vectors](Map::vectors) it works on.
pub trait Vectors {
    /// Number of active samples.
    fn batch(&self) -> usize;

    /// Dimension of one sample's vector.
    fn dim(&self) -> usize;

    /// Rounding error of one operation, relative: ε of the element type.
    fn epsilon(&self) -> f64;

    /// A slot of zeros. Storage is recycled: a solve allocates on its first steps only.
    fn alloc(&mut self) -> Result<Slot>;

    /// Gives a slot back.
    fn release(&mut self, slot: Slot);

    /// `out[s · bs.len() + k] = ⟨a_s, bs[k]_s⟩`, per sample, accumulated in f64.
    fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()>;

    /// `out_s = Σ_k c_{k,s} v_{k,s}` in one pass; `out` may be among the terms.
    fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()>;

    /// Copies the given active rows of `from` to `to`. A selection, not a masked product: 0 · NaN would be NaN.
    fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()>;

    /// Fills the active rows with standard normal numbers that depend only on `seed` and on the sample, not on
    /// the batch it is in.
    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()>;
}

/// A map hands its vectors out, so that `space.combine(..)` is the same with a map and with vectors alone.
impl<M: Map + ?Sized> Vectors for M {
    fn batch(&self) -> usize {
        self.vectors().batch()
    }

    fn dim(&self) -> usize {
        self.vectors().dim()
    }

    fn epsilon(&self) -> f64 {
        self.vectors().epsilon()
    }

    fn alloc(&mut self) -> Result<Slot> {
        self.vectors_mut().alloc()
    }

    fn release(&mut self, slot: Slot) {
        self.vectors_mut().release(slot);
    }

    fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()> {
        self.vectors_mut().dots(a, bs, out)
    }

    fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
        self.vectors_mut().combine(out, terms)
    }

    fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()> {
        self.vectors_mut().copy_rows(from, to, rows)
    }

    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
        self.vectors_mut().fill_normal(slot, seed)
    }
}

/// Terms of one pass.
const TERMS: usize = 16;

/// [`Vectors::combine`] for terms from an iterator, without memory on the heap: `out = Σ_k c_k v_k`, sixteen terms in a
/// pass. `out` may be the first of the vectors, but none of the others.
pub fn combine_all<'c>(
    vectors: &mut (impl Vectors + ?Sized),
    out: Slot,
    terms: impl IntoIterator<Item = (Coef<'c>, Slot)>,
) -> Result<()> {
    let mut pass = ArrayVec::<(Coef<'c>, Slot), TERMS>::new();
    for term in terms {
        if pass.is_full() {
            vectors.combine(out, &pass)?;
            pass.clear();
            pass.push((Coef::Same(1.0), out));
        }
        pass.push(term);
    }
    vectors.combine(out, &pass)
}
