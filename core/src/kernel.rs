//! Hand-written CPU implementations of a layer's map, on contiguous slices.

use std::ops::Range;

use crate::Scalar;

/// The map of one layer with its injected inputs bound, ready for the CPU.
///
/// A kernel computes the same map as [`ImplicitLayer::step`](crate::ImplicitLayer::step);
/// [`testing::check_kernel`](crate::testing::check_kernel) compares the two, value and gradient.
pub trait Kernel<E: Scalar>: Send + Sync {
    /// Work space for the given rows of the batch, to be used by one thread.
    fn block(&self, rows: Range<usize>) -> Box<dyn KernelBlock<E> + '_>;
}

/// The map restricted to a block of rows. States are row-major `[rows, state_dim]`; a call may cover fewer rows than
/// the block has, then it means the first ones.
pub trait KernelBlock<E: Scalar> {
    /// `out = f(z)`.
    fn apply(&mut self, z: &[E], out: &mut [E]);

    /// `out = f(z)`, and remembers what [`pull_back`](Self::pull_back) needs at `z`.
    fn linearize(&mut self, z: &[E], out: &mut [E]);

    /// `out = (∂f/∂z) v` at the linearization point; false, with `out` unspecified, if the kernel has no such product.
    /// Default: it has none, and solvers that need one take a difference.
    fn jvp(&mut self, _v: &[E], _out: &mut [E]) -> bool {
        false
    }

    /// `out = (∂f/∂z)ᵀ u` at the linearization point; with `gradients`, also adds `(∂f/∂θ)ᵀ u` and `(∂f/∂x)ᵀ u`.
    fn pull_back(&mut self, u: &[E], out: &mut [E], gradients: Option<&mut KernelGradients<E>>);

    /// Exchanges two rows of everything that is kept per row: injected inputs and linearization.
    fn swap_rows(&mut self, a: usize, b: usize);
}

/// Sums of pulled-back cotangents, laid out like the tensors they belong to.
#[derive(Debug, Clone, Default)]
pub struct KernelGradients<E> {
    /// One per parameter, in the order [`Parameters::visit`](crate::Parameters::visit) shows them.
    pub parameters: Vec<Vec<E>>,
    /// One per injected input, `[rows of the block, width]`.
    pub inputs: Vec<Vec<E>>,
}

/// Exchanges rows `a` and `b` of a row-major matrix with rows of `width` numbers.
pub fn swap_rows<E>(matrix: &mut [E], width: usize, a: usize, b: usize) {
    if a != b {
        let (low, high) = (a.min(b), a.max(b));
        let (head, tail) = matrix.split_at_mut(high * width);
        head[low * width..][..width].swap_with_slice(&mut tail[..width]);
    }
}
