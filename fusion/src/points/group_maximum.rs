//! Maxima over groups of rows.

use dfdx::prelude::*;
use equilibria_core::{
    from_host, recorded, to_host, try_contiguous, AnyTape, Backend, Error, Matrix, Result, Scalar,
};

use super::gather_rows;

/// Of each `size` rows that follow one another the largest entry of each column: `[groups, width]` for `x` `[groups · size, width]`.
///
/// The gradient goes to one of them, the first where several are equal. dfdx's `max` would send it to each, and groups of neighbors
/// repeat rows: it would come out as often as these do. NaN is larger than every number, so that what has gone wrong is to be seen.
///
/// # Errors
/// [`Error::Shape`] unless the rows make whole groups, [`Error::Device`] if memory runs out.
pub fn group_maximum<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    size: usize,
) -> Result<Matrix<E, D, T>> {
    let (rows, width) = *x.shape();
    if size == 0 || !rows.is_multiple_of(size) {
        return Err(Error::Shape {
            what: "the rows of groups".to_owned(),
            expected: format!("a multiple of {size}, and a size above 0"),
            got: rows.to_string(),
        });
    }
    let shape = (rows / size, width);
    let (x, tape) = try_contiguous(x)?.split_tape();
    let values = to_host(&x);
    let mut places = Vec::with_capacity(shape.0 * width);
    for (group, values) in values.chunks_exact((size * width).max(1)).enumerate() {
        let first = group * size * width;
        let mut largest: Vec<usize> = (0..width).collect();
        for row in 1..size {
            for (column, largest) in largest.iter_mut().enumerate() {
                let (old, new) = (values[*largest], values[row * width + column]);
                if new > old || (new.is_nan() && !old.is_nan()) {
                    *largest = row * width + column;
                }
            }
        }
        places.extend(largest.into_iter().map(|place| first + place));
    }
    if !D::ON_HOST {
        let entries = x.put_tape(tape).try_reshape_like(&(rows * width, 1));
        let chosen = gather_rows(entries.map_err(Error::device)?, places)?;
        return chosen.try_reshape_like(&shape).map_err(Error::device);
    }
    let y = places.iter().map(|&place| values[place]).collect();
    let y = from_host(x.device(), y, shape)?;
    Ok(recorded(y, tape, move |gradients, y_bar| {
        D::add_to_gradient(gradients, &x, |x_bar| {
            (places.iter().zip(y_bar)).for_each(|(&place, &y)| x_bar[place] += y);
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_equal_entries_gets_the_gradient() {
        let values = vec![
            1.0, 5.0, 3.0, 5.0, 3.0, 2.0, -1.0, -2.0, -3.0, -1.0, -4.0, -9.0,
        ];
        let x: Matrix<f64, Cpu> = from_host(&Cpu::default(), values, (6, 2)).expect("memory");
        let y = group_maximum(x.clone().put_tape(OwnedTape::default()), 3).expect("two groups");
        assert_eq!(y.as_vec(), [3.0, 5.0, -1.0, -1.0]);
        let gradients = y.sum::<Rank0, _>().backward();
        let expected = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        assert_eq!(gradients.get(&x).as_vec(), expected);
        let error = group_maximum(x, 4).err();
        assert!(matches!(error, Some(Error::Shape { .. })), "{error:?}");
    }
}
