//! Requirements: what a state has to satisfy beside a small residual.

use crate::wide::wide;
use crate::{parallel, Backend, ImplicitLayer, Matrix, Report, Scalar, Status, Tolerance};

/// What a state has to satisfy to count as a solution, beside a residual that is small beside the state: for layers whose states may grow
/// without bound where there is no solution, so that every residual becomes small beside them.
///
/// It owns copies of the parameters in f64.
pub trait Requirement: Send + Sync {
    /// Whether a state that meets the tolerance is a solution to this tolerance.
    ///
    /// # Shapes
    /// One row: `z` has `state_dim` numbers, `x[i]` has `input_dims[i]`.
    fn is_met(&self, z: &[f64], x: &[&[f64]], tolerance: &Tolerance) -> bool;
}

/// Samples that have converged to what is no solution have diverged.
///
/// # Shapes
/// `z`: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
pub(crate) fn require<E: Scalar, D: Backend<E>>(
    layer: &impl ImplicitLayer<E, D>,
    z: &Matrix<E, D>,
    x: &[Matrix<E, D>],
    tolerance: &Tolerance,
    report: &mut Report,
) {
    let Some(requirement) = layer.requirement() else {
        return;
    };
    let (z, x) = (wide(z), x.iter().map(wide).collect::<Vec<_>>());
    let rows = report.samples.iter_mut().enumerate();
    parallel::map(rows, |(row, sample)| {
        let x: Vec<&[f64]> = x.iter().map(|x| x.row(row)).collect();
        let converged = sample.status == Status::Converged;
        if converged && !requirement.is_met(z.row(row), &x, tolerance) {
            sample.status = Status::Diverged;
        }
    });
}
