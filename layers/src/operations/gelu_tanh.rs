//! The Gaussian error linear unit, by the hyperbolic tangent.

use equilibria_core::operations::{Pointwise, ARGUMENT};
use equilibria_core::simd::functions;
use equilibria_core::{AnyTape, Backend, Element, Error, Matrix, Reads, Result, Scalar};

/// `y = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
///
/// Reference: D. Hendrycks, K. Gimpel, Gaussian Error Linear Units, arXiv 1606.08415, eq. 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeluTanh;

impl Pointwise for GeluTanh {
    const NAME: &'static str = "gelu by tanh";
    const READS: Reads = ARGUMENT;

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        let half = E::of(0.5) * x;
        half + half * functions::tanh(inner(x)[0])
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, x: E, _y: E) -> E {
        let [u, slope, _] = inner(x);
        let t = functions::tanh(u);
        E::of(0.5) * ((E::one() + t) + x * (E::one() - t * t) * slope)
    }

    #[inline(always)]
    fn second<E: Element>(&self, x: E, _y: E) -> E {
        let [u, slope, bend] = inner(x);
        let t = functions::tanh(u);
        let across = E::of(0.5) * (bend - E::of(2.0) * t * slope * slope);
        (E::one() - t * t) * (slope + x * across)
    }

    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        x.try_fast_gelu().map_err(Error::device)
    }
}

/// `u = √(2/π) (x + 0.044715 x³)` and its first two derivatives.
#[inline(always)]
fn inner<E: Element>(x: E) -> [E; 3] {
    let scale = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    let (scale, cubic, square) = (E::of(scale), E::of(0.044_715), x * x);
    let slope = scale * (E::one() + E::of(3.0) * cubic * square);
    [
        scale * (x + cubic * x * square),
        slope,
        scale * E::of(6.0) * cubic * x,
    ]
}
