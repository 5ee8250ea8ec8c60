//! Groups of adjacent columns: softmax, the logarithm of a sum of exponentials, the largest number.

use dfdx::prelude::Cuda;

use super::{Along, At, DeviceOperation, On, Real, Target};
use crate::cuda::kernels::{GroupsArgument, OfGroups};
use crate::{Backend, Result};

/// What is done to each group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Max,
    Softmax,
    LogSumExp,
}

/// An operation on so many groups of adjacent columns.
pub(super) struct OfColumns {
    what: What,
    groups: usize,
    size: usize,
}

impl OfColumns {
    pub fn new(what: What, groups: usize, width: usize) -> Self {
        Self {
            what,
            groups,
            // One group at least, or the operation would not have been recorded.
            size: width / groups,
        }
    }

    /// One of the three kernels, by what is done.
    fn launch<E: Real>(
        &self,
        [max, softmax, log_sum_exp]: [&'static str; 3],
        argument: GroupsArgument,
        on: &On<'_, E>,
    ) -> Result<()>
    where
        Cuda: Backend<E>,
    {
        let name = match self.what {
            What::Max => max,
            What::Softmax => softmax,
            What::LogSumExp => log_sum_exp,
        };
        let argument = GroupsArgument {
            groups: (on.rows * self.groups) as u32,
            size: self.size as u32,
            ..argument
        };
        on.launch(OfGroups(name, argument))
    }
}

impl<E: Real> DeviceOperation<E> for OfColumns
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        let argument = GroupsArgument {
            x: x[0],
            out: y,
            ..GroupsArgument::default()
        };
        self.launch(
            ["largest_of_groups", "softmax", "log_sum_exp"],
            argument,
            on,
        )
    }

    fn jvp(&self, at: &At<'_>, x_dot: &[u64], y_dot: u64, on: &On<'_, E>) -> Result<()> {
        let argument = GroupsArgument {
            x: at.x[0],
            y: at.y,
            u: x_dot[0],
            out: y_dot,
            ..GroupsArgument::default()
        };
        let names = ["largest_tangent", "softmax_along", "log_sum_exp_tangent"];
        self.launch(names, argument, on)
    }

    fn vjp(
        &self,
        at: &At<'_>,
        _: usize,
        y_bar: u64,
        (out, add): Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        let argument = GroupsArgument {
            x: at.x[0],
            y: at.y,
            u: y_bar,
            out,
            add,
            ..GroupsArgument::default()
        };
        let names = ["largest_back", "softmax_along", "log_sum_exp_back"];
        self.launch(names, argument, on)
    }

    fn bends(&self, _: usize, _: &[u64]) -> bool {
        self.what != What::Max
    }

    fn bend(
        &self,
        at: &At<'_>,
        _: usize,
        along: &Along<'_>,
        (out, add): Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        let argument = GroupsArgument {
            x: at.x[0],
            y: at.y,
            u: along.p,
            v: along.x_dot[0],
            out,
            add,
            ..GroupsArgument::default()
        };
        // The largest number does not bend, and is not asked to.
        let names = ["largest_back", "softmax_bend", "log_sum_exp_back"];
        self.launch(names, argument, on)
    }
}
