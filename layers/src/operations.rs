//! The vocabulary: operations that the equation of a layer is written in, one file each.
//!
//! [`Vocabulary`] has them as methods of [`Value`], and of its [`Tokens`]; `+`, `-`, `*` and `/` work as well, with values
//! and with numbers.

pub mod abs;
pub mod broadcast;
pub mod clamp;
pub mod columns;
pub mod concatenate;
pub mod constant;
pub mod cos;
pub mod elu;
pub mod exp;
pub mod gather;
pub mod gelu;
pub mod gelu_tanh;
pub mod group_norm;
pub mod layer_norm;
pub mod leaky_relu;
pub mod ln;
pub mod logsumexp;
pub mod matmul;
pub mod max;
pub mod normalize;
pub mod per_token;
pub mod product;
pub mod relu;
pub mod repeat;
pub mod row_norms;
pub mod shift;
pub mod sigmoid;
pub mod silu;
pub mod sin;
pub mod soft_threshold;
pub mod softmax;
pub mod softplus;
pub mod sqrt;
pub mod square;
pub mod stretch;
pub mod sum;
pub mod tanh;
pub mod transpose;

use std::borrow::Borrow;
use std::ops::Range;

use dfdx::prelude::{HasShape, ReshapeTo};
use equilibria_core::{
    try_contiguous, AnyTape, Backend, Error, Matrix, Operation, Result, Scalar, Value,
};

use crate::modules::{GroupNorm, LayerNorm, Linear};
use crate::selection::Selection;
use crate::tokens::Tokens;

/// The operations on [`Value`]s; on [`Tokens`], each token is a row of its own.
///
/// Widths that do not fit give a value that stands for the error.
pub trait Vocabulary<E: Scalar, D: Backend<E>>: Sized {
    /// The result of any operation.
    fn of(operation: &impl Operation<E, D>, arguments: &[&Self]) -> Self;

    /// The result of an operation that reads no argument, in every row of the batch that this value belongs to.
    fn beside(&self, operation: &impl Operation<E, D>) -> Self;

    /// Each row as `count` tokens that follow one another: `[batch, count · width]` as `[batch, count, width]`.
    fn tokens(&self, count: usize) -> Tokens<E, D>;

    /// `x Wᵀ`, with W `[outputs, inputs]`: row by row, W x.
    fn product(&self, weight: &Matrix<E, D>) -> Self {
        let product = product::Product {
            weight: weight.clone(),
            transposed: false,
            packed: None,
        };
        Self::of(&product, &[self])
    }

    /// `x W`, with W `[inputs, outputs]`: the product with the transpose.
    fn product_transposed(&self, weight: &Matrix<E, D>) -> Self {
        let product = product::Product {
            weight: weight.clone(),
            transposed: true,
            packed: None,
        };
        Self::of(&product, &[self])
    }

    /// `x + b`, with the parameter b, `[1, width]`, for every row.
    fn shift(&self, by: &Matrix<E, D>) -> Self {
        Self::of(&shift::Shift { by: by.clone() }, &[self])
    }

    /// `x ⊙ w`, with the parameter w, `[1, width]`, for every row.
    fn stretch(&self, by: &Matrix<E, D>) -> Self {
        Self::of(&stretch::Stretch { by: by.clone() }, &[self])
    }

    /// The numbers of a parameter of any shape, row-major, in every row. x says to which batch they belong, and is not read.
    fn broadcast(&self, parameter: &Matrix<E, D>) -> Self {
        let parameter = parameter.clone();
        self.beside(&broadcast::Broadcast { parameter })
    }

    /// `Σ_j |W_ij|` of a parameter W in every row: as many numbers as W has rows. x says to which batch they belong, and is not read.
    fn row_norms(&self, weight: &Matrix<E, D>) -> Self {
        let weight = weight.clone();
        self.beside(&row_norms::RowNorms { weight })
    }

    /// The given numbers in every row. x says to which batch they belong, and is not read.
    fn constant(&self, numbers: &[f64]) -> Self {
        self.beside(&constant::Constant { numbers })
    }

    /// Some columns.
    fn columns(&self, range: Range<usize>) -> Self {
        Self::of(&columns::Columns { range }, &[self])
    }

    /// `[x | x | … | x]`.
    fn repeat(&self, times: usize) -> Self {
        Self::of(&repeat::Repeat { times }, &[self])
    }

    /// The columns that are selected, and 0 where none is.
    fn gather(&self, selection: &Selection) -> Self {
        let transposed = false;
        let gather = gather::Gather {
            selection,
            transposed,
        };
        Self::of(&gather, &[self])
    }

    /// The transpose of [`gather`](Self::gather): each column is added to the one it would be selected from.
    fn scatter(&self, selection: &Selection) -> Self {
        let transposed = true;
        let gather = gather::Gather {
            selection,
            transposed,
        };
        Self::of(&gather, &[self])
    }

    /// The sum of each of `groups` groups of adjacent columns.
    fn sum(&self, groups: usize) -> Self {
        let mean = false;
        Self::of(&sum::Sum { groups, mean }, &[self])
    }

    /// The mean of each of `groups` groups of adjacent columns.
    fn mean(&self, groups: usize) -> Self {
        let mean = true;
        Self::of(&sum::Sum { groups, mean }, &[self])
    }

    /// The largest number of each of `groups` groups of adjacent columns.
    fn max(&self, groups: usize) -> Self {
        Self::of(&max::Max { groups }, &[self])
    }

    /// `ln Σ exp x_i` of each of `groups` groups of adjacent columns.
    fn logsumexp(&self, groups: usize) -> Self {
        Self::of(&logsumexp::LogSumExp { groups }, &[self])
    }

    /// `exp x_i / Σ_j exp x_j` in each of `groups` groups of adjacent columns.
    fn softmax(&self, groups: usize) -> Self {
        Self::of(&softmax::Softmax { groups }, &[self])
    }

    /// `(x − μ) / √(σ² + 1e-5)` in each of `groups` groups of adjacent columns: group or layer normalization without parameters.
    /// [`Normalize`](normalize::Normalize) takes another ε.
    fn normalize(&self, groups: usize) -> Self {
        let epsilon = 1e-5;
        Self::of(&normalize::Normalize { groups, epsilon }, &[self])
    }

    /// `max(x, 0)`.
    fn relu(&self) -> Self {
        Self::of(&relu::Relu, &[self])
    }

    /// `x` where x > 0, else `s x`.
    fn leaky_relu(&self, slope: f64) -> Self {
        Self::of(&leaky_relu::LeakyRelu { slope }, &[self])
    }

    /// `x` where x > 0, else `α (exp x − 1)`.
    fn elu(&self, alpha: f64) -> Self {
        Self::of(&elu::Elu { alpha }, &[self])
    }

    /// `x Φ(x)`, by the error function.
    fn gelu(&self) -> Self {
        Self::of(&gelu::Gelu, &[self])
    }

    /// The approximation of `x Φ(x)` by the hyperbolic tangent.
    fn gelu_tanh(&self) -> Self {
        Self::of(&gelu_tanh::GeluTanh, &[self])
    }

    /// `x σ(x)`.
    fn silu(&self) -> Self {
        Self::of(&silu::Silu, &[self])
    }

    /// `ln(1 + exp x)`.
    fn softplus(&self) -> Self {
        Self::of(&softplus::Softplus, &[self])
    }

    /// `tanh x`.
    fn tanh(&self) -> Self {
        Self::of(&tanh::Tanh, &[self])
    }

    /// `1 / (1 + exp(−x))`.
    fn sigmoid(&self) -> Self {
        Self::of(&sigmoid::Sigmoid, &[self])
    }

    /// `exp x`.
    fn exp(&self) -> Self {
        Self::of(&exp::Exp, &[self])
    }

    /// `ln x`.
    fn ln(&self) -> Self {
        Self::of(&ln::Ln, &[self])
    }

    /// `√x`.
    fn sqrt(&self) -> Self {
        Self::of(&sqrt::Sqrt, &[self])
    }

    /// `sin x`.
    fn sin(&self) -> Self {
        Self::of(&sin::Sin, &[self])
    }

    /// `cos x`.
    fn cos(&self) -> Self {
        Self::of(&cos::Cos, &[self])
    }

    /// `x²`.
    fn square(&self) -> Self {
        Self::of(&square::Square, &[self])
    }

    /// `|x|`.
    fn abs(&self) -> Self {
        Self::of(&abs::Abs, &[self])
    }

    /// `min(max(x, low), high)`.
    fn clamp(&self, low: f64, high: f64) -> Self {
        Self::of(&clamp::Clamp { low, high }, &[self])
    }

    /// `sign(x) max(|x| − t, 0)`.
    fn soft_threshold(&self, by: f64) -> Self {
        Self::of(&soft_threshold::SoftThreshold { by }, &[self])
    }

    /// `sign(x) max(|x| − t, 0)` with t of the same width, at least 0.
    fn soft_threshold_by(&self, by: &Self) -> Self {
        let [plus, minus] = [1.0, -1.0].map(|factor| equilibria_core::operations::Sum { factor });
        let above = Self::of(&minus, &[self, by]).relu();
        let reached = Self::of(&plus, &[self, by]);
        let below = Self::of(&equilibria_core::operations::NEGATIVE, &[&reached]).relu();
        Self::of(&minus, &[&above, &below])
    }
}

impl<E: Scalar, D: Backend<E>> Vocabulary<E, D> for Value<E, D> {
    fn of(operation: &impl Operation<E, D>, arguments: &[&Self]) -> Self {
        Self::of(operation, arguments)
    }

    fn beside(&self, operation: &impl Operation<E, D>) -> Self {
        self.beside(operation)
    }

    fn tokens(&self, count: usize) -> Tokens<E, D> {
        Tokens::new(self.clone(), count)
    }
}

/// `(1 − α) x + α y`: the share α of the way from x to y, and y itself from α = 1 on.
pub fn toward<E: Scalar, D: Backend<E>>(
    x: &Value<E, D>,
    y: Value<E, D>,
    share: f64,
) -> Value<E, D> {
    match share < 1.0 {
        true => x * (1.0 - share) + y * share,
        false => y,
    }
}

/// Values side by side, `[x_1 | … | x_N]`.
pub fn concatenate<E: Scalar, D: Backend<E>>(
    x: impl IntoIterator<Item = impl Borrow<Value<E, D>>>,
) -> Value<E, D> {
    let mut parts: Vec<Value<E, D>> = x.into_iter().map(|x| x.borrow().clone()).collect();
    // An operation takes no more than `MOST` arguments: more are put together in groups, and these in turn.
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
    pub fn of<V: Vocabulary<E, D>>(&self, x: &V) -> V {
        let product = product::Product {
            weight: self.weight.clone(),
            transposed: false,
            packed: D::ON_HOST.then(|| self.packed()),
        };
        V::of(&product, &[x]).shift(&self.bias)
    }

    /// `t Wᵀ + b` of each token t of rows of `tokens` tokens, one after the other, in the equation of a layer.
    pub fn of_tokens(&self, x: &Value<E, D>, tokens: usize) -> Value<E, D> {
        match tokens {
            1 => self.of(x),
            count => self.of(&x.tokens(count)).into_value(),
        }
    }
}

impl<E: Scalar, D: Backend<E>> GroupNorm<E, D> {
    /// The normalization in the equation of a layer.
    pub fn of<V: Vocabulary<E, D>>(&self, x: &V) -> V {
        V::of(&group_norm::GroupNorm(self), &[x])
    }

    /// The normalization of rows of `tokens` tokens, one after the other, where a group is some columns of all tokens of a row, as in
    /// PyTorch, whose positions are tokens: each column of a token has its own weight and bias.
    pub fn of_tokens(&self, x: &Value<E, D>, tokens: usize) -> Value<E, D> {
        if tokens == 1 {
            return self.of(x);
        }
        let columns = x.width() / tokens.max(1);
        let normal = match self.groups {
            1 => x.normalize(1).tokens(tokens),
            groups => {
                let columns_first = x.tokens(tokens).transpose().into_value();
                columns_first.normalize(groups).tokens(columns).transpose()
            }
        };
        normal.stretch(&self.weight).shift(&self.bias).into_value()
    }
}

impl<E: Scalar, D: Backend<E>> LayerNorm<E, D> {
    /// The normalization in the equation of a layer.
    pub fn of<V: Vocabulary<E, D>>(&self, x: &V) -> V {
        V::of(&layer_norm::LayerNorm(self), &[x])
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

/// Numbers in each of the groups of the one argument.
fn size_of_groups(name: &str, groups: usize, widths: &[usize]) -> Result<usize> {
    match widths {
        [width] if groups > 0 && *width > 0 && width.is_multiple_of(groups) => Ok(width / groups),
        _ => Err(Error::Shape {
            what: format!("the argument of {name}"),
            expected: format!("a width that {groups} groups divide"),
            got: format!("{widths:?}"),
        }),
    }
}

/// Groups of adjacent columns as rows, `[batch · groups, size]`.
fn grouped<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    groups: usize,
) -> Result<Matrix<E, D, T>> {
    let (batch, width) = *x.shape();
    let x = try_contiguous(x)?;
    Ok(x.reshape_like(&(batch * groups, width / groups)))
}
