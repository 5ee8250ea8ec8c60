//! The state space over contiguous CPU slices: one block of rows, one kernel, one thread.

use super::deferral::{Deferral, Product};
use super::normal::normal_row;
use crate::kernel::{swap_rows, KernelBlock, KernelGradients};
use crate::{simd, vectorized};
use crate::{Coef, DifferentiableSpace, Error, Result, Scalar, Slot, StateSpace};

/// A block of rows of the batch, driven by a [`KernelBlock`].
pub struct SliceSpace<E: Scalar> {
    kernel: Box<dyn KernelBlock<E>>,
    dim: usize,
    batch: usize,
    /// The sample each row belongs to.
    samples: Vec<usize>,
    slots: Vec<Vec<E>>,
    free: Vec<Slot>,
    scratch: Vec<E>,
    gradients: KernelGradients<E>,
    /// Whether nothing was pulled back.
    zero: bool,
    /// The slot that holds the linearization point, if one still does: a second linearization there has nothing to do.
    point: Option<Slot>,
    /// Whether all rows are linearized at points of one batch.
    linearized: bool,
    /// How many times the map was linearized: tells one point from another.
    linearizations: u64,
    /// Whether the solution of the next solve is to be linearized.
    linearizes_evaluations: bool,
    deferral: Deferral<E>,
}

impl<E: Scalar> SliceSpace<E> {
    /// A space for the samples `first..first + rows`; `gradients` receives what is pulled back.
    pub fn new(
        kernel: Box<dyn KernelBlock<E>>,
        dim: usize,
        rows: std::ops::Range<usize>,
        gradients: KernelGradients<E>,
    ) -> Self {
        Self {
            kernel,
            dim,
            batch: rows.len(),
            scratch: vec![E::zero(); rows.len() * dim],
            samples: rows.collect(),
            slots: Vec::new(),
            free: Vec::new(),
            gradients,
            zero: true,
            point: None,
            linearized: false,
            linearizations: 0,
            linearizes_evaluations: false,
            deferral: Deferral::default(),
        }
    }

    /// The contents of a slot, `[rows, dim]`.
    pub fn state(&self, slot: Slot) -> &[E] {
        &self.slots[slot.0]
    }

    /// The contents of a slot, `[rows, dim]`, for writing.
    pub fn state_mut(&mut self, slot: Slot) -> &mut [E] {
        self.writable(slot)
    }

    /// Whoever writes to a slot comes by here.
    fn writable(&mut self, slot: Slot) -> &mut Vec<E> {
        self.forget(slot);
        &mut self.slots[slot.0]
    }

    /// What is known of the contents of a slot does not hold any more.
    fn forget(&mut self, slot: Slot) {
        self.point.take_if(|point| *point == slot);
    }

    /// What was pulled back, in the order of the block's samples.
    pub fn into_gradients(self) -> KernelGradients<E> {
        self.gradients
    }

    /// Collects what is pulled back from now on in `gradients`, which are 0.
    pub(crate) fn collect_in(&mut self, gradients: KernelGradients<E>) {
        (self.gradients, self.zero) = (gradients, true);
    }

    /// What was pulled back since then, and whether nothing was.
    pub(crate) fn collected(&mut self) -> (KernelGradients<E>, bool) {
        (std::mem::take(&mut self.gradients), self.zero)
    }

    /// Whether evaluations that may be the last keep what a linearization takes, which makes them dearer.
    pub(crate) fn linearize_evaluations(&mut self, wanted: bool) {
        self.linearizes_evaluations = wanted;
    }

    /// Gives the memory of slots back that nobody holds.
    pub(crate) fn shrink(&mut self) {
        for slot in &self.free {
            self.slots[slot.0] = Vec::new();
        }
    }

    /// Lets gradients of products with the Jacobian wait from now on, under this number, for
    /// [`join_deferred`](Self::join_deferred).
    pub(crate) fn defer(&mut self, number: usize) {
        self.deferral.number = Some(number);
    }

    /// Multiplies the gradients that wait by the factors of their numbers and lets none wait any more: the next cotangent
    /// that is pulled back from their point takes one of them along, which costs less than each does alone.
    pub(crate) fn join_deferred(&mut self, factors: &[f64]) {
        self.deferral.join(factors);
    }

    /// Pulls back what waits still.
    pub(crate) fn flush_deferred(&mut self) {
        if self.deferral.is_empty() {
            return;
        }
        if self.deferral.linearization != self.linearizations {
            let point = &self.deferral.point;
            let value = &mut self.scratch[..point.len()];
            self.kernel.linearize(point, value);
            self.linearizations += 1;
            (self.point, self.linearized) = (None, true);
        }
        let u = &mut self.scratch[..self.deferral.point.len()];
        u.fill(E::zero());
        self.zero = false;
        while let Some(product) = self.deferral.pop() {
            pull_back_both(&mut *self.kernel, u, &product, &mut self.gradients);
        }
    }

    fn require_linearization(&self) -> Result<()> {
        match self.linearized {
            true => Ok(()),
            false => Err(Error::not_linearized()),
        }
    }

    fn len(&self) -> usize {
        self.batch * self.dim
    }

    /// Lets `write` fill the active part of a slot while it reads the others, among which it is empty.
    fn fill<R>(&mut self, slot: Slot, write: impl FnOnce(&mut Self, &mut [E]) -> R) -> R {
        let mut out = std::mem::take(self.writable(slot));
        let len = self.len();
        let result = write(self, &mut out[..len]);
        self.slots[slot.0] = out;
        result
    }

    /// [`fill`](Self::fill) where the slot itself is read as well, as it was before.
    fn refill<R>(&mut self, slot: Slot, write: impl FnOnce(&mut Self, &mut [E]) -> R) -> R {
        let mut out = std::mem::take(&mut self.scratch);
        let len = self.len();
        let result = write(self, &mut out[..len]);
        self.writable(slot)[..len].copy_from_slice(&out[..len]);
        self.scratch = out;
        result
    }
}

impl<E: Scalar> StateSpace for SliceSpace<E> {
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
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Vec::new());
            Slot(self.slots.len() - 1)
        });
        // What a failed sample has left behind may be NaN.
        let values = &mut self.slots[slot.0];
        values.clear();
        values.resize(self.scratch.len(), E::zero());
        Ok(slot)
    }

    fn release(&mut self, slot: Slot) {
        self.forget(slot);
        self.free.push(slot);
    }

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        self.fill(out, |space, out| {
            space.kernel.apply(&space.slots[z.0][..out.len()], out);
        });
        Ok(())
    }

    fn apply_keeping(&mut self, z: Slot, out: Slot) -> Result<bool> {
        if !self.linearizes_evaluations {
            self.apply(z, out)?;
            return Ok(false);
        }
        self.fill(out, |space, out| {
            (space.kernel).linearize(&space.slots[z.0][..out.len()], out);
        });
        self.linearizations += 1;
        (self.point, self.linearized) = (None, false);
        Ok(true)
    }

    fn keep_linearization(&mut self, z: Slot) {
        self.linearized = true;
        // Of samples that are done there is no linearization.
        self.point = (self.batch == self.samples.len()).then_some(z);
    }

    fn allow_rounding(&mut self, from: usize) -> bool {
        self.kernel.allow_rounding(from)
    }

    fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()> {
        let a = &self.slots[a.0][..self.len()];
        dots(a, &self.slots, bs, self.dim, out);
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
        let write = |space: &mut Self, out: &mut [E]| {
            let [a, b] = [a, b].map(|slot| &space.slots[slot.0][..]);
            difference(a, b, out, space.dim, squares, lengths);
        };
        match [a, b].contains(&out) {
            true => self.refill(out, write),
            false => self.fill(out, write),
        }
        Ok(())
    }

    fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
        let read = |terms: &[(Coef<'_>, Slot)]| terms.iter().any(|&(_, slot)| slot == out);
        match terms {
            [(Coef::Same(1.0), first), others @ ..] if *first == out && !read(others) => {
                self.fill(out, |space, sum| {
                    combine(&space.slots, others, space.dim, sum, true);
                });
            }
            _ => {
                let write = |space: &mut Self, out: &mut [E]| {
                    combine(&space.slots, terms, space.dim, out, false);
                };
                match read(terms) {
                    true => self.refill(out, write),
                    false => self.fill(out, write),
                }
            }
        }
        Ok(())
    }

    fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()> {
        let mut target = std::mem::take(self.writable(to));
        for &row in rows {
            let range = row * self.dim..(row + 1) * self.dim;
            target[range.clone()].copy_from_slice(&self.slots[from.0][range]);
        }
        self.slots[to.0] = target;
        Ok(())
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
            self.kernel.swap_rows(a, b);
            self.samples.swap(a, b);
        }
        self.batch = batch;
        Ok(())
    }

    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
        let (len, dim) = (self.len(), self.dim);
        let samples = std::mem::take(&mut self.samples);
        let rows = self.writable(slot)[..len].chunks_exact_mut(dim);
        for (row, &sample) in rows.zip(&samples) {
            normal_row(seed, sample, row);
        }
        self.samples = samples;
        Ok(())
    }

    fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()> {
        for (target, &value) in self.writable(slot).iter_mut().zip(values) {
            *target = E::of(value);
        }
        Ok(())
    }

    fn read(&mut self, slot: Slot) -> Result<Vec<f64>> {
        let active = &self.slots[slot.0][..self.len()];
        Ok(active.iter().map(|value| value.wide()).collect())
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        if self.point == Some(z) {
            return Ok(());
        }
        let len = self.len();
        let value = &mut self.scratch[..len];
        self.kernel.linearize(&self.slots[z.0][..len], value);
        self.linearizations += 1;
        self.keep_linearization(z);
        Ok(())
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<bool> {
        self.require_linearization()?;
        let mut product = std::mem::take(&mut self.scratch);
        let len = self.len();
        let computed = self
            .kernel
            .jvp(&self.slots[v.0][..len], &mut product[..len]);
        if computed {
            self.writable(out)[..len].copy_from_slice(&product[..len]);
        }
        self.scratch = product;
        Ok(computed)
    }
}

impl<E: Scalar> DifferentiableSpace for SliceSpace<E> {
    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
        self.require_linearization()?;
        let write = |space: &mut Self, out: &mut [E]| {
            space.kernel.vjp(&space.slots[u.0][..out.len()], out);
        };
        match u == out {
            true => self.refill(out, write),
            false => self.fill(out, write),
        }
        Ok(())
    }

    fn pull_back(&mut self, u: Slot) -> Result<()> {
        self.require_linearization()?;
        self.zero = false;
        let u = &self.slots[u.0][..self.len()];
        match self.deferral.take(self.linearizations) {
            Some(product) => {
                pull_back_both(&mut *self.kernel, u, &product, &mut self.gradients);
            }
            None => self.kernel.pull_back(u, &mut self.gradients),
        }
        Ok(())
    }

    fn pull_back_tangent(&mut self, p: Slot, v: Slot, factors: &[f64]) -> Result<bool> {
        self.require_linearization()?;
        let gradients = &mut self.gradients;
        if !(self.kernel).pull_back_tangent(&[], &[], &[], gradients) {
            return Ok(false);
        }
        if factors.len() != self.batch {
            return Err(Error::Shape {
                what: "the factors of products".to_owned(),
                expected: format!("{}, one per active sample", self.batch),
                got: factors.len().to_string(),
            });
        }
        let len = self.len();
        let [p_values, v] = [p, v].map(|slot| self.slots[slot.0][..len].to_vec());
        let product = Product {
            p: p_values,
            v,
            factors: factors.to_vec(),
        };
        let point = self.point.map(|slot| &self.slots[slot.0][..]);
        if let Some(mut product) = self.deferral.put((self.linearizations, point), product) {
            product.scale(1.0);
            self.zero = false;
            let u = &mut self.scratch[..len];
            u.fill(E::zero());
            pull_back_both(&mut *self.kernel, u, &product, &mut self.gradients);
        }
        Ok(true)
    }
}

/// Adds the gradients of a cotangent and of a product at the same point.
fn pull_back_both<E: Scalar>(
    kernel: &mut dyn KernelBlock<E>,
    u: &[E],
    Product { p, v, .. }: &Product<E>,
    gradients: &mut KernelGradients<E>,
) {
    kernel.pull_back_tangent(u, p, v, gradients);
}

vectorized! {
    /// See [`StateSpace::dots`].
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

    /// See [`StateSpace::difference`].
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
