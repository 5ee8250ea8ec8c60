//! `eˣ − 1`.

use super::exp::{bounded, reduce};
use crate::Element;

/// `eˣ − 1`, as accurate near 0 as elsewhere.
#[inline(always)]
pub fn expm1<E: Element>(x: E) -> E {
    // Beyond these bounds the results are infinite and −1 as well. NaN passes.
    let within = bounded(x, E::either(-20.0, -40.0), E::either(89.0, 710.0));
    let (n, rest) = reduce(within);
    // Half the result, for 2ⁿ itself may be infinite.
    let scale = (n - E::one()).power_of_two();
    let half = rest * scale + (scale - E::of(0.5));
    // Half of the least numbers would be rounded, and the sign of 0 be lost.
    if x.abs() < E::epsilon() {
        x
    } else {
        half + half
    }
}

/// [`expm1`] of a number from −80 to 80, but for the sign of 0.
#[inline(always)]
pub(super) fn moderate_expm1<E: Element>(x: E) -> E {
    let (n, rest) = reduce(x);
    let scale = n.power_of_two();
    rest * scale + (scale - E::one())
}
