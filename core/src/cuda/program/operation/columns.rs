//! Columns that move, are repeated or added up: linear, without parameters.

use std::sync::Arc;

use dfdx::prelude::Cuda;

use super::{At, DeviceOperation, On, Real, Target};
use crate::cuda::engine::List;
use crate::cuda::kernels::{Copies, Gather, GroupsArgument, OfGroups, Scatter, SumCopies, Turn};
use crate::cuda::store::CudaStore;
use crate::{Backend, Result};

/// Columns chosen by number, or the transpose of that.
pub(super) struct Gathered {
    /// The column for each of those that are chosen; for each column where those begin that it is chosen for; these.
    numbers: Arc<List>,
    from: usize,
    to: usize,
    transposed: bool,
}

impl Gathered {
    /// The choice of `columns` among so many.
    pub fn new<E: Real>(
        columns: &Arc<[u32]>,
        from: usize,
        transposed: bool,
        store: &CudaStore<E>,
    ) -> Result<Self>
    where
        Cuda: Backend<E>,
    {
        let make = || lists(columns, from);
        Ok(Self {
            numbers: store.engine.list((columns, from), make)?,
            from,
            to: columns.len(),
            transposed,
        })
    }

    fn gather<E: Real>(
        &self,
        transposed: bool,
        x: u64,
        (y, add): Target,
        on: &On<'_, E>,
    ) -> Result<()>
    where
        Cuda: Backend<E>,
    {
        let [columns, begins, places] = [0, self.to, self.to + self.from + 1];
        let word = |place: usize| self.numbers.address(place);
        let (rows, from, to) = (on.rows as u32, self.from as u32, self.to as u32);
        match transposed {
            false => on.launch(Gather {
                x,
                y,
                columns: word(columns),
                rows,
                width: to,
                from,
                add,
            }),
            true => on.launch(Scatter {
                x,
                y,
                begins: word(begins),
                columns: word(places),
                rows,
                width: from,
                from: to,
                add,
            }),
        }
    }
}

impl<E: Real> DeviceOperation<E> for Gathered
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        self.gather(self.transposed, x[0], (y, 0), on)
    }

    fn vjp(&self, _: &At<'_>, _: usize, y_bar: u64, to: Target, on: &On<'_, E>) -> Result<()> {
        self.gather(!self.transposed, y_bar, to, on)
    }
}

/// The numbers of [`Gathered`].
fn lists(columns: &[u32], from: usize) -> Vec<u32> {
    let mut chosen_for = vec![Vec::new(); from];
    for (place, &column) in (0..).zip(columns) {
        if let Some(chosen_for) = chosen_for.get_mut(column as usize) {
            chosen_for.push(place);
        }
    }
    let mut numbers = columns.to_vec();
    let mut begin = 0;
    for chosen_for in &chosen_for {
        numbers.push(begin);
        begin += chosen_for.len() as u32;
    }
    numbers.push(begin);
    numbers.extend(chosen_for.into_iter().flatten());
    numbers
}

/// From `[rows, columns, block]` to `[columns, rows, block]`.
pub(super) struct Transposed(pub [usize; 3]);

impl Transposed {
    fn turn<E: Real>(
        [height, width, block]: [usize; 3],
        x: u64,
        (y, add): Target,
        on: &On<'_, E>,
    ) -> Result<()>
    where
        Cuda: Backend<E>,
    {
        on.launch(Turn {
            x,
            y,
            rows: on.rows as u32,
            height: height as u32,
            width: width as u32,
            block: block as u32,
            add,
        })
    }
}

impl<E: Real> DeviceOperation<E> for Transposed
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        Self::turn(self.0, x[0], (y, 0), on)
    }

    fn vjp(&self, _: &At<'_>, _: usize, y_bar: u64, to: Target, on: &On<'_, E>) -> Result<()> {
        let [rows, columns, block] = self.0;
        Self::turn([columns, rows, block], y_bar, to, on)
    }
}

/// `[x | x | … | x]`.
pub(super) struct Repeated {
    pub times: usize,
    pub width: usize,
}

impl<E: Real> DeviceOperation<E> for Repeated
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        on.launch(Copies {
            x: x[0],
            y,
            factor: 1.0,
            outer: on.rows as u32,
            count: self.times as u32,
            inner: self.width as u32,
            add: 0,
        })
    }

    fn vjp(
        &self,
        _: &At<'_>,
        _: usize,
        y_bar: u64,
        (out, add): Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        if self.width == 1 {
            // Many threads to each sum, which is of what lies side by side.
            return on.launch(sum_of_groups((y_bar, out, add), 1.0, [on.rows, self.times]));
        }
        on.launch(SumCopies {
            x: y_bar,
            y: out,
            factor: 1.0,
            outer: on.rows as u32,
            count: self.times as u32,
            inner: self.width as u32,
            add,
        })
    }
}

/// `y_g = c Σ x_i` over groups of adjacent columns.
pub(super) struct Summed {
    groups: usize,
    size: usize,
    factor: f64,
}

impl Summed {
    /// Sums or means of so many groups of columns.
    pub fn new(groups: usize, width: usize, mean: bool) -> Self {
        let size = width / groups;
        Self {
            groups,
            size,
            factor: if mean { 1.0 / size as f64 } else { 1.0 },
        }
    }
}

impl<E: Real> DeviceOperation<E> for Summed
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        let sizes = [on.rows * self.groups, self.size];
        on.launch(sum_of_groups((x[0], y, 0), self.factor, sizes))
    }

    fn vjp(
        &self,
        _: &At<'_>,
        _: usize,
        y_bar: u64,
        (out, add): Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        on.launch(Copies {
            x: y_bar,
            y: out,
            factor: self.factor,
            outer: (on.rows * self.groups) as u32,
            count: self.size as u32,
            inner: 1,
            add,
        })
    }
}

fn sum_of_groups(
    (x, out, add): (u64, u64, u32),
    factor: f64,
    [groups, size]: [usize; 2],
) -> OfGroups {
    let argument = GroupsArgument {
        x,
        out,
        factor,
        groups: groups as u32,
        size: size as u32,
        add,
        ..GroupsArgument::default()
    };
    OfGroups("sum_groups", argument)
}
