//! `tanh x`.

use super::expm1::moderate_expm1;
use crate::Element;

/// `tanh x`, never beyond −1 and 1.
#[inline(always)]
pub fn tanh<E: Element>(x: E) -> E {
    // From 20 on it is 1, and from 10 on in f32. NaN passes.
    let (size, bound) = (x.abs(), E::either(10.0, 20.0));
    let size = if size > bound { bound } else { size };
    let grown = moderate_expm1(size + size);
    (grown / (grown + E::of(2.0))).copysign(x)
}
