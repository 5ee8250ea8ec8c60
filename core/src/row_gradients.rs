//! Gradients of parameters and inputs, as a map on rows pulls them back.

use crate::simd::{add_scaled, add_transposed_product};
use crate::Element;

/// Sums of pulled-back cotangents.
#[derive(Debug, Clone, Default)]
pub struct RowGradients<E> {
    /// One per parameter, in the order [`Parameters::visit`](crate::Parameters::visit) shows them.
    pub parameters: Vec<ParameterGradient<E>>,
    /// One per injected input, `[rows of the block, width]`.
    pub inputs: Vec<Vec<E>>,
}

impl<E: Element> RowGradients<E> {
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
