//! Products with a parameter, and of two matrices that each row holds: one call of cuBLAS for all rows.

use dfdx::prelude::Cuda;

use super::{Along, At, DeviceOperation, On, Parameter, PulledBack, Real, Target};
use crate::cuda::engine;
use crate::{Backend, Result};

/// `y = x Wᵀ`, or `y = x W`.
pub(super) struct Product<E: Real>
where
    Cuda: Backend<E>,
{
    pub weight: Parameter<E>,
    pub transposed: bool,
}

impl<E: Real> Product<E>
where
    Cuda: Backend<E>,
{
    /// The product, or that with the transpose.
    fn multiply(&self, back: bool, x: u64, (c, add): Target, on: &On<'_, E>) -> Result<()> {
        let (outputs, inputs) = self.weight.shape;
        let transposed = self.transposed != back;
        let (columns, inner) = match transposed {
            false => (outputs, inputs),
            true => (inputs, outputs),
        };
        on.store.engine.product::<E>(&engine::Product {
            shape: [on.rows, columns, inner],
            a: (x, false),
            b: (self.weight.address, !transposed),
            c,
            add: add == 1,
        })
    }

    /// Adds the gradient due to a cotangent of y: one product more, whatever is there already.
    fn add_gradient(
        &self,
        (u, x): (u64, u64),
        gradients: &mut PulledBack<E>,
        on: &On<'_, E>,
    ) -> Result<()> {
        let Some(index) = self.weight.place else {
            return Ok(());
        };
        let (left, right) = if self.transposed { (x, u) } else { (u, x) };
        let (rows, columns) = self.weight.shape;
        on.store.engine.product::<E>(&engine::Product {
            shape: [rows, columns, on.rows],
            a: (left, true),
            b: (right, false),
            c: gradients.parameter(index, on.store)?,
            add: true,
        })
    }
}

impl<E: Real> DeviceOperation<E> for Product<E>
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        self.multiply(false, x[0], (y, 0), on)
    }

    fn vjp(&self, _: &At<'_>, _: usize, y_bar: u64, to: Target, on: &On<'_, E>) -> Result<()> {
        self.multiply(true, y_bar, to, on)
    }

    fn pull_back(
        &self,
        at: &At<'_>,
        y_bar: u64,
        gradients: &mut PulledBack<E>,
        on: &On<'_, E>,
    ) -> Result<()> {
        self.add_gradient((y_bar, at.x[0]), gradients, on)
    }

    fn bend_parameters(
        &self,
        along: &Along<'_>,
        gradients: &mut PulledBack<E>,
        on: &On<'_, E>,
    ) -> Result<()> {
        self.add_gradient((along.p, along.x_dot[0]), gradients, on)
    }
}

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
        let product = engine::Product {
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
        let product = engine::Product {
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
