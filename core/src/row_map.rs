//! The map of a layer on contiguous rows, for the CPU.

use std::sync::Arc;

use crate::{Element, RowGradients, Scratch};

/// The map `f(z; x)` of a layer, and its derivatives, on contiguous rows in host memory. It owns the weights, and nothing that belongs
/// to a row.
///
/// Hardly anybody writes one: that of a layer is the program recorded from its [`step`](crate::ImplicitLayer::step).
/// `check_row_map` of `equilibria-testing` compares the two, values and gradients.
///
/// # Shapes
/// Every matrix is row-major, `[rows, width]`. All matrices of one call have the same rows, as many as the caller likes, and what a row
/// gives depends on that row alone. `z`, `u`, `v`, `p` and `out` are as wide as the state. `x` has the injected inputs, then the
/// [`constants`](Self::constants); `record` has the matrices of [`record`](Self::record).
///
/// # Who keeps what
/// The caller keeps inputs, constants and record, moves their rows along with the samples, and lends the scratch memory. Many threads
/// call the same map, each on rows of its own.
pub trait RowMap<E: Element>: Send + Sync {
    /// Width of each matrix that depends on the inputs alone and is computed once per solve. Default: there are none.
    fn constants(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Computes the [`constants`](Self::constants) from the inputs. Default: there are none.
    fn prepare(&self, _x: &[&[E]], _constants: &mut [&mut [E]], _scratch: &mut Scratch<E>) {}

    /// Width of each matrix that [`linearize`](Self::linearize) writes for the derivatives. Default: there are none, as for affine maps
    /// without parameters.
    fn record(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Equal parts of a row, such as tokens or pixels, that products by weights work on as if they were rows; of several numbers the
    /// largest. Where there are many, a batch is split between threads row by row. Default: the row itself.
    fn parts(&self) -> usize {
        1
    }

    /// Whether [`pull_back`](Self::pull_back) adds to the gradient of an injected input, which has no numbers otherwise. Default: it does.
    fn reaches_input(&self, _index: usize) -> bool {
        true
    }

    /// `out = f(z)`.
    fn apply(&self, x: &[&[E]], z: &[E], out: &mut [E], scratch: &mut Scratch<E>);

    /// `out = f(z)`, to the last bit what [`apply`](Self::apply) gives; writes to `record` what derivatives at `z` read.
    fn linearize(
        &self,
        x: &[&[E]],
        z: &[E],
        out: &mut [E],
        record: &mut [&mut [E]],
        scratch: &mut Scratch<E>,
    );

    /// `out = (∂f/∂z)ᵀ u` at the recorded point.
    fn vjp(&self, x: &[&[E]], record: &[&[E]], u: &[E], out: &mut [E], scratch: &mut Scratch<E>);

    /// Adds `(∂f/∂θ)ᵀ u` and `(∂f/∂x)ᵀ u` at the recorded point. The gradients of inputs may have more rows than the call: the first
    /// ones are meant.
    fn pull_back(
        &self,
        x: &[&[E]],
        record: &[&[E]],
        u: &[E],
        gradients: &mut RowGradients<E>,
        scratch: &mut Scratch<E>,
    );

    /// The map's products with its Jacobian. Default: it has none, and differences take their place.
    fn tangents(&self) -> Option<&dyn Tangents<E>> {
        None
    }

    /// The same map with the factors of products rounded to bf16 in [`apply`](Self::apply), [`linearize`](Self::linearize) and
    /// [`vjp`](Self::vjp), and with the same record; `None` where that is not faster, for these shapes on this processor.
    /// [`AdjointMap`](crate::AdjointMap) takes rounded products Jᵀu to be off by 2⁻⁸ of the larger of ‖u‖ and ‖Jᵀu‖ at most.
    /// Default: there is none.
    fn rounded(self: Arc<Self>) -> Option<Arc<dyn RowMap<E>>> {
        None
    }
}

/// Products of a [`RowMap`] with its Jacobian, and their gradients.
pub trait Tangents<E: Element> {
    /// `out = (∂f/∂z) v` at the recorded point.
    fn jvp(&self, x: &[&[E]], record: &[&[E]], v: &[E], out: &mut [E], scratch: &mut Scratch<E>);

    /// Adds the gradients of `⟨u, f(z)⟩ + ⟨p, (∂f/∂z) v⟩` by θ and x at the recorded point, with u and `[p, v] = product` held
    /// constant.
    fn pull_back_tangent(
        &self,
        x: &[&[E]],
        record: &[&[E]],
        u: &[E],
        product: [&[E]; 2],
        gradients: &mut RowGradients<E>,
        scratch: &mut Scratch<E>,
    );
}
