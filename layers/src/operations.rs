//! The vocabulary: operations that the equation of a layer is written in, one file each.
//!
//! [`Vocabulary`] has them as methods of [`Value`]; `+`, `-` and `*` work as well, with values and with numbers.

pub mod columns;
pub mod concatenate;
pub mod cos;
pub mod exp;
pub mod group_norm;
pub mod pointwise;
pub mod product;
pub mod relu;
pub mod shift;
pub mod sigmoid;
pub mod sin;
pub mod square;
pub mod stretch;
pub mod tanh;

use std::borrow::Borrow;
use std::ops::Range;

use dfdx::prelude::HasShape;
use equilibria_core::{Backend, Error, Matrix, Result, Scalar, Value};

use crate::modules::{GroupNorm, Linear};

/// The operations on [`Value`]s.
pub trait Vocabulary<E: Scalar, D: Backend<E>>: Sized {
    /// `x Wᵀ`, with W `[outputs, inputs]`: row by row, W x.
    fn product(&self, weight: &Matrix<E, D>) -> Self;

    /// `x W`, with W `[inputs, outputs]`: the product with the transpose.
    fn product_transposed(&self, weight: &Matrix<E, D>) -> Self;

    /// `x + b`, with the parameter b, `[1, width]`, for every row.
    fn shift(&self, by: &Matrix<E, D>) -> Self;

    /// `x ⊙ w`, with the parameter w, `[1, width]`, for every row.
    fn stretch(&self, by: &Matrix<E, D>) -> Self;

    /// Some columns.
    fn columns(&self, range: Range<usize>) -> Self;

    /// `max(x, 0)`.
    fn relu(&self) -> Self;

    /// `tanh x`.
    fn tanh(&self) -> Self;

    /// `1 / (1 + exp(−x))`.
    fn sigmoid(&self) -> Self;

    /// `exp x`.
    fn exp(&self) -> Self;

    /// `sin x`.
    fn sin(&self) -> Self;

    /// `cos x`.
    fn cos(&self) -> Self;

    /// `x²`.
    fn square(&self) -> Self;
}

impl<E: Scalar, D: Backend<E>> Vocabulary<E, D> for Value<E, D> {
    fn product(&self, weight: &Matrix<E, D>) -> Self {
        let product = product::Product {
            weight: weight.clone(),
            transposed: false,
            packed: None,
        };
        Self::of(&product, &[self])
    }

    fn product_transposed(&self, weight: &Matrix<E, D>) -> Self {
        let product = product::Product {
            weight: weight.clone(),
            transposed: true,
            packed: None,
        };
        Self::of(&product, &[self])
    }

    fn shift(&self, by: &Matrix<E, D>) -> Self {
        Self::of(&shift::Shift { by: by.clone() }, &[self])
    }

    fn stretch(&self, by: &Matrix<E, D>) -> Self {
        Self::of(&stretch::Stretch { by: by.clone() }, &[self])
    }

    fn columns(&self, range: Range<usize>) -> Self {
        Self::of(&columns::Columns { range }, &[self])
    }

    fn relu(&self) -> Self {
        Self::of(&relu::Relu, &[self])
    }

    fn tanh(&self) -> Self {
        Self::of(&tanh::Tanh, &[self])
    }

    fn sigmoid(&self) -> Self {
        Self::of(&sigmoid::Sigmoid, &[self])
    }

    fn exp(&self) -> Self {
        Self::of(&exp::Exp, &[self])
    }

    fn sin(&self) -> Self {
        Self::of(&sin::Sin, &[self])
    }

    fn cos(&self) -> Self {
        Self::of(&cos::Cos, &[self])
    }

    fn square(&self) -> Self {
        Self::of(&square::Square, &[self])
    }
}

/// Values side by side, `[x_1 | … | x_N]`.
pub fn concatenate<E: Scalar, D: Backend<E>>(
    x: impl IntoIterator<Item = impl Borrow<Value<E, D>>>,
) -> Value<E, D> {
    let mut parts: Vec<Value<E, D>> = x.into_iter().map(|x| x.borrow().clone()).collect();
    // One operation takes so many arguments, another so many results of those, and so on.
    while parts.len() > MOST {
        parts = parts.chunks(MOST).map(side_by_side).collect();
    }
    side_by_side(&parts)
}

fn side_by_side<E: Scalar, D: Backend<E>>(x: &[Value<E, D>]) -> Value<E, D> {
    Value::of(&concatenate::Concatenate, &x.iter().collect::<Vec<_>>())
}

/// Arguments of one operation.
const MOST: usize = equilibria_core::MOST_ARGUMENTS;

impl<E: Scalar, D: Backend<E>> Linear<E, D> {
    /// `x Wᵀ + b` in the equation of a layer.
    pub fn of(&self, x: &Value<E, D>) -> Value<E, D> {
        let product = product::Product {
            weight: self.weight.clone(),
            transposed: false,
            packed: D::HAS_KERNELS.then(|| self.packed()),
        };
        Value::of(&product, &[x]).shift(&self.bias)
    }
}

impl<E: Scalar, D: Backend<E>> GroupNorm<E, D> {
    /// The normalization in the equation of a layer.
    pub fn of(&self, x: &Value<E, D>) -> Value<E, D> {
        Value::of(&group_norm::GroupNorm(self), &[x])
    }
}

/// The width of a parameter `[1, width]`, which the one argument has as well.
fn row_of_width<E: Scalar, D: Backend<E>>(row: &Matrix<E, D>, widths: &[usize]) -> Result<usize> {
    match (*row.shape(), widths) {
        ((1, of), [width]) if of == *width => Ok(of),
        (shape, _) => Err(Error::Shape {
            what: format!("a value beside a parameter {shape:?} for every row"),
            expected: "the width of a parameter with one row".to_owned(),
            got: format!("{widths:?}"),
        }),
    }
}
