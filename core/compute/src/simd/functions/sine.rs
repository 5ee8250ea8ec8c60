//! `sin x` and `cos x`.

use crate::Element;

/// `sin x`; for infinite x and large ones, see [`cos`].
#[inline(always)]
pub fn sin<E: Element>(x: E) -> E {
    let (quarters, rest) = reduce(x.wide());
    sine_after(E::of(in_one_turn(quarters)), E::of(rest))
}

/// `cos x`, NaN for infinite x.
///
/// Beyond 2·10⁵ it is, like [`sin`], that of a number next to x in f64, and beyond 2⁴⁵ that of 0.
#[inline(always)]
pub fn cos<E: Element>(x: E) -> E {
    let (quarters, rest) = reduce(x.wide());
    sine_after(E::of(in_one_turn(quarters + 1.0)), E::of(rest))
}

/// The whole number n and the rest, at most about π/4, with `x = n π/2 + rest`.
///
/// In f64 always: an f32 next to a multiple of π/2 has a rest that 24 bits of π/2 say nothing about.
#[inline(always)]
fn reduce(x: f64) -> (f64, f64) {
    // The product with 0 is NaN if x is infinite.
    let x = if x.abs() > LARGEST { x * 0.0 } else { x };
    let n = (x * std::f64::consts::FRAC_2_PI).nearest();
    // Cody and Waite's reduction: the first two of three parts of π/2 have so few bits that their products with n are exact.
    let rest = ((x - n * 1.570_796_326_792_333_3) - n * 2.563_344_151_583_955_8e-12)
        - n * 1.056_299_906_698_742_6e-23;
    (n, rest)
}

const LARGEST: f64 = (1_u64 << 45) as f64;

/// The same number of quarter turns less whole turns: a whole number from −2 to 2.
#[inline(always)]
fn in_one_turn(quarters: f64) -> f64 {
    quarters - (quarters * 0.25).nearest() * 4.0
}

/// The sine of `quarters π/2 + rest`.
#[inline(always)]
fn sine_after<E: Element>(quarters: E, rest: E) -> E {
    let square = rest * rest;
    let sine = rest * (E::one() + square * square.polynomial(&SINE_SINGLE, &SINE_DOUBLE));
    let cosine = E::one() + square * square.polynomial(&COSINE_SINGLE, &COSINE_DOUBLE);
    let odd = quarters.abs() == E::one();
    let size = if odd { cosine } else { sine };
    // After 0 and 1 quarters the sign stays; after 2, −1 and −2 it changes.
    let changed = (quarters - E::of(0.5)).abs() > E::one();
    if changed {
        -size
    } else {
        size
    }
}

// (sin(r) / r − 1) / r² and (cos(r) − 1) / r², of r², with the least error of sin(r) / r and cos r, from
// docs/coefficients.py.
const SINE_SINGLE: [f32; 3] = [-0.166_666_55, 0.008_332_173, -0.000_195_166_56];
const SINE_DOUBLE: [f64; 6] = [
    -0.166_666_666_666_666_32,
    0.008_333_333_333_322_314,
    -0.000_198_412_698_297_251_64,
    2.755_731_366_204_790_8e-6,
    -2.505_075_326_345_282_4e-8,
    1.589_650_490_246_002_5e-10,
];
const COSINE_SINGLE: [f32; 4] = [-0.5, 0.041_666_623, -0.001_388_675_5, 2.438_963_4e-5];
const COSINE_DOUBLE: [f64; 7] = [
    -0.5,
    0.041_666_666_666_666_484,
    -0.001_388_888_888_886_366_2,
    2.480_158_728_487_822_5e-5,
    -2.755_731_330_422_720_3e-7,
    2.087_560_408_024_796_7e-9,
    -1.135_428_979_994_092_4e-11,
];
