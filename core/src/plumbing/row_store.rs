//! Vectors in host memory: one block of rows, used by one thread.

use std::ops::Range;

use super::normal::normal_row;
use super::row_matrices::{swap_rows, RowMatrices};
use super::Store;
use crate::{simd, vectorized};
use crate::{Coef, Result, Scalar, Slot, Vectors};

/// The store of a [`SliceSpace`](super::SliceSpace): contiguous rows, one vector of memory per slot, and beside the slots what belongs to
/// the samples as well: injected inputs, constants of the solve, and the record of the linearization.
pub struct RowStore<E> {
    dim: usize,
    batch: usize,
    /// The number of the first sample in the batch that was split: random numbers depend on it.
    first: usize,
    /// The number of the first sample of that batch.
    before: usize,
    samples: Vec<usize>,
    slots: Vec<Vec<E>>,
    /// What tells the contents of each slot from those before.
    versions: Vec<u64>,
    version: u64,
    free: Vec<Slot>,
    /// Slots that the space keeps for itself.
    reserved: usize,
    /// One slot's worth of memory, for results that are read while they are computed.
    scratch: Vec<E>,
    /// Injected inputs, then what depends on them alone.
    pub(super) given: RowMatrices<E>,
    /// What the last linearization of each row has left for derivatives.
    pub(super) record: RowMatrices<E>,
}

impl<E: Scalar> RowStore<E> {
    /// A store for the given samples of a batch, without any slot.
    pub fn new(dim: usize, samples: Range<usize>) -> Self {
        let rows = samples.len();
        Self {
            dim,
            batch: rows,
            first: samples.start,
            before: 0,
            samples: (0..rows).collect(),
            slots: Vec::new(),
            versions: Vec::new(),
            version: 0,
            free: Vec::new(),
            reserved: 0,
            scratch: vec![E::zero(); rows * dim],
            given: RowMatrices::default(),
            record: RowMatrices::default(),
        }
    }

    /// A slot of zeros that is not counted among those that are held, and never given back.
    pub fn reserve(&mut self) -> Slot {
        self.reserved += 1;
        self.take()
    }

    fn take(&mut self) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Vec::new());
            self.versions.push(0);
            Slot(self.slots.len() - 1)
        });
        // What a failed sample has left behind may be NaN.
        let values = &mut self.slots[slot.0];
        values.clear();
        values.resize(self.samples.len() * self.dim, E::zero());
        slot
    }

    /// All rows of a slot.
    pub fn rows(&self, slot: Slot) -> &[E] {
        &self.slots[slot.0]
    }

    /// All rows of a slot, for writing.
    pub fn rows_mut(&mut self, slot: Slot) -> &mut Vec<E> {
        self.touch(slot);
        &mut self.slots[slot.0]
    }

    /// The active rows of a slot.
    pub fn active(&self, slot: Slot) -> &[E] {
        &self.slots[slot.0][..self.len()]
    }

    /// A number that changes whenever the contents of a slot do, but for exchanges of rows.
    pub fn version(&self, slot: Slot) -> u64 {
        self.versions[slot.0]
    }

    /// Whether no sample is done.
    pub fn all_active(&self) -> bool {
        self.batch == self.samples.len()
    }

    /// Gives the memory of slots back that nobody holds.
    pub fn shrink(&mut self) {
        for slot in &self.free {
            self.slots[slot.0] = Vec::new();
        }
    }

    /// Lets `write` fill the active rows of a slot while it reads others, and that slot itself where it is `read`.
    pub fn fill<R>(
        &mut self,
        out: Slot,
        read: bool,
        write: impl FnOnce(&Self, &mut [E]) -> R,
    ) -> R {
        if read {
            let result = self.fill_scratch(write);
            self.copy_scratch(out);
            return result;
        }
        let mut values = std::mem::take(self.rows_mut(out));
        let len = self.len();
        let result = write(self, &mut values[..len]);
        self.slots[out.0] = values;
        result
    }

    /// Lets `write` fill memory for the active rows of a slot, whose contents are of use until the next call.
    pub fn fill_scratch<R>(&mut self, write: impl FnOnce(&Self, &mut [E]) -> R) -> R {
        let mut values = std::mem::take(&mut self.scratch);
        let len = self.len();
        let result = write(self, &mut values[..len]);
        self.scratch = values;
        result
    }

    /// Copies what [`fill_scratch`](Self::fill_scratch) has left to the active rows of a slot.
    pub fn copy_scratch(&mut self, out: Slot) {
        let len = self.len();
        self.touch(out);
        self.slots[out.0][..len].copy_from_slice(&self.scratch[..len]);
    }

    /// Whoever writes to a slot comes by here.
    fn touch(&mut self, slot: Slot) {
        self.version += 1;
        self.versions[slot.0] = self.version;
    }

    fn len(&self) -> usize {
        self.batch * self.dim
    }
}

impl<E: Scalar> Vectors for RowStore<E> {
    fn batch(&self) -> usize {
        self.batch
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn epsilon(&self) -> f64 {
        E::epsilon().wide()
    }

    fn alloc(&mut self) -> Result<Slot> {
        Ok(self.take())
    }

    fn release(&mut self, slot: Slot) {
        self.touch(slot);
        self.free.push(slot);
    }

    fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()> {
        dots(self.active(a), &self.slots, bs, self.dim, out);
        Ok(())
    }

    fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
        let read = |terms: &[(Coef<'_>, Slot)]| terms.iter().any(|&(_, slot)| slot == out);
        match terms {
            [(Coef::Same(1.0), first), others @ ..] if *first == out && !read(others) => {
                self.fill(out, false, |store, sum| {
                    combine(&store.slots, others, store.dim, sum, true);
                });
            }
            _ => self.fill(out, read(terms), |store, sum| {
                combine(&store.slots, terms, store.dim, sum, false);
            }),
        }
        Ok(())
    }

    fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()> {
        let mut target = std::mem::take(self.rows_mut(to));
        for &row in rows {
            let range = row * self.dim..(row + 1) * self.dim;
            target[range.clone()].copy_from_slice(&self.slots[from.0][range]);
        }
        self.slots[to.0] = target;
        Ok(())
    }

    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
        self.fill(slot, false, |store, values| {
            let first = store.before + store.first;
            let rows = values.chunks_exact_mut(store.dim).zip(&store.samples);
            rows.for_each(|(row, &sample)| normal_row(seed, first + sample, row));
        });
        Ok(())
    }
}

impl<E: Scalar> Store for RowStore<E> {
    fn samples(&self) -> &[usize] {
        &self.samples
    }

    fn number_from(&mut self, first: usize) {
        self.before = first;
    }

    fn held(&self) -> usize {
        self.slots.len() - self.free.len() - self.reserved
    }

    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) -> Result<()> {
        // Slots that nobody holds are skipped, as most are when the rows go back to their places.
        let slots = self.slots.iter_mut().enumerate();
        for (_, slot) in slots.filter(|(index, _)| !self.free.contains(&Slot(*index))) {
            for &(a, b) in swaps {
                swap_rows(slot, self.dim, a, b);
            }
        }
        for &(a, b) in swaps {
            self.samples.swap(a, b);
            self.given.swap(a, b);
            self.record.swap(a, b);
        }
        self.batch = batch;
        Ok(())
    }

    fn difference(
        &mut self,
        a: Slot,
        b: Slot,
        out: Slot,
        squares: &mut [f64],
        lengths: &mut [f64],
    ) -> Result<()> {
        self.fill(out, [a, b].contains(&out), |store, out| {
            let [a, b] = [a, b].map(|slot| store.rows(slot));
            difference(a, b, out, store.dim, squares, lengths);
        });
        Ok(())
    }

    fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()> {
        for (target, &value) in self.rows_mut(slot).iter_mut().zip(values) {
            *target = E::of(value);
        }
        Ok(())
    }

    fn read(&self, slot: Slot) -> Result<Vec<f64>> {
        Ok(self.active(slot).iter().map(|value| value.wide()).collect())
    }
}

vectorized! {
    /// See [`Vectors::dots`].
    fn dots<'a, E, S>(
        simd: S,
        a: &'a [E],
        slots: &'a [Vec<E>],
        bs: &'a [Slot],
        dim: usize,
        out: &'a mut [f64],
    ) {
        let rows = a.chunks_exact(dim).zip(out.chunks_exact_mut(bs.len().max(1)));
        for (row, (a, out)) in rows.enumerate() {
            let b = |slot: &Slot| &slots[slot.0][row * dim..][..dim];
            let ((triples, rest), (out_triples, out_rest)) = (bs.as_chunks(), out.as_chunks_mut());
            for ([i, j, k], out) in triples.iter().zip(out_triples) {
                *out = simd::dots(simd, a, [b(i), b(j), b(k)]);
            }
            for (slot, out) in rest.iter().zip(out_rest) {
                [*out] = simd::dots(simd, a, [b(slot)]);
            }
        }
    }

    /// See [`Store::difference`].
    fn difference<'a, E, S>(
        simd: S,
        a: &'a [E],
        b: &'a [E],
        out: &'a mut [E],
        dim: usize,
        squares: &'a mut [f64],
        lengths: &'a mut [f64],
    ) {
        let rows = a.chunks_exact(dim).zip(b.chunks_exact(dim)).zip(out.chunks_exact_mut(dim));
        for (((a, b), out), (square, length)) in rows.zip(squares.iter_mut().zip(lengths)) {
            [*square, *length] = simd::difference(simd, a, b, out);
        }
    }

    /// `out = Σ_k c_k v_k`, or `out = out + Σ_k c_k v_k` to `add`.
    fn combine<'a, E, S>(
        simd: S,
        slots: &'a [Vec<E>],
        terms: &'a [(Coef<'a>, Slot)],
        dim: usize,
        out: &'a mut [E],
        add: bool,
    ) {
        for (row, out) in out.chunks_exact_mut(dim).enumerate() {
            let term = |(coef, slot): &(Coef<'_>, Slot)| {
                (E::of(coef.of(row)), &slots[slot.0][row * dim..][..dim])
            };
            let (triples, rest) = terms.as_chunks::<3>();
            for (index, triple) in triples.iter().enumerate() {
                simd::combine(simd, out, triple.each_ref().map(term), add || index > 0);
            }
            for (index, single) in rest.iter().enumerate() {
                let add = add || index + triples.len() > 0;
                simd::combine(simd, out, [term(single)], add);
            }
            if terms.is_empty() && !add {
                out.fill(E::zero());
            }
        }
    }
}
