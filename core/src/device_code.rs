//! What operations are to a device with kernels of its own.

use std::ops::Range;
use std::sync::Arc;

/// An operation as a device knows it that has kernels for it, with parameters in the order of
/// [`Operation::parameters`](crate::Operation::parameters). A layer all of whose operations have one runs on such a device as a recorded
/// program, with exact tangents; any other in dfdx operations.
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
    /// `y = x₁ / x₂`.
    Divide,
    /// `y = w ⊙ (x − μ) / √(σ² + ε) + b` per group of adjacent columns, with parameters w and b; without any w is 1 and b is 0.
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
    /// `y = w ⊙ x` with a parameter w, `[1, width]`.
    Stretch,
    /// A parameter of any shape in every row, row-major, without an argument.
    Broadcast,
    /// The same numbers in every row, without an argument.
    Constant(Arc<[f64]>),
    /// `y_i = Σ_j |W_ij|` of a parameter W in every row, without an argument; where an entry is 0, so is its derivative.
    RowNorms,
    /// Column j of y is the column of x, `from` columns wide, that `columns` has for it, or 0 where it has one that is not there. Or the
    /// transpose of that: column j of y, `from` columns wide, is the sum of those columns of x for which `columns` has j.
    Gather {
        /// One for each column of y, or of x where it is transposed.
        columns: Arc<[u32]>,
        /// See above.
        from: usize,
        /// Which of the two.
        transposed: bool,
    },
    /// From `[rows, columns, block]` to `[columns, rows, block]`, in each row.
    Transpose {
        /// Rows of a matrix of blocks.
        rows: usize,
        /// Its columns.
        columns: usize,
        /// Numbers that stay together.
        block: usize,
    },
    /// `[x | x | … | x]`.
    Repeat {
        /// How often.
        times: usize,
    },
    /// `y_g = Σ x_i` or the mean of x_i over group g of adjacent columns.
    SumOfGroups {
        /// Number of groups.
        groups: usize,
        /// Whether it is the mean.
        mean: bool,
    },
    /// `y_g = max x_i` over group g of adjacent columns, NaN if one is; of equal ones the first has the whole derivative.
    Max {
        /// Number of groups.
        groups: usize,
    },
    /// `y_i = exp x_i / Σ_j exp x_j` over each group of adjacent columns.
    Softmax {
        /// Number of groups.
        groups: usize,
    },
    /// `y_g = ln Σ_i exp x_i` over group g of adjacent columns.
    LogSumExp {
        /// Number of groups.
        groups: usize,
    },
    /// `Y = A B`, where each row holds A, `[rows, inner]`, and B, `[inner, columns]`; or `Y = A Bᵀ` with B `[columns, inner]`.
    Matmul {
        /// Rows of A.
        rows: usize,
        /// Columns of A.
        inner: usize,
        /// Columns of Y.
        columns: usize,
        /// Which of the two.
        transposed: bool,
    },
    /// Another one, on each of so many equal parts of every row as if it were a row of its own.
    PerToken {
        /// Parts of a row.
        count: usize,
        /// What is done to each.
        of: Box<DeviceCode>,
    },
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
