//! Group normalization.

use dfdx::prelude::*;
use equilibria_core::{parameters, AnyTape, Backend, Error, Matrix, Result, Scalar};

use crate::Initializer;

/// `y = w ⊙ (x − μ) / √(σ² + ε) + b` with mean μ and biased variance σ² over each group of adjacent features.
///
/// Reference: Y. Wu, K. He, Group Normalization, ECCV 2018, eqs. 1-2 and 7.
#[derive(Clone)]
pub struct GroupNorm<E: Scalar, D: Backend<E>> {
    /// w, `[1, width]`.
    pub weight: Matrix<E, D>,
    /// b, `[1, width]`.
    pub bias: Matrix<E, D>,
    /// Number of groups; divides the width, and is less: a feature alone is its own mean, and what it was is lost.
    pub groups: usize,
}

parameters!(GroupNorm { weight, bias });

impl<E: Scalar, D: Backend<E>> GroupNorm<E, D> {
    /// ε, in units of x²; the default of PyTorch.
    pub const EPSILON: f64 = 1e-5;

    /// w = 1, b = 0.
    ///
    /// # Errors
    /// [`Error::Config`] unless `groups` divides `width` and leaves at least two features to a group.
    pub fn new(width: usize, groups: usize, init: &mut Initializer<D>) -> Result<Self> {
        let divides = groups >= 1 && width.is_multiple_of(groups) && width / groups >= 2;
        let got = format!("{groups} for width {width}");
        Error::require(
            divides,
            "group-norm",
            "groups",
            "a divisor of the width, with at least two features to a group",
            got,
        )?;
        Ok(Self {
            weight: init.constant((1, width), 1.0)?,
            bias: init.constant((1, width), 0.0)?,
            groups,
        })
    }

    /// Shapes: `x` and result `[batch, width]`.
    pub fn forward<T: AnyTape<E, D>>(&self, x: Matrix<E, D, T>) -> Matrix<E, D, T> {
        let shape = *x.shape();
        let (batch, width) = shape;
        let grouped = x.reshape_like(&(batch, self.groups, width / self.groups));
        let normal = grouped
            .normalize::<Axis<2>>(Self::EPSILON)
            .reshape_like(&shape);
        let row = |vector: &Matrix<E, D>| {
            let vector = vector.retaped::<T>().reshape_like(&(width,));
            vector.broadcast_like::<_, Axis<0>>(&shape)
        };
        normal * row(&self.weight) + row(&self.bias)
    }
}
