//! Matrices that parameters of a layer form once per solve, on the tape that leads back to them: what
//! [`ImplicitLayer::formed`](equilibria_core::ImplicitLayer::formed) is written with.

mod inverse;

use dfdx::prelude::*;
use equilibria_core::{from_host, to_host, try_contiguous, Backend, Error, Matrix, Result, Scalar};

pub use inverse::inverse_numbers;

/// A matrix on a tape.
pub type Traced<E, D> = Matrix<E, D, OwnedTape<E, D>>;

/// `AᵀA`. On the way back one product takes the cotangent G to A (G + Gᵀ).
///
/// # Errors
/// [`Error::Device`] if memory runs out.
pub fn gram<E: Scalar, D: Backend<E>>(a: Traced<E, D>) -> Result<Traced<E, D>> {
    let (a, mut tape) = try_contiguous(a)?.split_tape();
    let gram = multiply(turned(&a)?, a.clone())?;
    let result = gram.clone();
    tape.add_backward_op(move |gradients| {
        let g = cotangent(gradients, &result)?;
        // Only running out of memory can stop this, and the next allocation says so.
        let both = turned(&g).map(|turned| turned + g);
        let delta = both.and_then(|both| multiply(a.clone(), both));
        let _ = delta.and_then(|delta| D::accumulate(gradients, &a, &delta));
        Ok(())
    });
    Ok(gram.put_tape(tape))
}

/// `B − Bᵀ`.
///
/// # Errors
/// [`Error::Device`] if memory runs out.
pub fn skew<E: Scalar, D: Backend<E>>(b: Traced<E, D>) -> Result<Traced<E, D>> {
    let (b, mut tape) = try_contiguous(b)?.split_tape();
    let skew = b.clone() - turned(&b)?;
    let result = skew.clone();
    tape.add_backward_op(move |gradients| {
        let g = cotangent(gradients, &result)?;
        let delta = turned(&g).map(|turned| g - turned);
        let _ = delta.and_then(|delta| D::accumulate(gradients, &b, &delta));
        Ok(())
    });
    Ok(skew.put_tape(tape))
}

/// `M⁻¹` of a matrix whose symmetric part is positive definite, computed in f64. On the way back two products take the cotangent G to
/// −M⁻ᵀ G M⁻ᵀ.
///
/// # Errors
/// [`Error::Device`] if memory runs out.
pub fn inverse<E: Scalar, D: Backend<E>>(m: Traced<E, D>) -> Result<Traced<E, D>> {
    let (m, mut tape) = try_contiguous(m)?.split_tape();
    let numbers: Vec<f64> = (to_host(&m).into_iter()).map(E::wide).collect();
    let numbers = inverse_numbers(&numbers, m.shape().0);
    let numbers = numbers.into_iter().map(E::of).collect();
    let inverse = from_host(m.device(), numbers, *m.shape())?;
    let result = inverse.clone();
    tape.add_backward_op(move |gradients| {
        let g = cotangent(gradients, &result)?;
        let delta = turned(&result).and_then(|v| multiply(multiply(v.clone(), g)?, v * -E::one()));
        let _ = delta.and_then(|delta| D::accumulate(gradients, &m, &delta));
        Ok(())
    });
    Ok(inverse.put_tape(tape))
}

/// `c M + d I` of a square matrix.
///
/// # Errors
/// [`Error::Device`] if memory runs out.
pub fn shifted<E: Scalar, D: Backend<E>>(
    m: Traced<E, D>,
    factor: f64,
    diagonal: f64,
) -> Result<Traced<E, D>> {
    let (rows, columns) = *m.shape();
    let mut numbers = vec![E::zero(); rows * columns];
    let places = numbers.iter_mut().step_by(columns + 1);
    places.for_each(|place| *place = E::of(diagonal));
    let diagonal = from_host(m.device(), numbers, (rows, columns))?;
    Ok(m * E::of(factor) + diagonal)
}

/// The cotangent of what was formed.
fn cotangent<E: Scalar, D: Backend<E>>(
    gradients: &mut Gradients<E, D>,
    of: &Matrix<E, D>,
) -> std::result::Result<Matrix<E, D>, D::Err> {
    gradients.try_alloc_for(of)?;
    Ok(gradients.get(of))
}

fn turned<E: Scalar, D: Backend<E>>(m: &Matrix<E, D>) -> Result<Matrix<E, D>> {
    let turned = m.clone().try_permute::<_, Axes2<1, 0>>();
    let turned = turned.and_then(|turned| turned.try_contiguous());
    turned.map_err(Error::device)
}

fn multiply<E: Scalar, D: Backend<E>>(a: Matrix<E, D>, b: Matrix<E, D>) -> Result<Matrix<E, D>> {
    a.try_matmul(b).map_err(Error::device)
}
