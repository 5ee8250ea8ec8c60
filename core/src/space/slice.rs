//! The state space over contiguous CPU slices: one block of rows, one kernel, one thread.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use crate::backend::dot;
use crate::kernel::{swap_rows, KernelBlock, KernelGradients};
use crate::{Coef, DifferentiableSpace, Result, Scalar, Slot, StateSpace};

/// A block of rows of the batch, driven by a [`KernelBlock`].
pub struct SliceSpace<'k, E: Scalar> {
    kernel: Box<dyn KernelBlock<E> + 'k>,
    dim: usize,
    batch: usize,
    /// The sample each row belongs to.
    samples: Vec<usize>,
    slots: Vec<Vec<E>>,
    free: Vec<Slot>,
    scratch: Vec<E>,
    gradients: KernelGradients<E>,
}

impl<'k, E: Scalar> SliceSpace<'k, E> {
    /// A space for the samples `first..first + rows`; `gradients` receives what is pulled back.
    pub fn new(
        kernel: Box<dyn KernelBlock<E> + 'k>,
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
        }
    }

    /// The contents of a slot, `[rows, dim]`.
    pub fn state(&self, slot: Slot) -> &[E] {
        &self.slots[slot.0]
    }

    /// The contents of a slot, `[rows, dim]`, for writing.
    pub fn state_mut(&mut self, slot: Slot) -> &mut [E] {
        &mut self.slots[slot.0]
    }

    /// What was pulled back, in the order of the block's samples.
    pub fn into_gradients(self) -> KernelGradients<E> {
        self.gradients
    }

    fn len(&self) -> usize {
        self.batch * self.dim
    }

    /// Lets `write` fill the active part of a slot while it reads the others. A slot that is both read and written
    /// is read as it was before.
    fn fill(&mut self, slot: Slot, write: impl FnOnce(&mut Self, &mut [E])) {
        let mut out = std::mem::take(&mut self.scratch);
        let len = self.len();
        write(self, &mut out[..len]);
        std::mem::swap(&mut self.slots[slot.0], &mut out);
        self.slots[slot.0][len..].copy_from_slice(&out[len..]);
        self.scratch = out;
    }
}

impl<E: Scalar> StateSpace for SliceSpace<'_, E> {
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
        if let Some(slot) = self.free.pop() {
            // What a failed sample has left behind may be NaN.
            self.slots[slot.0].fill(E::zero());
            return Ok(slot);
        }
        self.slots.push(vec![E::zero(); self.scratch.len()]);
        Ok(Slot(self.slots.len() - 1))
    }

    fn release(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        let len = self.len();
        let mut target = std::mem::take(&mut self.slots[out.0]);
        self.kernel
            .apply(&self.slots[z.0][..len], &mut target[..len]);
        self.slots[out.0] = target;
        Ok(())
    }

    fn dots(&mut self, a: Slot, bs: &[Slot], out: &mut [f64]) -> Result<()> {
        for row in 0..self.batch {
            let range = row * self.dim..(row + 1) * self.dim;
            let a = &self.slots[a.0][range.clone()];
            for (k, b) in bs.iter().enumerate() {
                out[row * bs.len() + k] = dot(a, &self.slots[b.0][range.clone()]);
            }
        }
        Ok(())
    }

    fn combine(&mut self, out: Slot, terms: &[(Coef<'_>, Slot)]) -> Result<()> {
        self.fill(out, |space, out| {
            for (row, out) in out.chunks_exact_mut(space.dim).enumerate() {
                combine_row(
                    out,
                    terms.iter().map(|(coef, slot)| {
                        let row_of_term = &space.slots[slot.0][row * space.dim..][..space.dim];
                        (E::of(coef.of(row)), row_of_term)
                    }),
                );
            }
        });
        Ok(())
    }

    fn copy_rows(&mut self, from: Slot, to: Slot, rows: &[usize]) -> Result<()> {
        let mut target = std::mem::take(&mut self.slots[to.0]);
        for &row in rows {
            let range = row * self.dim..(row + 1) * self.dim;
            target[range.clone()].copy_from_slice(&self.slots[from.0][range]);
        }
        self.slots[to.0] = target;
        Ok(())
    }

    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) -> Result<()> {
        for &(a, b) in swaps {
            for slot in &mut self.slots {
                swap_rows(slot, self.dim, a, b);
            }
            self.kernel.swap_rows(a, b);
            self.samples.swap(a, b);
        }
        self.batch = batch;
        Ok(())
    }

    fn fill_normal(&mut self, slot: Slot, seed: u64) -> Result<()> {
        for row in 0..self.batch {
            let target = &mut self.slots[slot.0][row * self.dim..][..self.dim];
            normal_row(seed, self.samples[row], target);
        }
        Ok(())
    }

    fn write(&mut self, slot: Slot, values: &[f64]) -> Result<()> {
        for (target, &value) in self.slots[slot.0].iter_mut().zip(values) {
            *target = E::of(value);
        }
        Ok(())
    }

    fn read(&mut self, slot: Slot) -> Result<Vec<f64>> {
        let active = &self.slots[slot.0][..self.len()];
        Ok(active.iter().map(|value| value.wide()).collect())
    }

    fn linearize(&mut self, z: Slot) -> Result<()> {
        let len = self.len();
        self.kernel
            .linearize(&self.slots[z.0][..len], &mut self.scratch[..len]);
        Ok(())
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<bool> {
        let mut product = std::mem::take(&mut self.scratch);
        let len = self.len();
        let exact = self
            .kernel
            .jvp(&self.slots[v.0][..len], &mut product[..len]);
        if exact {
            self.slots[out.0][..len].copy_from_slice(&product[..len]);
        }
        self.scratch = product;
        Ok(exact)
    }
}

impl<E: Scalar> DifferentiableSpace for SliceSpace<'_, E> {
    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
        self.fill(out, |space, out| {
            let len = out.len();
            space.kernel.pull_back(&space.slots[u.0][..len], out, None);
        });
        Ok(())
    }

    fn pull_back(&mut self, u: Slot) -> Result<()> {
        let len = self.len();
        self.kernel.pull_back(
            &self.slots[u.0][..len],
            &mut self.scratch[..len],
            Some(&mut self.gradients),
        );
        Ok(())
    }
}

/// `out = Σ_k c_k v_k` for one row, which stays in the first-level cache meanwhile.
fn combine_row<'a, E: Scalar>(out: &mut [E], terms: impl Iterator<Item = (E, &'a [E])>) {
    out.fill(E::zero());
    for (coef, term) in terms {
        for (out, &value) in out.iter_mut().zip(term) {
            *out += coef * value;
        }
    }
}

/// Standard normal numbers that depend on seed and sample alone.
pub(super) fn normal_row<E: Scalar>(seed: u64, sample: usize, row: &mut [E]) {
    // An odd multiplier (2⁶⁴ / golden ratio) keeps the streams of neighboring samples apart.
    let stream = seed ^ (sample as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut rng = StdRng::seed_from_u64(stream);
    for value in row {
        *value = E::of(rng.sample(StandardNormal));
    }
}
