//! Matrices side by side.

use dfdx::prelude::*;
use equilibria_core::{
    from_host, separate, to_host, AnyTape, Backend, Error, Matrix, Result, Scalar,
};

use equilibria_core::recorded;

/// `[x_1 | … | x_N]`, and the tape it was recorded on. The same matrix may stand in several places, which dfdx's
/// `concat_along` refuses in the backward pass.
///
/// # Shapes
/// `x[i]`: `[batch, width_i]`; the result: `[batch, Σ_i width_i]`.
///
/// # Errors
/// [`Error::Missing`] if there are no matrices, [`Error::Shape`] if they differ in their number of rows, [`Error::Device`] if
/// memory runs out.
pub fn concatenate<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: &[Matrix<E, D>],
    tape: T,
) -> Result<(Matrix<E, D>, T)> {
    let shapes: Vec<(usize, usize)> = x.iter().map(|x| *x.shape()).collect();
    let &(rows, _) = shapes.first().ok_or_else(|| Error::Missing {
        what: "a matrix to concatenate".to_owned(),
        remedy: "give at least one",
    })?;
    if shapes.iter().any(|shape| shape.0 != rows) {
        return Err(Error::Shape {
            what: "matrices side by side".to_owned(),
            expected: format!("{rows} rows, as the first one"),
            got: format!("{shapes:?}"),
        });
    }
    if !D::ON_HOST {
        return Ok(in_tensor_operations(x, tape));
    }
    let widths: Vec<usize> = shapes.iter().map(|shape| shape.1).collect();
    let total = widths.iter().sum();
    let y = from_host(x[0].device(), joined(x, rows, total), (rows, total))?;
    let x = x.to_vec();
    let y = recorded(y, tape, move |gradients, cotangent| {
        let mut first = 0;
        for (x, &width) in x.iter().zip(&widths) {
            D::add_to_gradient(gradients, x, |x_bar| {
                add_columns(x_bar, width, cotangent, (first, total));
            })?;
            first += width;
        }
        Ok(())
    });
    Ok(y.split_tape())
}

/// The matrices side by side, `[rows, total]`.
fn joined<E: Scalar, D: Backend<E>>(x: &[Matrix<E, D>], rows: usize, total: usize) -> Vec<E> {
    let mut values = vec![E::zero(); rows * total];
    let mut first = 0;
    for x in x {
        let (part, width) = (to_host(x), x.shape().1);
        let places = values.chunks_exact_mut(total.max(1));
        for (place, part) in places.zip(part.chunks_exact(width.max(1))) {
            place[first..first + width].copy_from_slice(part);
        }
        first += width;
    }
    values
}

/// Adds the columns of `all`, which has `total`, from `first` on to a matrix of `width` columns.
fn add_columns<E: Scalar>(sum: &mut [E], width: usize, all: &[E], (first, total): (usize, usize)) {
    let rows = sum.chunks_exact_mut(width.max(1));
    for (sum, row) in rows.zip(all.chunks_exact(total.max(1))) {
        let own = &row[first..first + width];
        sum.iter_mut().zip(own).for_each(|(sum, &c)| *sum += c);
    }
}

/// Of copies, for every operand needs an identity of its own.
fn in_tensor_operations<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: &[Matrix<E, D>],
    tape: T,
) -> (Matrix<E, D>, T) {
    let copies = x.iter().map(|x| separate(x.retaped::<T>()));
    let joined = copies.reduce(|joined: Matrix<E, D, T>, next: Matrix<E, D, T>| {
        (joined, next).concat_along(Axis::<1>).realize()
    });
    let joined = joined.unwrap_or_else(|| x[0].retaped::<T>());
    let (joined, rest) = joined.split_tape();
    (joined, tape.merge(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use equilibria_testing::random_matrix;

    /// Value and gradients of Σ y³/3, once in dfdx's own operations; the second matrix stands in two places.
    #[test]
    fn both_ways_give_the_same_value_and_gradients() {
        let device = Cpu::default();
        let matrix = |width, seed| random_matrix::<f64, _>(&device, (4, width), seed);
        let x = [(3, 1), (2, 2)].map(|(width, seed)| matrix(width, seed).expect("memory"));
        let x = [x[0].clone(), x[1].clone(), x[1].clone()];
        let everything = |by_hand: bool| {
            let (y, tape) = match by_hand {
                true => concatenate(&x, OwnedTape::default()).expect("they fit"),
                false => in_tensor_operations(&x, OwnedTape::default()),
            };
            let loss = y.clone().put_tape(tape).powi(3) / 3.0;
            let gradients = loss.sum::<Rank0, _>().backward();
            let gradients = x[..2].iter().map(|x| gradients.get(x).as_vec());
            (y.as_vec(), gradients.collect::<Vec<_>>())
        };
        let (y, gradients) = everything(true);
        assert_eq!((y.clone(), gradients.clone()), everything(false));
        let first: Vec<f64> = y
            .chunks_exact(7)
            .flat_map(|row| &row[..3])
            .copied()
            .collect();
        assert_eq!(first, x[0].as_vec());
        let twice: Vec<f64> = x[1].as_vec().iter().map(|x| 2.0 * x * x).collect();
        approx::assert_relative_eq!(gradients[1][..], twice[..], epsilon = 1e-14);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let zeros =
            |shape: (usize, usize)| -> Matrix<f32, Cpu> { Cpu::default().zeros_like(&shape) };
        let error = concatenate::<f32, Cpu, _>(&[], NoneTape).err();
        assert!(matches!(error, Some(Error::Missing { .. })), "{error:?}");
        let error = concatenate(&[zeros((2, 3)), zeros((3, 3))], NoneTape).err();
        assert!(matches!(error, Some(Error::Shape { .. })), "{error:?}");
    }
}
