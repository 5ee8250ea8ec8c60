//! Products of two matrices that each row holds, by one call of cuBLAS for all rows.

use dfdx::prelude::Cuda;

use super::{Along, At, DeviceOperation, On, Real, Target};
use crate::cuda::engine::Product;
use crate::{Backend, Result};

/// `Y = A B` with matrices of `[rows, inner, columns]`, or `Y = A Bᵀ`.
pub(super) struct Matmul {
    pub sizes: [usize; 3],
    pub transposed: bool,
}

impl Matmul {
    fn product<E: Real>(&self, a: u64, b: u64, (c, add): Target, on: &On<'_, E>) -> Result<()>
    where
        Cuda: Backend<E>,
    {
        let [rows, inner, columns] = self.sizes;
        let product = Product {
            shape: [rows, columns, inner],
            a: (a, false),
            b: (b, self.transposed),
            c,
            add: add == 1,
        };
        on.store.engine.products::<E>(&product, on.rows)
    }

    /// The cotangent of one factor from that of Y and the other factor: Ā = Ȳ Bᵀ and B̄ = Aᵀ Ȳ, or Ȳ B and Ȳᵀ A.
    fn cotangent<E: Real>(
        &self,
        argument: usize,
        (y_bar, other): (u64, u64),
        (c, add): Target,
        on: &On<'_, E>,
    ) -> Result<()>
    where
        Cuda: Backend<E>,
    {
        let [rows, inner, columns] = self.sizes;
        let (shape, a, b) = match (argument, self.transposed) {
            (0, transposed) => ([rows, inner, columns], (y_bar, false), (other, !transposed)),
            (_, false) => ([inner, columns, rows], (other, true), (y_bar, false)),
            (_, true) => ([columns, inner, rows], (y_bar, true), (other, false)),
        };
        let product = Product {
            shape,
            a,
            b,
            c,
            add: add == 1,
        };
        on.store.engine.products::<E>(&product, on.rows)
    }
}

impl<E: Real> DeviceOperation<E> for Matmul
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        self.product(x[0], x[1], (y, 0), on)
    }

    fn jvp(&self, at: &At<'_>, x_dot: &[u64], y_dot: u64, on: &On<'_, E>) -> Result<()> {
        if x_dot[0] != 0 {
            self.product(x_dot[0], at.x[1], (y_dot, 0), on)?;
        }
        match x_dot[1] {
            0 => Ok(()),
            b_dot => self.product(at.x[0], b_dot, (y_dot, u32::from(x_dot[0] != 0)), on),
        }
    }

    fn vjp(
        &self,
        at: &At<'_>,
        argument: usize,
        y_bar: u64,
        to: Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        self.cotangent(argument, (y_bar, at.x[1 - argument]), to, on)
    }

    fn bends(&self, argument: usize, x_dot: &[u64]) -> bool {
        x_dot[1 - argument] != 0
    }

    /// The product is bilinear: each factor meets the tangent of the other.
    fn bend(
        &self,
        _: &At<'_>,
        argument: usize,
        along: &Along<'_>,
        to: Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        self.cotangent(argument, (along.p, along.x_dot[1 - argument]), to, on)
    }
}
