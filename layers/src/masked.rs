//! Dropout inside an equilibrium: one mask for the whole solve.

use std::ops::Range;
use std::sync::Arc;

use equilibria_core::kernel::swap_rows;
use equilibria_core::prelude::*;
use equilibria_core::to_host;

/// `f(z ⊙ m; x)` with the map f of another layer; the mask m, `[batch, state_dim]`, is the last injected input,
/// e.g. a [`dropout_mask`](crate::modules::dropout_mask).
///
/// A mask drawn anew in every step would leave nothing to converge to. As an input it is the same in all steps of the
/// solve, of its adjoint and of its penalties, so the equilibrium exists and its gradient is exact_rows.
///
/// Reference: Y. Gal, Z. Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks,
/// NeurIPS 2016, §4.
#[derive(Clone)]
pub struct Masked<L>(pub L);

parameters!(Masked<L>.0);

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>> ImplicitLayer<E, D> for Masked<L> {
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        let mut dims = self.0.input_dims();
        dims.push(self.state_dim());
        dims
    }

    fn step<T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        x: &[Input<E, D, T>],
    ) -> Result<Matrix<E, D, T>> {
        let (mask, x) = x.split_last().ok_or_else(|| Error::Missing {
            what: "the mask".to_owned(),
            remedy: "give the injected inputs of the layer, then the mask",
        })?;
        self.0.step(z * mask.value(), x)
    }

    fn kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        let (mask, x) = x.split_last()?;
        Some(Arc::new(MaskedKernel {
            inner: self.0.kernel(x)?,
            mask: to_host(mask),
            dim: self.state_dim(),
        }))
    }
}

/// The kernel of the layer, and the mask.
struct MaskedKernel<E> {
    inner: Arc<dyn Kernel<E>>,
    mask: Vec<E>,
    dim: usize,
}

impl<E: Scalar> Kernel<E> for MaskedKernel<E> {
    fn block(self: Arc<Self>, rows: Range<usize>) -> Box<dyn KernelBlock<E>> {
        let mask = self.mask[rows.start * self.dim..rows.end * self.dim].to_vec();
        let zeros = || vec![E::zero(); mask.len()];
        Box::new(MaskedRows {
            inner: self.inner.clone().block(rows),
            dim: self.dim,
            z: zeros(),
            scratch: zeros(),
            exact_rows: usize::MAX,
            mask,
        })
    }
}

struct MaskedRows<E> {
    inner: Box<dyn KernelBlock<E>>,
    dim: usize,
    mask: Vec<E>,
    /// The linearization point, before the mask.
    z: Vec<E>,
    scratch: Vec<E>,
    /// Rows that are not rounded.
    exact_rows: usize,
}

/// `out = a ⊙ b`, as long as `a`.
fn multiply<'o, E: Scalar>(a: &[E], b: &[E], out: &'o mut [E]) -> &'o [E] {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = a * b;
    }
    &out[..a.len()]
}

impl<E: Scalar> KernelBlock<E> for MaskedRows<E> {
    fn apply(&mut self, z: &[E], out: &mut [E]) {
        let masked = multiply(z, &self.mask, &mut self.scratch);
        self.inner.apply(masked, out);
    }

    fn linearize(&mut self, z: &[E], out: &mut [E]) {
        self.z[..z.len()].copy_from_slice(z);
        let masked = multiply(z, &self.mask, &mut self.scratch);
        self.inner.linearize(masked, out);
    }

    fn jvp(&mut self, v: &[E], out: &mut [E]) -> bool {
        let masked = multiply(v, &self.mask, &mut self.scratch);
        self.inner.jvp(masked, out)
    }

    fn vjp(&mut self, u: &[E], out: &mut [E]) {
        self.inner.vjp(u, out);
        for (out, &mask) in out.iter_mut().zip(&self.mask) {
            *out *= mask;
        }
    }

    fn pull_back(&mut self, u: &[E], gradients: &mut KernelGradients<E>) {
        // The layer below knows nothing of the mask, which is the last input.
        let mask_bar = gradients.inputs.pop();
        self.inner.pull_back(u, gradients);
        if let Some(mut mask_bar) = mask_bar {
            let masked_bar = &mut self.scratch[..u.len()];
            self.inner.allow_rounding(usize::MAX);
            self.inner.vjp(u, masked_bar);
            self.inner.allow_rounding(self.exact_rows);
            for ((bar, &masked), &z) in mask_bar.iter_mut().zip(&*masked_bar).zip(&self.z) {
                *bar += masked * z;
            }
            gradients.inputs.push(mask_bar);
        }
    }

    fn allow_rounding(&mut self, from: usize) -> bool {
        self.exact_rows = from;
        self.inner.allow_rounding(from)
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        swap_rows(&mut self.mask, self.dim, a, b);
        swap_rows(&mut self.z, self.dim, a, b);
        self.inner.swap_rows(a, b);
    }
}
