//! A layer's map for the CPU, on contiguous slices: the program recorded from its step, or what a layer has in place of it.

use std::ops::Range;
use std::sync::Arc;

use crate::simd::{add_scaled, add_transposed_product};
use crate::Element;

/// The map of one layer with its injected inputs bound, ready for the CPU.
///
/// It computes the same map as [`ImplicitLayer::step`](crate::ImplicitLayer::step), of which it is the recorded program unless a
/// layer has a kernel of its own; `check_kernel` of `equilibria-testing` compares the two, value and gradient.
pub trait Kernel<E: Element>: Send + Sync {
    /// Work space for the given rows of the batch, to be used by one thread at a time.
    fn block(self: Arc<Self>, rows: Range<usize>) -> Box<dyn KernelBlock<E>>;
}

/// The map restricted to a block of rows. States are row-major `[rows, state_dim]`; a call may cover fewer rows than
/// the block has, then it means the first ones.
pub trait KernelBlock<E: Element>: Send {
    /// `out = f(z)`.
    fn apply(&mut self, z: &[E], out: &mut [E]);

    /// `out = f(z)`, to the last bit what [`apply`](Self::apply) gives, and remembers what derivatives need at `z`.
    /// What is remembered of later rows stays as it is: solves linearize those that are left, again and again, while those that
    /// are done wait for their gradients.
    fn linearize(&mut self, z: &[E], out: &mut [E]);

    /// `out = (∂f/∂z) v` at the linearization point; false, with `out` unspecified, if the kernel has no such product.
    /// Default: it has none, and solvers that need one take a difference.
    fn jvp(&mut self, _v: &[E], _out: &mut [E]) -> bool {
        false
    }

    /// `out = (∂f/∂z)ᵀ u` at the linearization point.
    fn vjp(&mut self, u: &[E], out: &mut [E]);

    /// Adds `(∂f/∂θ)ᵀ u` and `(∂f/∂x)ᵀ u` at the linearization point.
    fn pull_back(&mut self, u: &[E], gradients: &mut KernelGradients<E>);

    /// Adds the gradients of `⟨u, f(z)⟩ + ⟨p, (∂f/∂z) v⟩` by θ and x at the linearization point, with u, p and v held
    /// constant; false, with nothing added, if the kernel cannot. That depends on the kind of the kernel alone: a call with
    /// empty slices tells. Default: it cannot, and penalties on the Jacobian take a difference.
    fn pull_back_tangent(
        &mut self,
        _u: &[E],
        _p: &[E],
        _v: &[E],
        _gradients: &mut KernelGradients<E>,
    ) -> bool {
        false
    }

    /// Lets [`apply`](Self::apply), [`linearize`](Self::linearize) and [`vjp`](Self::vjp) round the factors of products to 8
    /// binary digits in the rows from `from` on, until told otherwise; at first, and from the number of rows on, in none.
    /// Returns whether the kernel makes use of it, for these shapes on this processor. What a row gives must not depend on the
    /// others, rounded or not. [`AdjointMap`](crate::AdjointMap) takes rounded products Jᵀu to be off by 2⁻⁸ of the larger of
    /// ‖u‖ and ‖Jᵀu‖ at most. Default: it makes no use of it.
    fn allow_rounding(&mut self, _from: usize) -> bool {
        false
    }

    /// Exchanges two rows of everything that is kept per row: injected inputs and linearization.
    fn swap_rows(&mut self, a: usize, b: usize);
}

/// Sums of pulled-back cotangents.
#[derive(Debug, Clone, Default)]
pub struct KernelGradients<E> {
    /// One per parameter, in the order [`Parameters::visit`](crate::Parameters::visit) shows them.
    pub parameters: Vec<ParameterGradient<E>>,
    /// One per injected input, `[rows of the block, width]`.
    pub inputs: Vec<Vec<E>>,
}

impl<E: Element> KernelGradients<E> {
    /// Zero gradients of parameters of the given shapes, and of inputs of the given widths for `rows` rows.
    pub fn zeros(
        parameters: impl IntoIterator<Item = (usize, usize)>,
        inputs: impl IntoIterator<Item = usize>,
        rows: usize,
    ) -> Self {
        Self {
            parameters: parameters
                .into_iter()
                .map(ParameterGradient::zero)
                .collect(),
            inputs: (inputs.into_iter())
                .map(|width| vec![E::zero(); rows * width])
                .collect(),
        }
    }

    /// All gradients laid out like the tensors they belong to: parameters, then inputs.
    pub fn into_values(self) -> Vec<Vec<E>> {
        let parameters = self.parameters.into_iter();
        let parameters = parameters.map(ParameterGradient::into_values);
        parameters.chain(self.inputs).collect()
    }
}

/// The gradient of one parameter, as it grows.
///
/// The gradient of a weight matrix is a product over the rows of the batch. A block only keeps its share of the two
/// factors: all rows together make one large product, where a product per block would write the whole matrix anew for a
/// few rows.
#[derive(Debug, Clone, Default)]
pub struct ParameterGradient<E> {
    shape: (usize, usize),
    /// What was added number by number; empty if nothing was.
    sum: Vec<E>,
    /// Factors of products yet to be added, `[rows, shape.0]` and `[rows, shape.1]`, one pair per block.
    factors: Vec<[Vec<E>; 2]>,
}

impl<E: Element> ParameterGradient<E> {
    /// Zero, for a parameter of this shape.
    pub fn zero(shape: (usize, usize)) -> Self {
        Self {
            shape,
            ..Self::default()
        }
    }

    /// The gradient as row-major numbers, for vectors and whatever is not a product.
    pub fn sum(&mut self) -> &mut [E] {
        if self.sum.is_empty() {
            self.sum.resize(self.shape.0 * self.shape.1, E::zero());
        }
        &mut self.sum
    }

    /// Adds `leftᵀ right`, with `left` `[rows, shape.0]` and `right` `[rows, shape.1]`, row-major.
    pub fn add_product(&mut self, left: &[E], right: &[E]) {
        if left.is_empty() {
            return;
        }
        if self.factors.is_empty() {
            self.factors.push(Default::default());
        }
        if let [[lefts, rights], ..] = &mut self.factors[..] {
            for (rows, part) in [(lefts, left), (rights, right)] {
                if rows.is_empty() {
                    // A penalty adds as many rows again.
                    rows.reserve(2 * part.len());
                }
                rows.extend_from_slice(part);
            }
        }
    }

    /// Adds what another block has found.
    pub(crate) fn append(&mut self, next: Self) {
        if !next.sum.is_empty() {
            let terms = self.sum().iter_mut().zip(next.sum);
            terms.for_each(|(sum, part)| *sum += part);
        }
        self.factors.extend(next.factors);
    }

    /// Whether nothing was added.
    pub fn is_zero(&self) -> bool {
        self.sum.is_empty() && self.factors.is_empty()
    }

    /// The whole gradient, row-major.
    pub fn into_values(self) -> Vec<E> {
        let mut values = Vec::new();
        self.add_to(&mut values, E::one());
        values
    }

    /// Adds `factor` times the whole gradient to row-major values; none at all stand for 0.
    pub(crate) fn add_to(mut self, values: &mut Vec<E>, factor: E) {
        values.resize(self.shape.0 * self.shape.1, E::zero());
        add_scaled(values, factor, &self.sum);
        if self.factors.is_empty() {
            return;
        }
        if factor != E::one() {
            let left = self.factors.iter_mut().flat_map(|[left, _]| left);
            left.for_each(|value| *value *= factor);
        }
        add_transposed_product(&self.factors, values, self.shape.1);
    }
}

/// Exchanges rows `a` and `b` of a row-major matrix with rows of `width` numbers. An empty one has none.
pub fn swap_rows<E>(matrix: &mut [E], width: usize, a: usize, b: usize) {
    if a != b && !matrix.is_empty() {
        let (low, high) = (a.min(b), a.max(b));
        let (head, tail) = matrix.split_at_mut(high * width);
        head[low * width..][..width].swap_with_slice(&mut tail[..width]);
    }
}
