//! `ln x`.

use super::log1p::ln_of_one_and;
use crate::Element;

/// The natural logarithm: −∞ at 0, NaN below.
#[inline(always)]
pub fn ln<E: Element>(x: E) -> E {
    // What is too small to be normal is made larger by a power of two, which is taken out again.
    let shift = E::either(25.0, 54.0);
    let small = x < E::min_positive_value();
    let (scale, out) = if small {
        (E::either(33_554_432.0, 18_014_398_509_481_984.0), shift)
    } else {
        (E::one(), E::zero())
    };
    let (fraction, exponent) = (x * scale).fraction_and_exponent();
    let n = exponent - out;
    // ln 2 in two parts; the first has so few bits that its product with n is exact.
    let high = n * E::either(0.693_145_75, 0.693_147_180_559_663);
    let low = n * E::either(1.428_606_8e-6, 2.823_529_056_303_157_7e-13);
    let y = high + (ln_of_one_and(fraction - E::one()) + low);
    let y = if x > E::zero() { y } else { E::nan() };
    let y = if x.is_zero() { -E::infinity() } else { y };
    if x == E::infinity() {
        x
    } else {
        y
    }
}
