//! The numbers that vectors are made of.

use num_traits::{Float, NumAssign};

use crate::simd::Lanes;

/// An element type of vectors: f32 and f64.
pub trait Element: Lanes + Float + NumAssign + std::iter::Sum {
    /// Rounds from f64.
    fn of(value: f64) -> Self;
    /// Widens to f64.
    fn wide(self) -> f64;
}

impl Element for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Element for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
}
