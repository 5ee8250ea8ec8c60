//! What training does with numbers in the memory of a device, so that they need not go to the host.

use dfdx::prelude::Gradients;

use crate::{Backend, Formulas, Matrix, Result, Scalar};

/// Work on numbers where they are, for devices whose memory is not that of the host; see [`Backend::on_device`].
pub trait OnDevice<E: Scalar, D: Backend<E>> {
    /// Whether all numbers of a tensor are finite. Where squares of them overflow that is not known, and the answer is no.
    fn is_finite(&self, x: &Matrix<E, D>) -> Result<bool>;

    /// ‖g‖₂² of the gradient of each tensor, in f64: all by one copy to the host.
    fn gradient_squares(
        &self,
        gradients: &mut Gradients<E, D>,
        tensors: &[Matrix<E, D>],
    ) -> Result<Vec<f64>>;

    /// Gives a parameter new values by a rule, in place: its identity stays. `kept` are the first and second running mean and the average,
    /// as large as the parameter, where there are any.
    fn update(
        &self,
        rule: &UpdateRule,
        tensor: &mut Matrix<E, D>,
        gradients: &mut Gradients<E, D>,
        kept: [Option<&mut Matrix<E, D>>; 3],
    ) -> Result<()>;

    /// A copy that nobody else works on.
    fn copy(&self, x: &Matrix<E, D>) -> Result<Matrix<E, D>>;

    /// Copies values to a tensor of the same shape, in place: its identity stays.
    fn assign(&self, tensor: &mut Matrix<E, D>, values: &Matrix<E, D>) -> Result<()>;

    /// A function of every number for itself.
    fn pointwise(&self, function: &Formulas, x: &Matrix<E, D>) -> Result<Matrix<E, D>>;

    /// Adds `f′(x) ȳ` to the gradient of x, with the gradient ȳ of y = f(x). Neither x nor y may be a view.
    fn pointwise_back(
        &self,
        function: &Formulas,
        gradients: &mut Gradients<E, D>,
        x: &Matrix<E, D>,
        y: &Matrix<E, D>,
    ) -> Result<()>;

    /// Moves a parameter to the nearest point of a set, in place: its identity stays.
    fn project(&self, tensor: &mut Matrix<E, D>, set: ConvexSet) -> Result<()>;

    /// Numbers that are 0 where 32 random bits are less than the first of `choices`, else the second: those that the host draws from
    /// the same `stream`.
    fn mask(
        &self,
        device: &D,
        shape: (usize, usize),
        stream: u64,
        choices: (u64, E),
    ) -> Result<Matrix<E, D>>;

    /// The largest singular value σ of a matrix and u vᵀ of its singular vectors, by power steps from a v of normal numbers, those of
    /// [`fill_normal`](crate::seed::fill_normal) of the same `stream`, in f64.
    fn leading(&self, x: &Matrix<E, D>, stream: u64, steps: usize) -> Result<(f64, Matrix<E, D>)>;

    /// `to[places[i]] = from[i]`, row by row, for all i whose place is below the number of rows and whose row is finite. Nobody else may
    /// work on `to`.
    fn scatter_rows(
        &self,
        from: &Matrix<E, D>,
        places: &[usize],
        to: &mut Matrix<E, D>,
    ) -> Result<()>;

    /// `to[i] = from[places[i]]`, row by row; 0 where a place is not below the number of rows.
    fn gather_rows(&self, from: &Matrix<E, D>, places: &[usize]) -> Result<Matrix<E, D>>;
}

/// A rule to update a parameter, number by number, and the average β a + (1 − β) w beside it.
#[derive(Debug, Clone, Copy)]
pub struct UpdateRule {
    /// Statements in CUDA C++ on w, the parameter, g, its gradient, m and v, the running means, and the numbers c₀, c₁, … as `c(0)`, `c(1)`
    /// and so on; all are of the type `real`.
    pub code: &'static str,
    /// c₀, c₁, …
    pub numbers: [f64; 10],
    /// β.
    pub decay: f64,
}

/// A convex set of matrices, to keep a parameter in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConvexSet {
    /// Every number is at least this one.
    AtLeast(f64),
    /// `Σ_j |a_ij| ≤ radius` in every row i.
    RowsInL1Ball(f64),
    /// `Σ_i a_ij² ≤ radius²` in every column j, but for the rounding of single precision.
    ColumnsInL2Ball(f64),
}

impl ConvexSet {
    /// What columns may be longer than the radius, relative to it: some units in the last place of a single-precision number.
    pub const SLACK: f64 = 1e-6;
}
