//! The numbers that vectors are made of.

use num_traits::{Float, NumAssign};

use crate::compiled::Compiled;
use crate::simd::Lanes;

/// An element type of vectors: f32 and f64.
pub trait Element: Lanes + Float + NumAssign + std::iter::Sum + Compiled {
    /// Rounds from f64.
    fn of(value: f64) -> Self;
    /// Widens to f64.
    fn wide(self) -> f64;
    /// The number of this type.
    fn either(single: f32, double: f64) -> Self;
    /// `c₀ + c₁ x + c₂ x² + …` with the coefficients of this type.
    fn polynomial(self, single: &[f32], double: &[f64]) -> Self;
    /// The nearest whole number; of two equally near ones the even one. Unlike `round` it is vectorized on every instruction
    /// set, but it takes only numbers below 2²² in f32 and below 2⁵¹ in f64.
    fn nearest(self) -> Self;
    /// `2ⁿ` of a whole number n, from the least normal power to the greatest; one below it is 0, and one above infinity.
    fn power_of_two(self) -> Self;
    /// The fraction m, from 1/√2 to √2, and the exponent n of a positive normal number `m 2ⁿ`.
    fn fraction_and_exponent(self) -> (Self, Self);
}

/// Added to a small number, it leaves the last bit of the sum worth 1: the sum is rounded to a whole number, whose bits are
/// the last ones of the sum.
const WHOLE_F32: f32 = 1.5 * (1_u32 << 23) as f32;
const WHOLE_F64: f64 = 1.5 * (1_u64 << 52) as f64;

impl Element for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn either(single: f32, _: f64) -> Self {
        single
    }
    #[inline(always)]
    fn polynomial(self, single: &[f32], _: &[f64]) -> Self {
        horner(self, single)
    }
    #[inline(always)]
    fn nearest(self) -> Self {
        (self + WHOLE_F32) - WHOLE_F32
    }
    #[inline(always)]
    fn power_of_two(self) -> Self {
        // The exponent of 2ⁿ is kept as n + 127, above the 23 bits of the fraction.
        f32::from_bits((self + (WHOLE_F32 + 127.0)).to_bits() << 23)
    }
    #[inline(always)]
    fn fraction_and_exponent(self) -> (Self, Self) {
        // The bits of 1/√2: what is added makes the exponent step there, and not at powers of two.
        const ROOT: u32 = 0x3f35_04f3;
        let bits = self.to_bits().wrapping_add(1.0_f32.to_bits() - ROOT);
        let fraction = f32::from_bits((bits & ((1 << 23) - 1)) + ROOT);
        // The exponent, kept as n + 127, as the last bits of 2²³ + n + 127.
        const LARGE: f32 = (1_u32 << 23) as f32;
        let exponent = f32::from_bits((bits >> 23) | LARGE.to_bits());
        (fraction, exponent - (LARGE + 127.0))
    }
}

impl Element for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn either(_: f32, double: f64) -> Self {
        double
    }
    #[inline(always)]
    fn polynomial(self, _: &[f32], double: &[f64]) -> Self {
        horner(self, double)
    }
    #[inline(always)]
    fn nearest(self) -> Self {
        (self + WHOLE_F64) - WHOLE_F64
    }
    #[inline(always)]
    fn power_of_two(self) -> Self {
        // The exponent of 2ⁿ is kept as n + 1023, above the 52 bits of the fraction.
        f64::from_bits((self + (WHOLE_F64 + 1023.0)).to_bits() << 52)
    }
    #[inline(always)]
    fn fraction_and_exponent(self) -> (Self, Self) {
        // As in f32, with 52 bits of the fraction.
        const ROOT: u64 = 0x3fe6_a09e_667f_3bcd;
        let bits = self.to_bits().wrapping_add(1.0_f64.to_bits() - ROOT);
        let fraction = f64::from_bits((bits & ((1 << 52) - 1)) + ROOT);
        const LARGE: f64 = (1_u64 << 52) as f64;
        let exponent = f64::from_bits((bits >> 52) | LARGE.to_bits());
        (fraction, exponent - (LARGE + 1023.0))
    }
}

/// A polynomial by Horner's rule, of even and of odd powers apart: the two do not wait for each other.
#[inline(always)]
fn horner<E: Float>(x: E, coefficients: &[E]) -> E {
    let square = x * x;
    let (mut even, mut odd) = (E::zero(), E::zero());
    for pair in coefficients.chunks(2).rev() {
        even = even * square + pair[0];
        odd = odd * square + pair.get(1).copied().unwrap_or(E::zero());
    }
    even + x * odd
}
