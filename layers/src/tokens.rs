//! Rows seen as matrices: of tokens, nodes, pixels, or whatever else there are several of in one sample.

mod arithmetic;

use equilibria_core::{Backend, Error, Matrix, Operation, Scalar, Value};

use crate::operations::matmul::Matmul;
use crate::operations::per_token::PerToken;
use crate::operations::transpose::Transpose;
use crate::operations::Vocabulary;

/// A [`Value`] each row of which is seen as a matrix, `[batch, count, width]`: `count` tokens that follow one another.
///
/// It has the whole [`Vocabulary`], for each token as if it were a row, and operations on the matrix of all tokens of a row. A row stays a
/// row: samples are independent, tokens need not be.
///
/// ```
/// # use equilibria_layers as equilibria;
/// use equilibria::modules::{LayerNorm, Linear};
/// use equilibria::prelude::*;
///
/// /// A block of self-attention with 4 heads on 10 tokens.
/// fn block<E: Scalar, D: Backend<E>>(
///     z: &Value<E, D>,
///     [q, k, v, out]: [&Linear<E, D>; 4],
///     norm: &LayerNorm<E, D>,
/// ) -> Value<E, D> {
///     let z = z.tokens(10);
///     let attended = attention(&q.of(&z), &k.of(&z), &v.of(&z), 4, None);
///     norm.of(&(out.of(&attended) + z)).into_value()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Tokens<E: Scalar, D: Backend<E>> {
    value: Value<E, D>,
    count: usize,
}

impl<E: Scalar, D: Backend<E>> Tokens<E, D> {
    /// `value`, whose width is to be a multiple of `count`.
    pub(crate) fn new(value: Value<E, D>, count: usize) -> Self {
        let width = value.width();
        // A value that has failed has no width, and keeps its error.
        let value = match count > 0 && width.is_multiple_of(count) {
            true => value,
            false => Value::failed(Error::Shape {
                what: "a value seen as tokens".to_owned(),
                expected: format!("a width that {count} tokens divide"),
                got: format!("{width}"),
            }),
        };
        Self {
            value,
            count: count.max(1),
        }
    }

    /// Tokens in a row.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.value.width() / self.count
    }

    /// The rows that the tokens are in, `[batch, count · width]`.
    pub fn into_value(self) -> Value<E, D> {
        self.value
    }

    /// `Xᵀ`: as many tokens as the width, as wide as there were tokens.
    pub fn transpose(&self) -> Self {
        let [rows, columns] = [self.count, self.width()];
        let transpose = Transpose {
            rows,
            columns,
            block: 1,
        };
        let value = Value::of(&transpose, &[&self.value]);
        // A value that has failed has no columns, and keeps its error as one token.
        Self::new(value, columns.max(1))
    }

    /// `X Y`, where Y has as many tokens as X is wide: each token of the result is a sum of tokens of Y.
    pub fn matmul(&self, other: &Self) -> Self {
        self.times(other, other.width(), false)
    }

    /// `X Yᵀ`, with Y of the same width: inner products of tokens, `[count of X, count of Y]`.
    pub fn matmul_transposed(&self, other: &Self) -> Self {
        self.times(other, other.count, true)
    }

    fn times(&self, other: &Self, columns: usize, transposed: bool) -> Self {
        let product = Matmul {
            rows: self.count,
            inner: self.width(),
            columns,
            transposed,
        };
        let value = Value::of(&product, &[&self.value, &other.value]);
        Self::new(value, self.count)
    }

    /// `A X`: tokens mixed by a parameter or a constant A, `[outputs, count]`, the same for every row. Where A belongs to a row, use
    /// [`matmul`](Self::matmul).
    pub fn mix(&self, weight: &Matrix<E, D>) -> Self {
        self.transpose().product(weight).transpose()
    }

    /// The sum of all tokens, `[batch, width]`.
    pub fn sum_tokens(&self) -> Value<E, D> {
        self.transpose().sum(1).value
    }

    /// The mean of all tokens, `[batch, width]`.
    pub fn mean_tokens(&self) -> Value<E, D> {
        self.transpose().mean(1).value
    }

    /// The largest number of all tokens in each column, `[batch, width]`.
    pub fn max_tokens(&self) -> Value<E, D> {
        self.transpose().max(1).value
    }
}

impl<E: Scalar, D: Backend<E>> Vocabulary<E, D> for Tokens<E, D> {
    fn of(operation: &impl Operation<E, D>, arguments: &[&Self]) -> Self {
        let count = arguments.first().map_or(1, |tokens| tokens.count);
        let per_token = PerToken { operation, count };
        let value = match arguments.iter().find(|tokens| tokens.count != count) {
            None => {
                let values: Vec<_> = arguments.iter().map(|tokens| &tokens.value).collect();
                Value::of(&per_token, &values)
            }
            Some(other) => Value::failed(Error::Shape {
                what: "values seen as tokens in one operation".to_owned(),
                expected: format!("{count} tokens"),
                got: format!("{}", other.count),
            }),
        };
        Self { value, count }
    }

    fn beside(&self, operation: &impl Operation<E, D>) -> Self {
        let count = self.count;
        let value = self.value.beside(&PerToken { operation, count });
        Self { value, count }
    }

    /// Each token as `count` of them.
    fn tokens(&self, count: usize) -> Self {
        Self::new(self.value.clone(), self.count * count)
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::{Cpu, ZerosTensor};

    use super::*;

    #[test]
    fn the_first_error_is_the_one_that_is_told() {
        let z: Value<f64, Cpu> = Value::plain(Cpu::default().zeros_like(&(2, 4)));
        let turned = z.tokens(3).transpose().transpose().into_value();
        let error = turned.into_matrix().err().map(|error| error.to_string());
        let error = error.expect("3 tokens do not divide 4 columns");
        assert!(error.contains("3 tokens divide, got 4"), "{error}");
    }
}
