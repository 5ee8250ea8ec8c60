//! Projections of parameters, on the host, after a step of an optimizer.

use dfdx::prelude::HasShape;
use equilibria_core::{to_host, Backend, Matrix, Result, Scalar};

/// Replaces the numbers of a parameter, row by row, by what `change` makes of them; nothing is written where nothing changes.
///
/// # Errors
/// [`Error::Device`](equilibria_core::Error::Device) if memory runs out.
pub fn change_rows<E: Scalar, D: Backend<E>>(
    parameter: &mut Matrix<E, D>,
    mut change: impl FnMut(&mut [f64]) -> bool,
) -> Result<()> {
    let columns = parameter.shape().1.max(1);
    let mut values: Vec<f64> = to_host(parameter).into_iter().map(E::wide).collect();
    let changed = values.chunks_exact_mut(columns).map(&mut change);
    match changed.fold(false, |any, row| any | row) {
        true => {
            let values: Vec<E> = values.into_iter().map(E::of).collect();
            D::overwrite(parameter, &values)
        }
        false => Ok(()),
    }
}

/// Moves a row to the nearest point of the ball `Σ |a_i| ≤ radius`; returns whether it has moved.
///
/// Reference: J. Duchi et al., Efficient Projections onto the ℓ1-Ball for Learning in High Dimensions, ICML 2008, figure 1.
pub fn onto_l1_ball(row: &mut [f64], radius: f64) -> bool {
    let sum: f64 = row.iter().map(|a| a.abs()).sum();
    if sum.is_nan() || sum <= radius {
        return false;
    }
    let mut sizes: Vec<f64> = row.iter().map(|a| a.abs()).collect();
    sizes.sort_unstable_by(|a, b| b.total_cmp(a));
    let (mut total, mut threshold) = (0.0, 0.0);
    for (count, size) in (1..).zip(sizes) {
        total += size;
        let candidate = (total - radius) / f64::from(count);
        if size <= candidate {
            break;
        }
        threshold = candidate;
    }
    for a in row {
        *a = (a.abs() - threshold).max(0.0).copysign(*a);
    }
    true
}

/// Replaces numbers below 0 by 0; returns whether there were any.
pub fn onto_orthant(row: &mut [f64]) -> bool {
    let mut moved = false;
    for a in row.iter_mut().filter(|a| **a < 0.0) {
        (*a, moved) = (0.0, true);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest point: a − p is in the normal cone, that is constant where p is not 0, and no larger elsewhere.
    #[test]
    fn a_row_goes_to_the_nearest_point_of_the_ball() {
        let raw = [0.75, -0.5, 0.125, 0.0, -2.0];
        let mut row = raw;
        assert!(onto_l1_ball(&mut row, 1.5));
        let size: f64 = row.iter().map(|a| a.abs()).sum();
        approx::assert_relative_eq!(size, 1.5, epsilon = 1e-15);
        let steps: Vec<f64> = (raw.iter().zip(&row)).map(|(a, p)| (a - p).abs()).collect();
        let on = (row.iter().zip(&steps)).filter(|(p, _)| p.abs() > 0.0);
        let largest = steps.iter().copied().fold(0.0, f64::max);
        for (_, step) in on {
            approx::assert_relative_eq!(*step, largest, epsilon = 1e-15);
        }
        assert!(!onto_l1_ball(&mut row, 1.5 + 1e-12));
    }

    #[test]
    fn nothing_below_zero_is_left() {
        let mut row = [1.0, -1.0, 0.0];
        assert!(onto_orthant(&mut row));
        assert!(!onto_orthant(&mut row));
        approx::assert_relative_eq!(row[..], [1.0, 0.0, 0.0]);
    }
}
