//! Matrices on the host in f64, for what looks at states row by row.

use dfdx::prelude::HasShape;

use crate::{to_host, Backend, Matrix, Scalar};

/// A matrix on the host, in f64.
pub(crate) struct Wide {
    values: Vec<f64>,
    columns: usize,
}

impl Wide {
    /// Row-major numbers in rows of `columns`.
    pub fn new(values: Vec<f64>, columns: usize) -> Self {
        Self { values, columns }
    }

    /// Numbers in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..][..self.columns]
    }
}

/// The numbers of a matrix in f64.
pub(crate) fn wide<E: Scalar, D: Backend<E>>(matrix: &Matrix<E, D>) -> Wide {
    let values = to_host(matrix).into_iter().map(E::wide).collect();
    Wide::new(values, matrix.shape().1)
}
