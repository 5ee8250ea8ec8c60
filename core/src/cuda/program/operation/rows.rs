//! Parameters and constants in every row.

use dfdx::prelude::Cuda;

use super::{Along, At, DeviceOperation, On, Parameter, PulledBack, Real, Target};
use crate::cuda::kernels::{self, ColumnSums, Linear, RowNorms, RowNormsBack};
use crate::cuda::store::{CudaStore, Rows};
use crate::operation::Neighbor;
use crate::{Backend, Result};

/// Adds the sum of the rows of `a`, or of a ⊙ b where there is a b, to the gradient of a parameter.
fn add_rows<E: Real>(
    parameter: &Parameter<E>,
    (a, b): (u64, u64),
    gradients: &mut PulledBack<E>,
    on: &On<'_, E>,
) -> Result<()>
where
    Cuda: Backend<E>,
{
    let Some(place) = parameter.place else {
        return Ok(());
    };
    let gradient = gradients.parameter(place, on.store)?;
    let (products, sums) = if b == 0 { (0, gradient) } else { (gradient, 0) };
    on.launch(ColumnSums {
        a,
        b,
        c: 0,
        after: 0,
        products,
        sums,
        others: 0,
        rows: on.rows as u32,
        width: (parameter.shape.0 * parameter.shape.1) as u32,
    })
}

/// `x ⊙ w`, or w where x is 0, in every row.
fn stretch<E: Real>(
    x: u64,
    (row, width): (u64, usize),
    (y, add): Target,
    on: &On<'_, E>,
) -> Result<()>
where
    Cuda: Backend<E>,
{
    on.launch(kernels::Stretch {
        x,
        row,
        y,
        rows: on.rows as u32,
        width: width as u32,
        add,
    })
}

/// `y = x + b`.
pub(super) struct Shift<E: Real>(pub Parameter<E>)
where
    Cuda: Backend<E>;

impl<E: Real> DeviceOperation<E> for Shift<E>
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        on.launch(Linear {
            a: x[0],
            b: self.0.address,
            out: y,
            c: 1.0,
            d: 1.0,
            e: 0.0,
            rows: on.rows as u32,
            width: self.0.shape.1 as u32,
            row: 1,
            add: 0,
        })
    }

    fn jvp(&self, _: &At<'_>, x_dot: &[u64], y_dot: u64, on: &On<'_, E>) -> Result<()> {
        let count = on.rows * self.0.shape.1;
        on.store.engine.copy::<E>(x_dot[0], y_dot, count)
    }

    fn neighbor(&self) -> Option<Neighbor> {
        Some(Neighbor::Shift)
    }

    fn passes(&self, _: usize) -> bool {
        true
    }

    fn pull_back(
        &self,
        _: &At<'_>,
        y_bar: u64,
        gradients: &mut PulledBack<E>,
        on: &On<'_, E>,
    ) -> Result<()> {
        add_rows(&self.0, (y_bar, 0), gradients, on)
    }
}

/// `y = x ⊙ w`.
pub(super) struct Stretch<E: Real>(pub Parameter<E>)
where
    Cuda: Backend<E>;

impl<E: Real> DeviceOperation<E> for Stretch<E>
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        stretch(x[0], (self.0.address, self.0.shape.1), (y, 0), on)
    }

    fn vjp(&self, _: &At<'_>, _: usize, y_bar: u64, to: Target, on: &On<'_, E>) -> Result<()> {
        stretch(y_bar, (self.0.address, self.0.shape.1), to, on)
    }

    fn pull_back(
        &self,
        at: &At<'_>,
        y_bar: u64,
        gradients: &mut PulledBack<E>,
        on: &On<'_, E>,
    ) -> Result<()> {
        add_rows(&self.0, (y_bar, at.x[0]), gradients, on)
    }

    fn bend_parameters(
        &self,
        along: &Along<'_>,
        gradients: &mut PulledBack<E>,
        on: &On<'_, E>,
    ) -> Result<()> {
        add_rows(&self.0, (along.p, along.x_dot[0]), gradients, on)
    }
}

/// A parameter in every row. There is no argument that would want a cotangent.
pub(super) struct Broadcast<E: Real>(pub Parameter<E>)
where
    Cuda: Backend<E>;

impl<E: Real> DeviceOperation<E> for Broadcast<E>
where
    Cuda: Backend<E>,
{
    fn apply(&self, _: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        let (rows, columns) = self.0.shape;
        stretch(0, (self.0.address, rows * columns), (y, 0), on)
    }

    fn pull_back(
        &self,
        _: &At<'_>,
        y_bar: u64,
        gradients: &mut PulledBack<E>,
        on: &On<'_, E>,
    ) -> Result<()> {
        add_rows(&self.0, (y_bar, 0), gradients, on)
    }
}

/// The same numbers in every row.
pub(super) struct Constant<E: Real>(Rows<E>)
where
    Cuda: Backend<E>;

impl<E: Real> Constant<E>
where
    Cuda: Backend<E>,
{
    pub fn new(numbers: &[f64], store: &CudaStore<E>) -> Result<Self> {
        let row = Rows::zeros(&store.device, (1, numbers.len()))?;
        let numbers: Vec<E> = numbers.iter().map(|&number| E::of(number)).collect();
        store.engine.send(&numbers, row.address)?;
        Ok(Self(row))
    }
}

impl<E: Real> DeviceOperation<E> for Constant<E>
where
    Cuda: Backend<E>,
{
    fn apply(&self, _: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        stretch(0, (self.0.address, self.0.width()), (y, 0), on)
    }
}

/// `y_i = Σ_j |W_ij|` in every row.
pub(super) struct Norms<E: Real>(pub Parameter<E>)
where
    Cuda: Backend<E>;

impl<E: Real> DeviceOperation<E> for Norms<E>
where
    Cuda: Backend<E>,
{
    fn apply(&self, _: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        let (groups, size) = self.0.shape;
        on.launch(RowNorms {
            weight: self.0.address,
            y_bar: 0,
            out: y,
            rows: on.rows as u32,
            groups: groups as u32,
            size: size as u32,
        })
    }

    fn pull_back(
        &self,
        _: &At<'_>,
        y_bar: u64,
        gradients: &mut PulledBack<E>,
        on: &On<'_, E>,
    ) -> Result<()> {
        let Some(place) = self.0.place else {
            return Ok(());
        };
        let (groups, size) = self.0.shape;
        on.launch(RowNormsBack {
            weight: self.0.address,
            y_bar,
            out: gradients.parameter(place, on.store)?,
            rows: on.rows as u32,
            groups: groups as u32,
            size: size as u32,
        })
    }
}
