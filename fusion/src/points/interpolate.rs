//! Weighted sums of three rows.

use dfdx::prelude::*;
use equilibria_core::{
    from_host, recorded, to_host, try_contiguous, AnyTape, Backend, Error, Matrix, Result, Scalar,
};

use super::{gather_rows, Nearest};

/// `Σ_j w_ij x_{n_ij}` over the three nearest n_i1, n_i2, n_i3 of each point i: `[points, width]`. Weights have no gradient.
///
/// # Errors
/// [`Error::Shape`] for a number that is no row of x, [`Error::Device`] if memory runs out.
pub(super) fn interpolate<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    nearest: Nearest<E>,
) -> Result<Matrix<E, D, T>> {
    let Nearest { numbers, weights } = nearest;
    let (points, width) = (numbers.len() / 3, x.shape().1);
    if !D::ON_HOST {
        let device = x.device().clone();
        let rows = gather_rows(x, numbers)?;
        let factors = device.try_tensor_from_vec(weights, (3 * points,));
        let factors = factors.map_err(Error::device)?.retaped::<T>();
        let factors = factors.try_broadcast_like::<_, Axis<1>>(&(3 * points, width));
        let products = factors.and_then(|factors| rows.try_mul(factors));
        let grouped = products.and_then(|rows| rows.try_reshape_like(&(points, 3, width)));
        let sums = grouped.and_then(|grouped| grouped.try_sum::<(usize, usize), Axis<1>>());
        return sums.map_err(Error::device);
    }
    let (x, tape) = try_contiguous(x)?.split_tape();
    let values = to_host(&x);
    let mut sums = vec![E::zero(); points * width];
    for ((sum, numbers), weights) in (sums.chunks_exact_mut(width.max(1)))
        .zip(numbers.chunks_exact(3))
        .zip(weights.chunks_exact(3))
    {
        for (&number, &weight) in numbers.iter().zip(weights) {
            let row = &values[number * width..][..width];
            sum.iter_mut()
                .zip(row)
                .for_each(|(sum, &x)| *sum += weight * x);
        }
    }
    let y = from_host(x.device(), sums, (points, width))?;
    Ok(recorded(y, tape, move |gradients, y_bar| {
        D::add_to_gradient(gradients, &x, |x_bar| {
            for (point, y_bar) in y_bar.chunks_exact(width.max(1)).enumerate() {
                for place in 3 * point..3 * point + 3 {
                    let (number, weight) = (numbers[place], weights[place]);
                    let row = &mut x_bar[number * width..][..width];
                    row.iter_mut()
                        .zip(y_bar)
                        .for_each(|(x, &y)| *x += weight * y);
                }
            }
        })
    }))
}
