//! What operations are to a device with kernels of its own.

use std::ops::Range;

/// An operation as a device knows it that has kernels for a few of them, with parameters in the order of
/// [`Operation::parameters`](crate::Operation::parameters). A layer all of whose operations have one runs on such a device as a recorded
/// program; any other in dfdx operations.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceCode {
    /// `y = x Wᵀ` with W `[outputs, inputs]`, or `y = x W` with W `[inputs, outputs]` where it is transposed.
    Product {
        /// Which of the two.
        transposed: bool,
    },
    /// `y = x + b` with a parameter b, `[1, width]`.
    Shift,
    /// `y = x₁ + c x₂`.
    Sum {
        /// c.
        factor: f64,
    },
    /// `y = c x + a`.
    Scale {
        /// c.
        factor: f64,
        /// a.
        offset: f64,
    },
    /// `y = x₁ ⊙ x₂`.
    Multiply,
    /// `y = w ⊙ (x − μ) / √(σ² + ε) + b` per group of adjacent columns, with parameters w and b.
    Normalize {
        /// Number of groups.
        groups: usize,
        /// ε.
        epsilon: f64,
    },
    /// A function of single numbers.
    Pointwise(Formulas),
    /// Some columns.
    Columns(Range<usize>),
    /// `[x₁ | x₂ | …]`.
    Concatenate,
}

/// A function of single numbers and its derivatives, as expressions of CUDA C++ in `x` and `y = f(x)`, of the type `real`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formulas {
    /// f(x).
    pub value: String,
    /// f′(x).
    pub derivative: String,
    /// f″(x).
    pub second: String,
}

impl Formulas {
    /// The three expressions.
    pub fn new(value: &str, derivative: &str, second: &str) -> Self {
        Self {
            value: value.to_owned(),
            derivative: derivative.to_owned(),
            second: second.to_owned(),
        }
    }

    /// A number as it stands in an expression.
    pub fn number(number: f64) -> String {
        match number.is_finite() {
            true => format!("(real)({number:?})"),
            false => format!("(real)({:?} / 0.0)", if number > 0.0 { 1.0 } else { -1.0 }),
        }
    }

    /// `max(x, 0)`, which lets NaN pass.
    pub fn relu() -> Self {
        Self::new("x < 0 ? 0 : x", "y > 0", "0")
    }
}
