//! Sums, multiples and products of numbers.

use dfdx::prelude::Cuda;

use super::{Along, At, DeviceOperation, On, Real, Target};
use crate::cuda::kernels::{self, Linear};
use crate::operation::Neighbor;
use crate::{Backend, Result};

/// `c a + d b + e` in all rows, or without b where it is 0.
fn linear<E: Real>(
    [a, b]: [u64; 2],
    [c, d, e]: [f64; 3],
    (out, add): Target,
    width: usize,
    on: &On<'_, E>,
) -> Result<()>
where
    Cuda: Backend<E>,
{
    on.launch(Linear {
        a,
        b,
        out,
        c,
        d,
        e,
        rows: on.rows as u32,
        width: width as u32,
        row: 0,
        add,
    })
}

/// `y = x₁ + c x₂`.
pub(super) struct Sum {
    pub factor: f64,
    pub width: usize,
}

impl Sum {
    #[allow(clippy::float_cmp)] // 1 is what a plain addition has
    fn is_plain(&self) -> bool {
        self.factor == 1.0
    }
}

impl<E: Real> DeviceOperation<E> for Sum
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        linear(
            [x[0], x[1]],
            [1.0, self.factor, 0.0],
            (y, 0),
            self.width,
            on,
        )
    }

    fn jvp(&self, _: &At<'_>, x_dot: &[u64], y_dot: u64, on: &On<'_, E>) -> Result<()> {
        let (numbers, factors) = match (x_dot[0], x_dot[1]) {
            (0, second) => ([second, 0], [self.factor, 0.0, 0.0]),
            (first, second) => ([first, second], [1.0, self.factor, 0.0]),
        };
        linear(numbers, factors, (y_dot, 0), self.width, on)
    }

    fn neighbor(&self) -> Option<Neighbor> {
        self.is_plain().then_some(Neighbor::Sum)
    }

    fn passes(&self, argument: usize) -> bool {
        argument == 0 || self.is_plain()
    }

    fn vjp(&self, _: &At<'_>, _: usize, y_bar: u64, to: Target, on: &On<'_, E>) -> Result<()> {
        linear([y_bar, 0], [self.factor, 0.0, 0.0], to, self.width, on)
    }
}

/// `y = c x + a`.
pub(super) struct Scale {
    pub factor: f64,
    pub offset: f64,
    pub width: usize,
}

impl<E: Real> DeviceOperation<E> for Scale
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        let factors = [self.factor, 0.0, self.offset];
        linear([x[0], 0], factors, (y, 0), self.width, on)
    }

    fn jvp(&self, _: &At<'_>, x_dot: &[u64], y_dot: u64, on: &On<'_, E>) -> Result<()> {
        let factors = [self.factor, 0.0, 0.0];
        linear([x_dot[0], 0], factors, (y_dot, 0), self.width, on)
    }

    fn vjp(&self, _: &At<'_>, _: usize, y_bar: u64, to: Target, on: &On<'_, E>) -> Result<()> {
        linear([y_bar, 0], [self.factor, 0.0, 0.0], to, self.width, on)
    }
}

/// `y = x₁ ⊙ x₂`.
pub(super) struct Multiply {
    pub width: usize,
}

impl Multiply {
    /// `a b + c d` in all rows, or without the second where c is 0.
    fn multiply<E: Real>(
        &self,
        [(a, b), (c, d)]: [(u64, u64); 2],
        (out, add): Target,
        on: &On<'_, E>,
    ) -> Result<()>
    where
        Cuda: Backend<E>,
    {
        on.launch(kernels::Multiply {
            a,
            b,
            c,
            d,
            out,
            count: (on.rows * self.width) as u32,
            add,
        })
    }
}

impl<E: Real> DeviceOperation<E> for Multiply
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        self.multiply([(x[0], x[1]), (0, 0)], (y, 0), on)
    }

    fn jvp(&self, at: &At<'_>, x_dot: &[u64], y_dot: u64, on: &On<'_, E>) -> Result<()> {
        let [first, second] = [(x_dot[0], at.x[1]), (x_dot[1], at.x[0])];
        let terms = if first.0 == 0 {
            [second, (0, 0)]
        } else {
            [first, second]
        };
        self.multiply(terms, (y_dot, 0), on)
    }

    fn vjp(
        &self,
        at: &At<'_>,
        argument: usize,
        y_bar: u64,
        to: Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        self.multiply([(y_bar, at.x[1 - argument]), (0, 0)], to, on)
    }

    fn bends(&self, argument: usize, x_dot: &[u64]) -> bool {
        x_dot[1 - argument] != 0
    }

    /// Each factor meets the tangent of the other.
    fn bend(
        &self,
        _: &At<'_>,
        argument: usize,
        along: &Along<'_>,
        to: Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        self.multiply([(along.p, along.x_dot[1 - argument]), (0, 0)], to, on)
    }
}
