//! The Gaussian error linear unit, by the hyperbolic tangent.

use equilibria_core::operations::{Pointwise, ARGUMENT};
use equilibria_core::simd::functions;
use equilibria_core::{AnyTape, Backend, Element, Error, Formulas, Matrix, Reads, Result, Scalar};

/// `y = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
///
/// Reference: D. Hendrycks, K. Gimpel, Gaussian Error Linear Units, arXiv 1606.08415, eq. 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeluTanh;

impl Pointwise for GeluTanh {
    const NAME: &'static str = "gelu by tanh";
    const READS: Reads = ARGUMENT;

    fn formulas(&self) -> Option<Formulas> {
        let [scale, cubic] = [SCALE, CUBIC].map(Formulas::number);
        let t = format!("tanh({scale} * (x + {cubic} * x * x * x))");
        let slope = format!("({scale} * (1 + 3 * {cubic} * x * x))");
        let bend = format!("({scale} * 6 * {cubic} * x)");
        Some(Formulas::new(
            &format!("(real)0.5 * x * (1 + {t})"),
            &format!("(real)0.5 * ((1 + {t}) + x * (1 - {t} * {t}) * {slope})"),
            &format!("(1 - {t} * {t}) * ({slope} + x * (real)0.5 * ({bend} - 2 * {t} * {slope} * {slope}))"),
        ))
    }

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

/// √(2/π).
const SCALE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;

/// The factor of x³.
const CUBIC: f64 = 0.044_715;

/// `u = √(2/π) (x + 0.044715 x³)` and its first two derivatives.
#[inline(always)]
fn inner<E: Element>(x: E) -> [E; 3] {
    let (scale, cubic, square) = (E::of(SCALE), E::of(CUBIC), x * x);
    let slope = scale * (E::one() + E::of(3.0) * cubic * square);
    [
        scale * (x + cubic * x * square),
        slope,
        scale * E::of(6.0) * cubic * x,
    ]
}
