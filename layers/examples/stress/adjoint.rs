//! The adjoint equation with a dense Jacobian, from tensors alone.

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{apply, from_host, to_host, StepOnly};

use crate::equation::Random;

/// The derivatives of f of one sample, `[width, width]`: row k is the derivative of entry k.
pub struct Derivatives {
    by_z: Vec<f64>,
    by_x: Vec<f64>,
}

/// Those of every sample at z.
pub fn derivatives<E: Scalar>(
    layer: &Random<E, Cpu>,
    z: &[f64],
    x: &Matrix<E, Cpu>,
) -> Result<Vec<Derivatives>>
where
    Cpu: Backend<E>,
{
    let (batch, width) = *x.shape();
    let narrow = |values: &[f64]| -> Result<Matrix<E, Cpu>> {
        let values = values.iter().map(|&value| E::of(value)).collect();
        Ok(from_host(x.device(), values, (batch, width))?)
    };
    let mut all: Vec<Derivatives> = (0..batch)
        .map(|_| Derivatives {
            by_z: Vec::with_capacity(width * width),
            by_x: Vec::with_capacity(width * width),
        })
        .collect();
    for entry in 0..width {
        let z = narrow(z)?;
        let unit: Vec<f64> = (0..batch * width)
            .map(|index| f64::from(u8::from(index % width == entry)))
            .collect();
        let traced = z.clone().put_tape(OwnedTape::default());
        let y = apply(&StepOnly(layer.clone()), traced, std::slice::from_ref(x))?;
        let (y, tape) = y.split_tape();
        let sum = (y.put_tape(tape) * narrow(&unit)?).sum::<Rank0, Axes2<0, 1>>();
        let mut gradients = sum.try_backward().map_err(Error::device)?;
        let mut of = |tensor: &Matrix<E, Cpu>| -> Result<Vec<f64>> {
            gradients.try_alloc_for(tensor).map_err(Error::device)?;
            let values = to_host(&gradients.get(tensor)).into_iter();
            Ok(values.map(|value| value.wide()).collect())
        };
        let (by_z, by_x) = (of(&z)?, of(x)?);
        let rows = by_z.chunks_exact(width).zip(by_x.chunks_exact(width));
        for (sample, (by_z, by_x)) in all.iter_mut().zip(rows) {
            sample.by_z.extend_from_slice(by_z);
            sample.by_x.extend_from_slice(by_x);
        }
    }
    Ok(all)
}

impl Derivatives {
    /// The gradient by x of a loss with slope v at z*, `Bᵀ (I − Jᵀ)⁻¹ v`, and how far off it may be where the adjoint equation is solved
    /// to a relative residual; `None` where it is singular.
    pub fn gradient(&self, v: &[f64], residual: f64) -> Option<(Vec<f64>, f64)> {
        let width = v.len();
        let matrix: Vec<f64> = (0..width * width)
            .map(|index| {
                let (row, column) = (index / width, index % width);
                f64::from(u8::from(row == column)) - self.by_z[column * width + row]
            })
            .collect();
        let inverse = inverse(matrix, width)?;
        let u: Vec<f64> = inverse.chunks_exact(width).map(|row| dot(row, v)).collect();
        let column = |column: usize| (0..width).map(move |row| self.by_x[row * width + column]);
        let gradient = (0..width)
            .map(|entry| column(entry).zip(&u).map(|(b, u)| b * u).sum())
            .collect();
        let norm = |values: &[f64]| dot(values, values).sqrt();
        let reach = norm(&self.by_x) * norm(&inverse);
        // The residual is relative to Jᵀu + v, which is u up to the residual.
        Some((gradient, reach * residual * (norm(&u) + norm(v))))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// By elimination with pivots.
fn inverse(mut matrix: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    let mut inverse = vec![0.0; n * n];
    (0..n).for_each(|index| inverse[index * n + index] = 1.0);
    for column in 0..n {
        let size = |row: &usize| matrix[row * n + column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b)))?;
        for entry in 0..n {
            matrix.swap(column * n + entry, pivot * n + entry);
            inverse.swap(column * n + entry, pivot * n + entry);
        }
        let scale = matrix[column * n + column];
        if scale.abs() < f64::MIN_POSITIVE || !scale.is_finite() {
            return None;
        }
        for all in [&mut matrix, &mut inverse] {
            let row = &mut all[column * n..][..n];
            row.iter_mut().for_each(|entry| *entry /= scale);
        }
        for row in (0..n).filter(|&row| row != column) {
            let factor = matrix[row * n + column];
            for all in [&mut matrix, &mut inverse] {
                for entry in 0..n {
                    all[row * n + entry] -= factor * all[column * n + entry];
                }
            }
        }
    }
    Some(inverse)
}
