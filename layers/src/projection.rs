//! Projections of parameters after a step of an optimizer.

use dfdx::prelude::HasShape;
pub use equilibria_core::ConvexSet;
use equilibria_core::{to_host, Backend, Matrix, Result, Scalar};

/// Moves a parameter to the nearest point of a set, where its numbers are; nothing is written on the CPU where nothing changes.
///
/// # Errors
/// [`Error::Device`](equilibria_core::Error::Device) if memory runs out.
pub fn project<E: Scalar, D: Backend<E>>(
    parameter: &mut Matrix<E, D>,
    set: ConvexSet,
) -> Result<()> {
    if let Some(device) = D::on_device() {
        return device.project(parameter, set);
    }
    match set {
        ConvexSet::AtLeast(smallest) => change_rows(parameter, |row| at_least(row, smallest)),
        ConvexSet::RowsInL1Ball(radius) => change_rows(parameter, |row| onto_l1_ball(row, radius)),
        ConvexSet::ColumnsInL2Ball(radius) => {
            let mut scales = vec![0.0; parameter.shape().1];
            change_rows(parameter, |row| {
                let sums = scales.iter_mut().zip(row);
                sums.for_each(|(sum, a)| *sum += *a * *a);
                false
            })?;
            for scale in &mut scales {
                let length = scale.sqrt();
                let is_long = length > radius * (1.0 + ConvexSet::SLACK);
                *scale = if is_long { length / radius } else { 1.0 };
            }
            let any = scales.iter().any(|scale| *scale > 1.0);
            change_rows(parameter, |row| {
                let numbers = row.iter_mut().zip(&scales);
                numbers.for_each(|(a, scale)| *a /= scale);
                any
            })
        }
    }
}

/// Replaces the numbers of a parameter, row by row, on the host, by what `change` makes of them; nothing is written where nothing changes.
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
fn onto_l1_ball(row: &mut [f64], radius: f64) -> bool {
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

/// Replaces numbers below the `smallest` by it; returns whether there were any.
fn at_least(row: &mut [f64], smallest: f64) -> bool {
    let mut moved = false;
    for a in row.iter_mut().filter(|a| **a < smallest) {
        (*a, moved) = (smallest, true);
    }
    moved
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Cpu, RealizeTo, TensorFrom};

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
    fn columns_longer_than_the_radius_are_scaled_and_others_stay() {
        let mut matrix = Cpu::default().tensor([[3.0, 0.5], [-4.0, 1.0]]).realize();
        let before = matrix.clone();
        project(&mut matrix, ConvexSet::ColumnsInL2Ball(2.0)).expect("memory");
        approx::assert_relative_eq!(to_host(&matrix)[..], [1.2, 0.5, -1.6, 1.0], epsilon = 1e-15);
        approx::assert_relative_eq!(to_host(&before)[..], [3.0, 0.5, -4.0, 1.0]);
    }

    #[test]
    fn nothing_below_zero_is_left() {
        let mut row = [1.0, -1.0, 0.0];
        assert!(at_least(&mut row, 0.0));
        assert!(!at_least(&mut row, 0.0));
        approx::assert_relative_eq!(row[..], [1.0, 0.0, 0.0]);
    }
}
