//! Linear combinations of matrices.

use dfdx::prelude::*;
use equilibria_core::recorded;
use equilibria_core::{
    copy_to_host, from_host, separate, simd, to_host, AnyTape, Backend, Error, Matrix, Result,
    Scalar,
};

use super::columns;

/// `Σ_i w_i x_i`, or `Σ_i x_i` without weights, and the tape it was recorded on.
///
/// On the CPU every matrix is read once, ahead and back; dfdx would expand each weight to a matrix, multiply and add.
///
/// # Shapes
/// `w`: `[1, N]`; `x`: N matrices of the shape of the result.
///
/// # Errors
/// [`Error::Missing`] if there are no matrices, [`Error::Shape`] if shapes do not fit.
pub fn linear_combination<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    w: Option<&Matrix<E, D>>,
    x: &[Matrix<E, D>],
    tape: T,
) -> Result<(Matrix<E, D>, T)> {
    let shape = check(w, x)?;
    if !D::ON_HOST {
        return in_tensor_operations(w, x, tape);
    }
    let weights = match w {
        Some(w) => to_host(w),
        None => vec![E::one(); x.len()],
    };
    let mut sum = vec![E::zero(); shape.0 * shape.1];
    let mut values = sum.clone();
    for (x, &weight) in x.iter().zip(&weights) {
        copy_to_host(x, &mut values);
        simd::add_scaled(&mut sum, weight, &values);
    }
    let sum = from_host(x[0].device(), sum, shape)?;
    let (x, w) = (x.to_vec(), w.cloned());
    let sum = recorded(sum, tape, move |gradients, cotangent| {
        pull_back(gradients, cotangent, &x, w.as_ref(), &weights)
    });
    Ok(sum.split_tape())
}

fn check<E: Scalar, D: Backend<E>>(
    w: Option<&Matrix<E, D>>,
    x: &[Matrix<E, D>],
) -> Result<(usize, usize)> {
    if x.is_empty() {
        return Err(Error::Missing {
            what: "a matrix to combine".to_owned(),
            remedy: "give at least one",
        });
    }
    let shapes: Vec<(usize, usize)> = x.iter().map(|x| *x.shape()).collect();
    let weights = w.map(|w| *w.shape());
    match shapes.first() {
        Some(first)
            if shapes.iter().all(|shape| shape == first)
                && weights.is_none_or(|shape| shape == (1, x.len())) =>
        {
            Ok(*first)
        }
        _ => Err(Error::Shape {
            what: "a linear combination".to_owned(),
            expected: "matrices of the same shape, and a weight for each".to_owned(),
            got: format!("matrices {shapes:?}, weights {weights:?}"),
        }),
    }
}

/// `x̄_i = w_i ȳ` and `w̄_i = ⟨x_i, ȳ⟩`.
fn pull_back<E: Scalar, D: Backend<E>>(
    gradients: &mut Gradients<E, D>,
    cotangent: &[E],
    x: &[Matrix<E, D>],
    w: Option<&Matrix<E, D>>,
    weights: &[E],
) -> Result<()> {
    for (x, &weight) in x.iter().zip(weights) {
        D::add_to_gradient(gradients, x, |x_bar| {
            simd::add_scaled(x_bar, weight, cotangent)
        })?;
    }
    let Some(w) = w else { return Ok(()) };
    let mut values = vec![E::zero(); cotangent.len()];
    D::add_to_gradient(gradients, w, |w_bar| {
        for (w_bar, x) in w_bar.iter_mut().zip(x) {
            copy_to_host(x, &mut values);
            *w_bar += E::of(simd::dot(&values, cotangent));
        }
    })
}

fn in_tensor_operations<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    w: Option<&Matrix<E, D>>,
    x: &[Matrix<E, D>],
    mut tape: T,
) -> Result<(Matrix<E, D>, T)> {
    let mut sum: Option<Matrix<E, D>> = None;
    for (index, x) in x.iter().enumerate() {
        let term = match (w, &sum) {
            (Some(w), _) => {
                let weight = columns(w.clone().put_tape(tape), index..index + 1)?;
                let weight = weight
                    .reshape_like(&())
                    .broadcast_like::<_, Axes2<0, 1>>(x.shape());
                weight * x.clone()
            }
            (None, Some(_)) => x.clone().put_tape(tape),
            // The next one may be the same tensor.
            (None, None) => separate(x.clone().put_tape(tape)),
        };
        let (next, rest) = match sum {
            Some(sum) => (term + sum).split_tape(),
            None => term.split_tape(),
        };
        (sum, tape) = (Some(next), rest);
    }
    Ok((sum.unwrap_or_else(|| x[0].clone()), tape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use equilibria_testing::{random_matrix, relative_difference};

    /// Value and gradients of Σ y², once in dfdx's own operations.
    #[test]
    fn both_ways_give_the_same_value_and_gradients() {
        let device = Cpu::default();
        let matrix = |shape, seed| random_matrix::<f64, _>(&device, shape, seed).expect("memory");
        let (w, x) = (
            matrix((1, 3), 1),
            [2, 3, 4].map(|seed| matrix((5, 7), seed)),
        );
        for w in [Some(&w), None] {
            let everything = |fast: bool| {
                // x_1 is used twice, and what other uses have left must stay.
                let (square, tape) = x[0]
                    .clone()
                    .put_tape(OwnedTape::default())
                    .square()
                    .split_tape();
                let (y, tape) = match fast {
                    true => linear_combination(w, &x, tape).expect("they fit"),
                    false => in_tensor_operations(w, &x, tape).expect("they fit"),
                };
                let loss = y.clone().put_tape(tape).square() + square;
                let gradients = loss.sum::<Rank0, _>().backward();
                let tensors = x.iter().chain(w);
                let gradients = tensors.flat_map(|tensor| gradients.get(tensor).as_vec());
                to_host(&y).into_iter().chain(gradients).collect::<Vec<_>>()
            };
            // Sums of at most 35 products, ε = 2e-16 each.
            assert!(relative_difference(&everything(true), &everything(false)) < 1e-14);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let device = Cpu::default();
        let matrix = |shape: (usize, usize)| -> Matrix<f32, Cpu> { device.zeros_like(&shape) };
        let one = [matrix((2, 3))];
        let bad = [
            (None, &[][..]),
            (Some(matrix((1, 2))), &one[..]),
            (None, &[matrix((2, 3)), matrix((2, 4))][..]),
        ];
        for (w, x) in bad {
            let error = linear_combination(w.as_ref(), x, NoneTape).err();
            let expected = match x.is_empty() {
                true => matches!(error, Some(Error::Missing { .. })),
                false => matches!(error, Some(Error::Shape { .. })),
            };
            assert!(expected, "{error:?}");
        }
    }
}
