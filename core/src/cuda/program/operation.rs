//! What a program does beside normalizations and functions of single numbers: one file for operations that are alike.

mod arithmetic;
mod blocks;
mod columns;
mod divide;
mod groups;
mod product;
mod rows;

use std::sync::Arc;

use dfdx::prelude::Cuda;

use super::super::kernels::Kernel;
use super::super::store::CudaStore;
use super::back::Way;
use super::{Made, Parameter, Program, PulledBack, Real};
use crate::device_code::DeviceCode;
use crate::operation::Neighbor;
use crate::{Backend, Result};

/// An operation y = g(x₁, x₂, …; θ) that takes nothing along. Matrices are told by their addresses; that of a tangent is 0 where it is 0.
pub(super) trait DeviceOperation<E: Real>
where
    Cuda: Backend<E>,
{
    /// y = g(x).
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()>;

    /// ẏ = Σ_i (∂g/∂x_i) ẋ_i, of which one at least is not 0. Default: g is linear in its one argument.
    fn jvp(&self, _at: &At<'_>, x_dot: &[u64], y_dot: u64, on: &On<'_, E>) -> Result<()> {
        self.apply(x_dot, y_dot, on)
    }

    /// What it is, if what is beside it may take it along. Default: nothing of the kind.
    fn neighbor(&self) -> Option<Neighbor> {
        None
    }

    /// Whether x̄_i of the argument i is ȳ itself, so that nothing need be computed. Default: it is not.
    fn passes(&self, _argument: usize) -> bool {
        false
    }

    /// x̄_i = (∂g/∂x_i)ᵀ ȳ of the argument i; asked for where it is not ȳ itself. Default: that it is, or there are no arguments.
    fn vjp(
        &self,
        _at: &At<'_>,
        _argument: usize,
        _y_bar: u64,
        _to: Target,
        _on: &On<'_, E>,
    ) -> Result<()> {
        Ok(())
    }

    /// Adds (∂g/∂θ)ᵀ ȳ to the gradients of parameters. Default: there are none.
    fn pull_back(
        &self,
        _at: &At<'_>,
        _y_bar: u64,
        _gradients: &mut PulledBack<E>,
        _on: &On<'_, E>,
    ) -> Result<()> {
        Ok(())
    }

    /// Whether ⟨p, ẏ⟩ depends on the argument i. Default: g is linear.
    fn bends(&self, _argument: usize, _x_dot: &[u64]) -> bool {
        false
    }

    /// The derivative of ⟨p, ẏ⟩ by the argument i, with p and ẋ held constant; asked for where there is one.
    fn bend(
        &self,
        _at: &At<'_>,
        _argument: usize,
        _along: &Along<'_>,
        _to: Target,
        _on: &On<'_, E>,
    ) -> Result<()> {
        Ok(())
    }

    /// Adds the derivatives of ⟨p, ẏ⟩ by parameters to their gradients. Default: there are none.
    fn bend_parameters(
        &self,
        _along: &Along<'_>,
        _gradients: &mut PulledBack<E>,
        _on: &On<'_, E>,
    ) -> Result<()> {
        Ok(())
    }
}

/// The point at which an operation is differentiated.
pub(super) struct At<'a> {
    pub x: &'a [u64],
    pub y: u64,
}

/// What ⟨p, ẏ⟩ is made of.
pub(super) struct Along<'a> {
    pub p: u64,
    pub x_dot: &'a [u64],
}

/// Where numbers go, and whether they are added to what is there: 1 or 0.
pub(super) type Target = (u64, u32);

/// What an operation works on.
pub(super) struct On<'s, E: Real>
where
    Cuda: Backend<E>,
{
    pub store: &'s CudaStore<E>,
    /// Those of the batch, or where it works on tokens the tokens of all of them.
    pub rows: usize,
}

impl<'s, E: Real> On<'s, E>
where
    Cuda: Backend<E>,
{
    pub fn new(store: &'s CudaStore<E>, rows: usize) -> Self {
        Self { store, rows }
    }

    fn launch(&self, kernel: impl Kernel) -> Result<()> {
        self.store.engine.launch::<E, _>(kernel)
    }
}

/// The operation of a code with parameters, on arguments of these widths.
///
/// # Panics
/// For what a program makes by itself: normalizations, functions of single numbers, and what is done per token.
pub(super) fn of<E: Real>(
    code: DeviceCode,
    parameters: &[Parameter<E>],
    widths: &[usize],
    store: &CudaStore<E>,
) -> Result<Arc<dyn DeviceOperation<E>>>
where
    Cuda: Backend<E>,
{
    let width = widths.first().copied().unwrap_or(0);
    let of_groups = |what, groups| groups::OfColumns::new(what, groups, width);
    let first = || parameters[0].clone();
    Ok(match code {
        DeviceCode::Product { transposed } => Arc::new(product::Product {
            weight: first(),
            transposed,
        }),
        DeviceCode::Shift => Arc::new(rows::Shift(first())),
        DeviceCode::Sum { factor } => Arc::new(arithmetic::Sum { factor, width }),
        DeviceCode::Scale { factor, offset } => Arc::new(arithmetic::Scale {
            factor,
            offset,
            width,
        }),
        DeviceCode::Multiply => Arc::new(arithmetic::Multiply { width }),
        DeviceCode::Divide => Arc::new(divide::Divide { width }),
        DeviceCode::Columns(range) => Arc::new(blocks::Columns { range, width }),
        DeviceCode::Concatenate => Arc::new(blocks::Concatenate(widths.to_vec())),
        DeviceCode::Stretch => Arc::new(rows::Stretch(first())),
        DeviceCode::Broadcast => Arc::new(rows::Broadcast(first())),
        DeviceCode::Constant(numbers) => Arc::new(rows::Constant::new(&numbers, store)?),
        DeviceCode::RowNorms => Arc::new(rows::Norms(first())),
        DeviceCode::Gather {
            columns,
            from,
            transposed,
        } => Arc::new(columns::Gathered::new(&columns, from, transposed, store)?),
        DeviceCode::Transpose {
            rows,
            columns,
            block,
        } => Arc::new(columns::Transposed([rows, columns, block])),
        DeviceCode::Repeat { times } => Arc::new(columns::Repeated { times, width }),
        DeviceCode::SumOfGroups { groups, mean } => {
            Arc::new(columns::Summed::new(groups, width, mean))
        }
        DeviceCode::Max { groups } => Arc::new(of_groups(groups::What::Max, groups)),
        DeviceCode::Softmax { groups } => Arc::new(of_groups(groups::What::Softmax, groups)),
        DeviceCode::LogSumExp { groups } => Arc::new(of_groups(groups::What::LogSumExp, groups)),
        DeviceCode::Matmul {
            rows,
            inner,
            columns,
            transposed,
        } => Arc::new(product::Matmul {
            sizes: [rows, inner, columns],
            transposed,
        }),
        DeviceCode::Normalize { .. } | DeviceCode::Pointwise(_) | DeviceCode::PerToken { .. } => {
            unreachable!("a program makes it by itself")
        }
    })
}

/// A node, how it is made, and by what.
type Node<'a, E> = (usize, &'a Made<E>, &'a dyn DeviceOperation<E>);

impl<E: Real> Program<E>
where
    Cuda: Backend<E>,
{
    /// Hands the cotangent of a node on to its arguments and parameters.
    pub(super) fn back_through(
        &mut self,
        (node, made, operation): Node<'_, E>,
        u: u64,
        way: &mut Way<'_, E>,
        store: &CudaStore<E>,
    ) -> Result<()> {
        let on = On::new(store, self.shape(node, made, store).0);
        let x = self.recorded_arguments(made, store)?;
        let y = self.recorded(node, store)?;
        let at = At { x: &x, y };
        if let Some(gradients) = &mut way.gradients {
            operation.pull_back(&at, u, gradients, &on)?;
        }
        for (index, &argument) in made.arguments.iter().enumerate() {
            if !self.wants(argument, way) {
                continue;
            }
            if operation.passes(index) {
                self.hand_on(argument, u, &mut way.bars, store)?;
            } else {
                let to = self.target(argument, &mut way.bars, store)?;
                operation.vjp(&at, index, u, to, &on)?;
            }
        }
        Ok(())
    }

    /// Adds the derivatives of ⟨p, ẏ⟩ by arguments and parameters.
    pub(super) fn bend_through(
        &mut self,
        (node, made, operation): Node<'_, E>,
        along: &Along<'_>,
        way: &mut Way<'_, E>,
        store: &CudaStore<E>,
    ) -> Result<()> {
        let on = On::new(store, self.shape(node, made, store).0);
        let x = self.recorded_arguments(made, store)?;
        let y = self.recorded(node, store)?;
        let at = At { x: &x, y };
        if let Some(gradients) = &mut way.gradients {
            operation.bend_parameters(along, gradients, &on)?;
        }
        for (index, &argument) in made.arguments.iter().enumerate() {
            if operation.bends(index, along.x_dot) && self.wants(argument, way) {
                let to = self.target(argument, &mut way.bars, store)?;
                operation.bend(&at, index, along, to, &on)?;
            }
        }
        Ok(())
    }
}
