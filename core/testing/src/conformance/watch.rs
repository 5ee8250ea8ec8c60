//! A space that watches what a solver does.

use equilibria_core::{delegate_to_inner, Coef, Result, Slot, StateSpace};

/// What has been seen, one entry per sample in the order of the batch.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Evaluations of f and exact products with its Jacobian while the sample was active.
    pub evaluations: Vec<usize>,
    /// Whether f has returned a number that is not finite, or so large that its square is not.
    pub overflow: Vec<bool>,
    /// Whether the solver has proposed a point that is not finite before f ever returned one.
    pub nonsense: Vec<bool>,
    /// Slots taken and not given back.
    pub slots: isize,
}

/// Hands everything on to `inner`, and counts.
pub(super) struct Watch<'s> {
    inner: &'s mut dyn StateSpace,
    /// The sample each row belongs to.
    samples: Vec<usize>,
    pub seen: Seen,
}

impl<'s> Watch<'s> {
    pub fn new(inner: &'s mut dyn StateSpace) -> Self {
        let batch = inner.batch();
        Self {
            inner,
            samples: (0..batch).collect(),
            seen: Seen {
                evaluations: vec![0; batch],
                overflow: vec![false; batch],
                nonsense: vec![false; batch],
                slots: 0,
            },
        }
    }

    fn count(&mut self) {
        for &sample in &self.samples[..self.inner.batch()] {
            self.seen.evaluations[sample] += 1;
        }
    }
}

impl StateSpace for Watch<'_> {
    delegate_to_inner!(
        batch,
        dim,
        epsilon,
        dots,
        combine,
        copy_rows,
        fill_normal,
        write,
        read,
        linearize
    );

    fn alloc(&mut self) -> Result<Slot> {
        self.seen.slots += 1;
        self.inner.alloc()
    }

    fn release(&mut self, slot: Slot) {
        self.seen.slots -= 1;
        self.inner.release(slot);
    }

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        // The loop measures ‖f(z) − z‖² and ‖f(z)‖²: a point too large for that counts as well.
        let before = self.inner.read(z)?;
        self.count();
        self.inner.apply(z, out)?;
        let after = self.inner.read(out)?;
        let dim = self.inner.dim();
        let rows = before.chunks_exact(dim).zip(after.chunks_exact(dim));
        for (&sample, (z, fz)) in self.samples.iter().zip(rows) {
            let finite = z.iter().all(|z| z.is_finite());
            self.seen.nonsense[sample] |= !finite && !self.seen.overflow[sample];
            let square = z.iter().chain(fz).map(|v| v * v).sum::<f64>();
            self.seen.overflow[sample] |= !square.is_finite();
        }
        Ok(())
    }

    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) -> Result<()> {
        swaps.iter().for_each(|&(a, b)| self.samples.swap(a, b));
        self.inner.permute(swaps, batch)
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<bool> {
        let exact = self.inner.jvp(v, out)?;
        if exact {
            self.count();
        }
        Ok(exact)
    }
}
