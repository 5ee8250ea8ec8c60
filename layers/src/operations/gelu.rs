//! The Gaussian error linear unit.

use equilibria_core::operations::{Pointwise, ARGUMENT};
use equilibria_core::simd::functions;
use equilibria_core::{Element, Formulas, Reads};

/// `y = x Φ(x)`, with the distribution function Φ of a standard normal number; exact, by the error function.
///
/// Reference: D. Hendrycks, K. Gimpel, Gaussian Error Linear Units, arXiv 1606.08415, eq. 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gelu;

impl Pointwise for Gelu {
    const NAME: &'static str = "gelu";
    const READS: Reads = ARGUMENT;

    fn formulas(&self) -> Option<Formulas> {
        let root = Formulas::number(std::f64::consts::FRAC_1_SQRT_2);
        let distribution = format!("((real)0.5 + (real)0.5 * erf(x * {root}))");
        let density = format!("({} * exp((real)-0.5 * x * x))", Formulas::number(PEAK));
        Some(Formulas::new(
            &format!("x * {distribution}"),
            &format!("{distribution} + x * {density}"),
            &format!("{density} * (2 - x * x)"),
        ))
    }

    #[inline(always)]
    fn value<E: Element>(&self, x: E) -> E {
        x * distribution(x)
    }

    #[inline(always)]
    fn derivative<E: Element>(&self, x: E, _y: E) -> E {
        distribution(x) + x * density(x)
    }

    #[inline(always)]
    fn second<E: Element>(&self, x: E, _y: E) -> E {
        density(x) * (E::of(2.0) - x * x)
    }
}

/// Φ′(0).
const PEAK: f64 = 0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;

/// Φ(x).
#[inline(always)]
fn distribution<E: Element>(x: E) -> E {
    let half = E::of(0.5);
    half + half * functions::erf(x * E::of(std::f64::consts::FRAC_1_SQRT_2))
}

/// Φ′(x).
#[inline(always)]
fn density<E: Element>(x: E) -> E {
    E::of(PEAK) * functions::exp(E::of(-0.5) * x * x)
}
