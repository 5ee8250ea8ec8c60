//! Rows of a matrix by number.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::{
    from_host, recorded, to_host, try_contiguous, AnyTape, Backend, Error, Matrix, Result, Scalar,
};

/// The rows of these numbers, `[numbers, width]`; a row may come several times, and gets the sum of the gradients.
///
/// # Errors
/// [`Error::Shape`] for a number that is no row, [`Error::Device`] if memory runs out.
pub fn gather_rows<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    numbers: impl Into<Arc<[usize]>>,
) -> Result<Matrix<E, D, T>> {
    let ((rows, width), numbers) = (*x.shape(), numbers.into());
    if let Some(number) = numbers.iter().find(|&&number| number >= rows) {
        return Err(Error::Shape {
            what: "the number of a row to be gathered".to_owned(),
            expected: format!("below {rows}"),
            got: number.to_string(),
        });
    }
    let x = try_contiguous(x)?;
    if !D::ON_HOST {
        let device = x.device().clone();
        let places = device.try_tensor_from_vec(numbers.to_vec(), (numbers.len(),));
        let gathered = places.and_then(|places| x.try_gather::<(usize, usize), (usize,)>(places));
        return gathered.map_err(Error::device);
    }
    let (x, tape) = x.split_tape();
    let values = to_host(&x);
    let mut chosen = Vec::with_capacity(numbers.len() * width);
    for &number in &*numbers {
        chosen.extend_from_slice(&values[number * width..][..width]);
    }
    let y = from_host(x.device(), chosen, (numbers.len(), width))?;
    Ok(recorded(y, tape, move |gradients, y_bar| {
        D::add_to_gradient(gradients, &x, |x_bar| {
            for (&number, y_bar) in numbers.iter().zip(y_bar.chunks_exact(width.max(1))) {
                let row = &mut x_bar[number * width..][..width];
                row.iter_mut().zip(y_bar).for_each(|(x, &y)| *x += y);
            }
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_comes_twice_gets_both_gradients() {
        let x: Matrix<f64, Cpu> =
            from_host(&Cpu::default(), vec![1.0, 2.0, 3.0, 4.0], (2, 2)).expect("memory");
        let y = gather_rows(x.clone().put_tape(OwnedTape::default()), vec![1, 0, 1]).expect("rows");
        assert_eq!(y.as_vec(), [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        let gradients = (y.square() * 0.5).sum::<Rank0, _>().backward();
        assert_eq!(gradients.get(&x).as_vec(), [1.0, 2.0, 6.0, 8.0]);
        let error = gather_rows(x, vec![2]).err();
        assert!(matches!(error, Some(Error::Shape { .. })), "{error:?}");
    }
}
