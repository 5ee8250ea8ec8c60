//! The largest number of each group of columns.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::operations::{arguments, BOTH};
use equilibria_core::{
    from_host, recorded, to_host, try_contiguous, AnyTape, At, Backend, DeviceCode, Element,
    Matrix, Operation, Reads, Result, RowOperation, Scalar, Scratch,
};

use super::size_of_groups;

/// `y_g = max x_i` over group g of adjacent columns: one number for each group. NaN stays NaN; of equal ones, the first has the whole
/// derivative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Max {
    /// Number of groups.
    pub groups: usize,
}

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Max {
    const NAME: &'static str = "the maximum of groups of columns";

    fn width(&self, widths: &[usize]) -> Result<usize> {
        size_of_groups(<Self as Operation<E, D>>::NAME, self.groups, widths).map(|_| self.groups)
    }

    /// On the host: dfdx gives the whole gradient to every one of equal numbers.
    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let (x, tape) = try_contiguous(x)?.split_tape();
        let (batch, width) = *x.shape();
        let (values, size) = (to_host(&x), width / self.groups);
        let largest: Vec<E> = values.chunks_exact(size).map(largest).collect();
        let y = from_host(x.device(), largest.clone(), (batch, self.groups))?;
        Ok(recorded(y, tape, move |gradients, y_bar| {
            let mut x_bar = vec![E::zero(); values.len()];
            spread(size, (&values, &largest), y_bar, &mut x_bar);
            D::put_gradient(gradients, &x, x_bar)
        }))
    }

    fn device_code(&self) -> Option<DeviceCode> {
        let groups = self.groups;
        Some(DeviceCode::Max { groups })
    }

    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(LargestOfGroups {
            size: widths[0] / self.groups,
        })
    }
}

struct LargestOfGroups {
    /// Numbers in a group.
    size: usize,
}

impl<E: Element> RowOperation<E> for LargestOfGroups {
    fn reads(&self) -> Reads {
        BOTH
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        for (y, x) in y.iter_mut().zip(x[0].chunks_exact(self.size)) {
            *y = largest(x);
        }
    }

    fn jvp(&self, at: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        let [Some(x_dot)] = x_dot else { return };
        let groups = at.x[0].chunks_exact(self.size).zip(at.y);
        for ((y_dot, x_dot), (x, &y)) in y_dot
            .iter_mut()
            .zip(x_dot.chunks_exact(self.size))
            .zip(groups)
        {
            *y_dot = x_dot[place(x, y)];
        }
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            x_bar.fill(E::zero());
            spread(self.size, (at.x[0], at.y), y_bar, x_bar);
        }
    }
}

fn largest<E: Element>(x: &[E]) -> E {
    x.iter().fold(-E::infinity(), |largest, &x| {
        if x <= largest || largest.is_nan() {
            largest
        } else {
            x
        }
    })
}

/// Where the largest number of a group is; of equal ones the first, and the first of all where it is NaN.
fn place<E: Element>(x: &[E], y: E) -> usize {
    x.iter().position(|&x| x == y).unwrap_or(0)
}

/// Writes the cotangent of each group to the place of its largest number.
fn spread<E: Element>(size: usize, (x, y): (&[E], &[E]), y_bar: &[E], x_bar: &mut [E]) {
    let groups = x.chunks_exact(size).zip(y).zip(y_bar);
    for (x_bar, ((x, &y), &y_bar)) in x_bar.chunks_exact_mut(size).zip(groups) {
        x_bar[place(x, y)] = y_bar;
    }
}
