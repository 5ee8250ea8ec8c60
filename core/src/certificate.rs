//! Certificates: how far from the solution a state can be.

use crate::wide::{wide, Wide};
use crate::{parallel, Backend, ImplicitLayer, Matrix, Report, Scalar};

/// Bounds the distance of a state from the solution of a layer's equation, for any state, whichever solver it comes from.
///
/// It owns copies of the parameters in f64. What it says is computed afresh in f64 and never from an estimate that can be too
/// small, such as a norm by power iteration; what rounding may have changed is added.
pub trait Certificate: Send + Sync {
    /// A number that the [norm](Self::norm) of z − z* does not exceed, infinite where nothing can be said.
    ///
    /// # Shapes
    /// One row: `z` has `state_dim` numbers, `x[i]` has `input_dims[i]`.
    fn bound(&self, z: &[f64], x: &[&[f64]]) -> f64;

    /// The norm of a difference of states that [`bound`](Self::bound) speaks of. Default: ‖·‖₂.
    fn norm(&self, difference: &[f64]) -> f64 {
        difference.iter().map(|e| e * e).sum::<f64>().sqrt()
    }

    /// A number that the norm of u − u* does not exceed, for an adjoint vector u and `u* = J(z*)ᵀ u* + v`. Default: nothing is known.
    ///
    /// `u` and `v` are as wide as z, which is near z*: where the Jacobian at z may be another than that at z*, the bound is infinite. The
    /// norm is ‖·‖₂, or what the layer says.
    fn adjoint_bound(&self, z: &[f64], x: &[&[f64]], u: &[f64], v: &[f64]) -> Option<f64> {
        let _ = (z, x, u, v);
        None
    }
}

/// Writes what the certificate of a layer says of z into the report, if the layer has one.
///
/// # Shapes
/// `z`: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
pub(crate) fn certify<E: Scalar, D: Backend<E>>(
    layer: &impl ImplicitLayer<E, D>,
    z: &Matrix<E, D>,
    x: &[Matrix<E, D>],
    report: &mut Report,
) {
    let Some(certificate) = layer.certificate() else {
        return;
    };
    let (z, x) = (wide(z), x.iter().map(wide).collect::<Vec<_>>());
    let rows = report.samples.iter_mut().enumerate();
    parallel::map(rows, |(row, sample)| {
        let x: Vec<&[f64]> = x.iter().map(|x| x.row(row)).collect();
        let bound = certificate.bound(z.row(row), &x);
        sample.bound = Some(if bound.is_nan() { f64::INFINITY } else { bound });
    });
}

/// Writes what the certificate of a layer says of the adjoint vectors u, `[batch, state_dim]` in f64, into the report, if it knows a bound;
/// they belong to the cotangents `v`.
pub(crate) fn certify_adjoint<E: Scalar, D: Backend<E>>(
    layer: &impl ImplicitLayer<E, D>,
    (z, x): (&Matrix<E, D>, &[Matrix<E, D>]),
    (u, v): (Vec<f64>, &Matrix<E, D>),
    report: &mut Report,
) {
    let Some(certificate) = layer.certificate() else {
        return;
    };
    let (z, v, x) = (wide(z), wide(v), x.iter().map(wide).collect::<Vec<_>>());
    let u = Wide::new(u, z.columns());
    let rows = report.samples.iter_mut().enumerate();
    parallel::map(rows, |(row, sample)| {
        let x: Vec<&[f64]> = x.iter().map(|x| x.row(row)).collect();
        let bound = certificate.adjoint_bound(z.row(row), &x, u.row(row), v.row(row));
        sample.bound = bound.map(|bound| if bound.is_nan() { f64::INFINITY } else { bound });
    });
}
