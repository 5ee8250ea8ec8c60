//! Layer normalization by the standard deviation.

use dfdx::prelude::HasShape;
use equilibria_core::operations::{Divide, Scale, Sum};
use equilibria_core::{parameters, Backend, Matrix, Result, Scalar};

use crate::operations::Vocabulary;
use crate::Initializer;

/// `y = w ⊙ (x − μ) / (s + ε) + b` with mean μ and *unbiased* standard deviation s of each row, and ε = 1e-6 beside the root.
///
/// What `The Annotated Transformer` and its descendants have in place of [`LayerNorm`](super::LayerNorm).
pub struct StandardNorm<E: Scalar, D: Backend<E>> {
    /// w, `[1, width]`.
    pub weight: Matrix<E, D>,
    /// b, `[1, width]`.
    pub bias: Matrix<E, D>,
}

parameters!(StandardNorm { weight, bias });

impl<E: Scalar, D: Backend<E>> StandardNorm<E, D> {
    /// ε, in units of x.
    pub const EPSILON: f64 = 1e-6;

    /// The least variance, far below ε²: where all numbers of a row are the same, the root would have an infinite slope, and 0 times that
    /// would make the gradient NaN. It is that of `w ⊙ (x − μ) / ε` there.
    const LEAST: f64 = 1e-24;

    /// w = 1, b = 0.
    pub fn new(width: usize, init: &mut Initializer<D>) -> Result<Self> {
        Ok(Self {
            weight: init.constant((1, width), 1.0)?,
            bias: init.constant((1, width), 0.0)?,
        })
    }

    /// The normalization of rows, in an equation.
    pub fn of<V: Vocabulary<E, D>>(&self, x: &V) -> V {
        let width = self.weight.shape().1;
        let centered = V::of(&Sum { factor: -1.0 }, &[x, &x.mean(1).repeat(width)]);
        // From the mean of all squares to that of width − 1 of them.
        let unbiased = Scale {
            factor: width as f64 / (width.max(2) - 1) as f64,
            offset: 0.0,
        };
        let beside = Scale {
            factor: 1.0,
            offset: Self::EPSILON,
        };
        let variance = V::of(&unbiased, &[&centered.square().mean(1)]);
        let variance = variance.clamp(Self::LEAST, f64::INFINITY);
        let deviation = V::of(&beside, &[&variance.sqrt()]);
        let normal = V::of(&Divide, &[&centered, &deviation.repeat(width)]);
        normal.stretch(&self.weight).shift(&self.bias)
    }
}
