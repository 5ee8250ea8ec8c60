//! `ln(1 + eˣ)`.

use super::exp::exp;
use super::log1p::log1p_of_fraction;
use crate::Element;

/// `ln(1 + eˣ)`, a smooth `max(x, 0)`; for negative x it is as accurate as `eˣ`, which it comes close to.
#[inline(always)]
pub fn softplus<E: Element>(x: E) -> E {
    let positive = if x > E::zero() { x } else { E::zero() };
    positive + log1p_of_fraction(exp(-x.abs()))
}
