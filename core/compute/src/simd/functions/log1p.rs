//! `ln(1 + x)`.

use crate::Element;

/// `ln(1 + x)` of a number from 0 to 1.
#[inline(always)]
pub(super) fn log1p_of_fraction<E: Element>(x: E) -> E {
    // From √2 on, 1 + x is halved: what is left is between 1/√2 and √2.
    let large = x > E::of(std::f64::consts::SQRT_2 - 1.0);
    let rest = if large {
        (x - E::one()) * E::of(0.5)
    } else {
        x
    };
    let doubled = if large {
        E::of(std::f64::consts::LN_2)
    } else {
        E::zero()
    };
    doubled + ln_of_one_and(rest)
}

/// `ln(1 + r)`, with 1 + r between 1/√2 and √2.
#[inline(always)]
pub(super) fn ln_of_one_and<E: Element>(rest: E) -> E {
    // ln(1 + r) = 2 artanh s = 2 s + s³ (2/3 + 2/5 s² + …) with s = r / (2 + r).
    let s = rest / (rest + E::of(2.0));
    let square = s * s;
    s + s + s * square * square.polynomial(&SINGLE, &DOUBLE)
}

// (2 artanh(s) / s − 2) / s², of s², with the least relative error of artanh s, from docs/coefficients.py.
const SINGLE: [f32; 3] = [0.666_667_76, 0.399_774_5, 0.298_744_2];
const DOUBLE: [f64; 7] = [
    0.666_666_666_666_673_5,
    0.399_999_999_994_074_9,
    0.285_714_287_441_419_97,
    0.222_221_983_784_125_3,
    0.181_835_751_688_180_97,
    0.153_137_556_765_436_2,
    0.147_990_669_146_934_96,
];
