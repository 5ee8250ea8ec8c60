//! A map that watches what a solver does.

use equilibria_core::{Map, Result, Slot, Vectors};

/// What has been seen, one entry per sample in the order of the batch.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Evaluations of f and products with its Jacobian while the sample was active, as the latter count.
    pub evaluations: Vec<usize>,
    /// Whether f has returned a number that is not finite, or so large that its square is not.
    pub overflow: Vec<bool>,
    /// Whether the solver has proposed a point that is not finite before f ever returned one.
    pub nonsense: Vec<bool>,
}

/// Hands everything on to `inner`, and counts.
pub(super) struct Watch<'s> {
    inner: &'s mut dyn Map,
    pub seen: Seen,
}

impl<'s> Watch<'s> {
    pub fn new(inner: &'s mut dyn Map) -> Self {
        let batch = inner.batch();
        Self {
            inner,
            seen: Seen {
                evaluations: vec![0; batch],
                overflow: vec![false; batch],
                nonsense: vec![false; batch],
            },
        }
    }

    fn count(&mut self, evaluations: usize) {
        let vectors = self.inner.vectors();
        for &sample in &vectors.samples()[..vectors.batch()] {
            self.seen.evaluations[sample] += evaluations;
        }
    }
}

impl Map for Watch<'_> {
    equilibria_core::inner_map!(inner: vectors, linearize);

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        // The loop measures ‖f(z) − z‖² and ‖f(z)‖²: a point too large for that counts as well.
        let before = self.inner.vectors().read(z)?;
        self.count(1);
        self.inner.apply(z, out)?;
        let vectors = self.inner.vectors();
        let (after, dim) = (vectors.read(out)?, vectors.dim());
        let rows = before.chunks_exact(dim).zip(after.chunks_exact(dim));
        for (&sample, (z, fz)) in vectors.samples().iter().zip(rows) {
            let finite = z.iter().all(|z| z.is_finite());
            self.seen.nonsense[sample] |= !finite && !self.seen.overflow[sample];
            let square = z.iter().chain(fz).map(|v| v * v).sum::<f64>();
            self.seen.overflow[sample] |= !square.is_finite();
        }
        Ok(())
    }

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<usize> {
        let evaluations = self.inner.jvp(v, out)?;
        self.count(evaluations);
        if evaluations == 1 {
            return Ok(1);
        }
        // A difference of evaluations: f has overflowed if that has.
        let vectors = self.inner.vectors();
        let (product, dim) = (vectors.read(out)?, vectors.dim());
        let rows = vectors.samples().iter().zip(product.chunks_exact(dim));
        for (&sample, product) in rows {
            self.seen.overflow[sample] |= !product.iter().all(|v| v.is_finite());
        }
        Ok(evaluations)
    }
}
