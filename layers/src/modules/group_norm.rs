//! Group normalization.

use dfdx::prelude::*;
use equilibria_core::{parameters, AnyTape, Backend, Error, Matrix, Result, Scalar};

use super::normalize;
use super::normalize::row_like;
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
        let normal = normalize(x, self.groups, Self::EPSILON);
        normal * row_like::<T, _, _>(&self.weight, shape) + row_like::<T, _, _>(&self.bias, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use equilibria_core::measure::relative_difference;
    use equilibria_core::{from_host, to_host};

    /// 16 numbers that differ by one unit in the last place of 1e4: a mean rounded to that unit would be off by half of it.
    #[test]
    fn single_precision_keeps_what_differs_in_the_last_digits() {
        let values: Vec<f32> = (0..16).map(|i| 1e4 + i as f32 * 1e-3).collect();
        let wide: Vec<f64> = values.iter().map(|&value| value.into()).collect();
        let mean = wide.iter().sum::<f64>() / 16.0;
        let variance = wide.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 16.0;
        let scale = (variance + GroupNorm::<f32, Cpu>::EPSILON).sqrt();
        let expected: Vec<f64> = wide.iter().map(|x| (x - mean) / scale).collect();
        assert!((expected[0] + 1.33133).abs() < 1e-5);

        let device = Cpu::default();
        let norm = GroupNorm::new(16, 1, &mut Initializer::new(&device, 1)).expect("one group");
        let x: Matrix<f32, Cpu> = from_host(&device, values, (1, 16)).expect("memory");
        let y: Vec<f64> = to_host(&norm.forward(x))
            .into_iter()
            .map(f64::from)
            .collect();
        // Differences from the center are exact, what comes after has some 20 roundings.
        assert!(relative_difference(&y, &expected) < 20.0 * f64::from(f32::EPSILON));
    }
}
