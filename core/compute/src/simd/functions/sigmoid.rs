//! `1 / (1 + e⁻ˣ)`.

use super::exp::exp;
use crate::Element;

/// The logistic function `1 / (1 + e⁻ˣ)`; for negative x it is as accurate as `eˣ`, which it comes close to.
#[inline(always)]
pub fn sigmoid<E: Element>(x: E) -> E {
    let decay = exp(-x.abs());
    let share = if x < E::zero() { decay } else { E::one() };
    share / (E::one() + decay)
}
