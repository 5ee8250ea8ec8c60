//! Quotients.

use dfdx::prelude::Cuda;

use super::{Along, At, DeviceOperation, On, Real, Target};
use crate::cuda::kernels::Quotient;
use crate::{Backend, Result};

/// `y = x₁ / x₂`.
pub(super) struct Divide {
    pub width: usize,
}

impl Divide {
    /// `(a + c y b) / x` in all rows.
    fn quotient<E: Real>(
        &self,
        [a, b, x]: [u64; 3],
        (y, c): (u64, f64),
        (out, add): Target,
        on: &On<'_, E>,
    ) -> Quotient
    where
        Cuda: Backend<E>,
    {
        Quotient {
            a,
            y,
            b,
            x,
            p: 0,
            out,
            c,
            count: (on.rows * self.width) as u32,
            add,
        }
    }
}

impl<E: Real> DeviceOperation<E> for Divide
where
    Cuda: Backend<E>,
{
    fn apply(&self, x: &[u64], y: u64, on: &On<'_, E>) -> Result<()> {
        on.launch(self.quotient([x[0], 0, x[1]], (0, 0.0), (y, 0), on))
    }

    fn jvp(&self, at: &At<'_>, x_dot: &[u64], y_dot: u64, on: &On<'_, E>) -> Result<()> {
        on.launch(self.quotient([x_dot[0], x_dot[1], at.x[1]], (at.y, -1.0), (y_dot, 0), on))
    }

    fn vjp(
        &self,
        at: &At<'_>,
        argument: usize,
        y_bar: u64,
        to: Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        on.launch(match argument {
            0 => self.quotient([y_bar, 0, at.x[1]], (0, 0.0), to, on),
            _ => self.quotient([0, y_bar, at.x[1]], (at.y, -1.0), to, on),
        })
    }

    fn bends(&self, argument: usize, x_dot: &[u64]) -> bool {
        argument == 1 || x_dot[1] != 0
    }

    /// `⟨p, ẏ⟩ = Σ p (ẋ₁ − y ẋ₂) / x₂`: by x₁ it is −p ẋ₂ / x₂², by x₂ −p (ẋ₁ − 2 y ẋ₂) / x₂².
    fn bend(
        &self,
        at: &At<'_>,
        argument: usize,
        along: &Along<'_>,
        to: Target,
        on: &On<'_, E>,
    ) -> Result<()> {
        let ([first, second], x) = ([along.x_dot[0], along.x_dot[1]], at.x[1]);
        let by = |numbers, factor, to| Quotient {
            p: along.p,
            ..self.quotient(numbers, factor, to, on)
        };
        if argument == 0 {
            return on.launch(by([0, second, x], (0, -1.0), to));
        }
        let (out, mut add) = to;
        if first != 0 {
            on.launch(by([0, first, x], (0, -1.0), (out, add)))?;
            add = 1;
        }
        match second {
            0 => Ok(()),
            second => on.launch(by([0, second, x], (at.y, 2.0), (out, add))),
        }
    }
}
