//! `eˣ`.

use crate::Element;

/// `eˣ`: infinite from about 88.7 in f32 and 709.8 in f64, 0 below about −104 and −745.
#[inline(always)]
pub fn exp<E: Element>(x: E) -> E {
    // Beyond these bounds the results are infinite and 0 as well. NaN passes.
    let x = bounded(x, E::either(-104.0, -746.0), E::either(89.0, 710.0));
    let (n, rest) = reduce(x);
    // In two steps, for 2ⁿ itself may be infinite, or too small to be normal.
    let half = (n * E::of(0.5)).nearest();
    (E::one() + rest) * half.power_of_two() * (n - half).power_of_two()
}

/// `x` between two bounds; NaN stays NaN.
#[inline(always)]
pub(super) fn bounded<E: Element>(x: E, low: E, high: E) -> E {
    let x = if x < low { low } else { x };
    if x > high {
        high
    } else {
        x
    }
}

/// The whole number `n` and `eʳ − 1` of the rest `r`, at most about `ln 2 / 2`, with `x = n ln 2 + r`.
#[inline(always)]
pub(super) fn reduce<E: Element>(x: E) -> (E, E) {
    let n = (x * E::of(std::f64::consts::LOG2_E)).nearest();
    // ln 2 in two parts; the first has so few bits that its product with n is exact.
    let r = x - n * E::either(0.693_145_75, 0.693_147_180_559_663);
    let r = r - n * E::either(1.428_606_8e-6, 2.823_529_056_303_157_7e-13);
    (n, r + r * r * r.polynomial(&SINGLE, &DOUBLE))
}

// (eʳ − 1 − r) / r² with the least relative error of eʳ − 1, from docs/coefficients.py.
const SINGLE: [f32; 5] = [
    0.5,
    0.166_665_46,
    0.041_666_288,
    0.008_366_313,
    0.001_394_605_8,
];
const DOUBLE: [f64; 10] = [
    0.500_000_000_000_000_6,
    0.166_666_666_666_666_85,
    0.041_666_666_666_577_11,
    0.008_333_333_333_315_096,
    0.001_388_888_893_141_312_7,
    0.000_198_412_699_020_273_82,
    2.480_150_544_891_951_7e-5,
    2.755_722_876_872_296_2e-6,
    2.762_597_749_199_864e-7,
    2.511_423_982_716_880_6e-8,
];
