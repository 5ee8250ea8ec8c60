//! Blocks of adjacent columns.

use std::ops::Range;

use dfdx::prelude::Cuda;

use super::{At, DeviceOperation, On, Real, Target};
use crate::cuda::kernels::Block;
use crate::{Backend, Result};

/// Some columns of a matrix: its address, its width, and the first of them.
type Part = (u64, usize, usize);

/// Copies so many columns, or adds them to what is there; 0 where the address is 0.
fn copy<E: Real>(
    (from, from_width, from_first): Part,
    (to, to_width, to_first): Part,
    (width, add): (usize, u32),
    on: &On<'_, E>,
) -> Result<()>
where
    Cuda: Backend<E>,
{
    on.launch(Block {
        from,
        to,
        rows: on.rows as u32,
        width: width as u32,
        from_width: from_width as u32,
        from_first: from_first as u32,
        to_width: to_width as u32,
        to_first: to_first as u32,
        add,
    })
}

/// Some columns of x, of the given width.
pub(super) struct Columns {
    pub range: Range<usize>,
    pub width: usize,
}

impl<E: Real> DeviceOperation<E> for Columns
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        let own = self.range.len();
        let part = (x[0], self.width, self.range.start);
        copy(part, (y, own, 0), (own, 0), on)
    }

    fn vjp(
        &self,
        _: &At<'_>,
        _: usize,
        y_bar: u64,
        (out, add): Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        let own = self.range.len();
        if add == 0 {
            copy((0, 0, 0), (out, self.width, 0), (self.width, 0), on)?;
        }
        let part = (out, self.width, self.range.start);
        copy((y_bar, own, 0), part, (own, add), on)
    }
}

/// `[x₁ | x₂ | …]`, of these widths.
pub(super) struct Concatenate(pub Vec<usize>);

impl<E: Real> DeviceOperation<E> for Concatenate
where
    Cuda: Backend<E>,
{
    /// 0 where an address is 0, as those of tangents may be.
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        let (whole, mut first) = (self.0.iter().sum(), 0);
        for (&x, &own) in x.iter().zip(&self.0) {
            copy((x, own, 0), (y, whole, first), (own, 0), on)?;
            first += own;
        }
        Ok(())
    }

    fn vjp(
        &self,
        _: &At<'_>,
        argument: usize,
        y_bar: u64,
        (out, add): Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        let own = self.0[argument];
        let part = (y_bar, self.0.iter().sum(), self.0[..argument].iter().sum());
        copy(part, (out, own, 0), (own, add), on)
    }
}
