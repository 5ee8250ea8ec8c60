//! Some columns of a matrix.

use std::ops::Range;

use dfdx::prelude::*;
use equilibria_core::{
    from_host, separate, simd, to_host, AnyTape, Backend, Error, Matrix, Result, Scalar,
};

use equilibria_core::recorded;

/// The columns `range` of `x`. In the equation of a layer, use [`Vocabulary::columns`](crate::Vocabulary::columns).
///
/// In place of dfdx's `slice`, whose backward pass *sets* the gradient of the sliced tensor instead of adding to it, and so
/// drops what other uses of the same tensor have left there.
///
/// # Shapes
/// `x`: `[batch, width]`; the result: `[batch, range.len()]`.
///
/// # Errors
/// [`Error::Shape`] if the range is empty or leaves the matrix, [`Error::Device`] if memory runs out.
pub fn columns<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    range: Range<usize>,
) -> Result<Matrix<E, D, T>> {
    let (rows, width) = *x.shape();
    if range.is_empty() || range.end > width {
        return Err(Error::Shape {
            what: "a range of columns".to_owned(),
            expected: format!("not empty, within 0..{width}"),
            got: format!("{range:?}"),
        });
    }
    if !D::ON_HOST {
        // dfdx's `slice` sets the gradient where it should add to it, so it works on a copy that nothing else uses.
        return Ok(separate(x).slice((.., range)).realize());
    }
    let (x, tape) = x.split_tape();
    let mut values = Vec::with_capacity(rows * range.len());
    for row in to_host(&x).chunks_exact(width) {
        values.extend_from_slice(&row[range.clone()]);
    }
    let y = from_host(x.device(), values, (rows, range.len()))?;
    Ok(recorded(y, tape, move |gradients, cotangent| {
        D::add_to_gradient(gradients, &x, |x_bar| {
            let rows = x_bar.chunks_exact_mut(width);
            for (x_bar, cotangent) in rows.zip(cotangent.chunks_exact(range.len())) {
                simd::add_scaled(&mut x_bar[range.clone()], E::one(), cotangent);
            }
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ x² + 3 Σ (columns 1 and 2) + 5 Σ (columns 0 and 1), whichever is computed first.
    #[test]
    fn its_gradient_adds_to_that_of_other_uses() {
        let device = Cpu::default();
        let x: Matrix<f64, Cpu> =
            from_host(&device, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (2, 3)).expect("memory");
        for square_first in [false, true] {
            let square = |x: &Matrix<f64, Cpu>, tape| {
                let sum = x.clone().put_tape(tape).square().sum::<Rank0, _>();
                sum.split_tape()
            };
            let part = |range, factor: f64, tape| {
                let part = columns(x.clone().put_tape(tape), range).expect("within");
                (part * factor).sum::<Rank0, _>().split_tape()
            };
            let tape = OwnedTape::default();
            let (a, b, c, tape) = if square_first {
                let (a, tape) = square(&x, tape);
                let (b, tape) = part(1..3, 3.0, tape);
                let (c, tape) = part(0..2, 5.0, tape);
                (a, b, c, tape)
            } else {
                let (b, tape) = part(1..3, 3.0, tape);
                let (c, tape) = part(0..2, 5.0, tape);
                let (a, tape) = square(&x, tape);
                (a, b, c, tape)
            };
            let loss = b.put_tape(tape) + c + a;
            // 2 x, plus 5, 8 and 3 by column.
            let gradient = loss.backward().get(&x).as_vec();
            assert_eq!(gradient, [7.0, 12.0, 9.0, 13.0, 18.0, 15.0]);
        }
    }

    #[test]
    fn a_range_outside_is_refused() {
        let x: Matrix<f32, Cpu> = Cpu::default().zeros_like(&(2, 3));
        for range in [1..1, 2..4] {
            let error = columns(x.clone(), range.clone()).err();
            assert!(matches!(error, Some(Error::Shape { .. })), "{range:?}");
        }
    }
}
