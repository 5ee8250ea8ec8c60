//! Operations on every entry for itself.
//!
//! dfdx has all of them; for the CPU these are written by hand, since around small equilibria they take as long as the
//! products do.

use dfdx::prelude::*;
use equilibria_core::{
    from_host, parallel, simd, to_host, try_contiguous, vectorized, AnyTape, Backend, Error,
    Matrix, Result, Scalar,
};

use crate::kernel;
use equilibria_core::recorded;

/// Entries one thread takes at a time.
const SHARE: usize = 1 << 12;

/// Numbers that are added up in the precision they have.
const SHORT: usize = 1 << 8;

/// `σ(x) = 1 / (1 + exp(−x))`, on the CPU by all threads.
///
/// # Errors
/// [`Error::Device`] if memory runs out.
pub fn sigmoid<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
) -> Result<Matrix<E, D, T>> {
    if !D::ON_HOST {
        return x.try_sigmoid().map_err(Error::device);
    }
    let apply = |values: &mut [E]| {
        parallel::map(values.chunks_mut(SHARE), |share| {
            for value in share {
                *value = E::one() / (E::one() + (-*value).exp());
            }
        });
    };
    entrywise(x, apply, |x_bar, y, y_bar| through_sigmoid(x_bar, y, y_bar))
}

/// `max(x, 0)`. NaN stays NaN, where dfdx's `relu` gives 0: what has gone wrong is to be seen.
///
/// # Errors
/// [`Error::Device`] if memory runs out.
pub fn relu<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
) -> Result<Matrix<E, D, T>> {
    if !D::ON_HOST {
        // NaN is not below 0, and so is kept.
        let negative = x.lt(E::zero());
        let zeros: Matrix<E, D> = (x.device().try_zeros_like(x.shape())).map_err(Error::device)?;
        let chosen = negative.try_choose(zeros.retaped::<T>(), x);
        return chosen.map_err(Error::device);
    }
    entrywise(
        x,
        |values| kernel::relu(values),
        |x_bar, y, y_bar| through_relu(x_bar, y, y_bar),
    )
}

/// `y = f(x)` on the host, where `apply` turns x into y and `pull_back`, which is given x̄, y and ȳ, adds f′(x) ȳ to x̄.
fn entrywise<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    apply: impl FnOnce(&mut [E]),
    pull_back: impl FnOnce(&mut [E], &[E], &[E]) + 'static,
) -> Result<Matrix<E, D, T>> {
    let (x, tape) = try_contiguous(x)?.split_tape();
    let mut values = to_host(&x);
    apply(&mut values);
    let kept = match T::OWNS_TAPE {
        true => values.clone(),
        false => Vec::new(),
    };
    let y = from_host(x.device(), values, *x.shape())?;
    Ok(recorded(y, tape, move |gradients, y_bar| {
        D::add_to_gradient(gradients, &x, |x_bar| pull_back(x_bar, &kept, y_bar))
    }))
}

/// `x ⊙ m` where m is data, as a mask is: nobody asks for its gradient, which is left out.
///
/// # Errors
/// [`Error::Shape`] if x and m are not of the same shape, [`Error::Device`] if memory runs out.
pub fn times_data<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    m: &Matrix<E, D>,
) -> Result<Matrix<E, D, T>> {
    if x.shape() != m.shape() {
        return Err(Error::Shape {
            what: "the factor of a product by entries".to_owned(),
            expected: format!("{:?}, as the other has", x.shape()),
            got: format!("{:?}", m.shape()),
        });
    }
    if !D::ON_HOST {
        return x.try_mul(m.clone()).map_err(Error::device);
    }
    times_values(x, to_host(m))
}

/// [`times_data`] of host values, row-major.
pub(super) fn times_values<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    m: Vec<E>,
) -> Result<Matrix<E, D, T>> {
    let (x, tape) = try_contiguous(x)?.split_tape();
    let mut values = to_host(&x);
    multiply(&mut values, &m);
    let y = from_host(x.device(), values, *x.shape())?;
    Ok(recorded(y, tape, move |gradients, cotangent| {
        D::add_to_gradient(gradients, &x, |x_bar| add_products(x_bar, &m, cotangent))
    }))
}

/// The mean of all entries, `[1, 1]`.
///
/// # Errors
/// [`Error::Device`] if memory runs out.
pub fn mean<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
) -> Result<Matrix<E, D, T>> {
    if !D::ON_HOST {
        let mean = x.try_mean::<Rank0, Axes2<0, 1>>();
        return (mean.and_then(|mean| mean.try_reshape_like(&(1, 1)))).map_err(Error::device);
    }
    let (x, tape) = try_contiguous(x)?.split_tape();
    let (rows, columns) = *x.shape();
    let share = 1.0 / (rows * columns) as f64;
    let mean = E::of(share * total(&to_host(&x)));
    let share = E::of(share);
    let y = from_host(x.device(), vec![mean], (1, 1))?;
    Ok(recorded(y, tape, move |gradients, cotangent| {
        D::add_to_gradient(gradients, &x, |x_bar| {
            add_to_all(x_bar, share * cotangent[0])
        })
    }))
}

/// Row s of x times c_s.
///
/// # Shapes
/// `c`: `[batch, 1]`; `x` and the result: `[batch, width]`.
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit, [`Error::Device`] if memory runs out.
pub fn scale_rows<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    c: &Matrix<E, D>,
    x: Matrix<E, D, T>,
) -> Result<Matrix<E, D, T>> {
    let shape = *x.shape();
    if *c.shape() != (shape.0, 1) {
        return Err(Error::Shape {
            what: "the factors of rows".to_owned(),
            expected: format!("{:?}", (shape.0, 1)),
            got: format!("{:?}", c.shape()),
        });
    }
    if !D::ON_HOST {
        let c = try_contiguous(c.retaped::<T>())?.reshape_like(&(shape.0,));
        let c = c.try_broadcast_like::<_, Axis<1>>(&shape);
        return c.and_then(|c| x.try_mul(c)).map_err(Error::device);
    }
    let (x, tape) = try_contiguous(x)?.split_tape();
    let (factors, values) = (to_host(c), to_host(&x));
    let mut scaled = vec![E::zero(); values.len()];
    add_scaled_rows(&mut scaled, &factors, &values);
    let (c, y) = (c.clone(), from_host(x.device(), scaled, shape)?);
    Ok(recorded(y, tape, move |gradients, cotangent| {
        D::add_to_gradient(gradients, &c, |c_bar| {
            add_row_products(c_bar, &values, cotangent)
        })?;
        D::add_to_gradient(gradients, &x, |x_bar| {
            add_scaled_rows(x_bar, &factors, cotangent);
        })
    }))
}

vectorized! {
    /// `x̄ ← x̄ + y (1 − y) ȳ`.
    fn through_sigmoid<'a, E, S>(_simd: S, x_bar: &'a mut [E], y: &'a [E], y_bar: &'a [E]) {
        for ((x_bar, &y), &y_bar) in x_bar.iter_mut().zip(y).zip(y_bar) {
            *x_bar += y * (E::one() - y) * y_bar;
        }
    }

    /// `x̄ ← x̄ + ȳ` where y > 0.
    fn through_relu<'a, E, S>(_simd: S, x_bar: &'a mut [E], y: &'a [E], y_bar: &'a [E]) {
        for ((x_bar, &y), &y_bar) in x_bar.iter_mut().zip(y).zip(y_bar) {
            *x_bar += if y > E::zero() { y_bar } else { E::zero() };
        }
    }

    /// `Σ_i x_i`, of short sums that lose next to no digit; in f32, a long one would lose most of them.
    fn total<'a, E, S>(simd: S, x: &'a [E]) -> f64 {
        x.chunks(SHORT).map(|x| simd::sum(simd, x).wide()).sum()
    }

    /// `x ← x + c`.
    fn add_to_all<'a, E, S>(_simd: S, x: &'a mut [E], c: E) {
        for x in x {
            *x += c;
        }
    }

    /// `x ← x ⊙ m`.
    fn multiply<'a, E, S>(_simd: S, x: &'a mut [E], m: &'a [E]) {
        for (x, &m) in x.iter_mut().zip(m) {
            *x *= m;
        }
    }

    /// `x ← x + a ⊙ b`.
    fn add_products<'a, E, S>(_simd: S, x: &'a mut [E], a: &'a [E], b: &'a [E]) {
        for ((x, &a), &b) in x.iter_mut().zip(a).zip(b) {
            *x += a * b;
        }
    }

    /// Row s of x plus c_s times row s of a.
    fn add_scaled_rows<'a, E, S>(_simd: S, x: &'a mut [E], c: &'a [E], a: &'a [E]) {
        let width = x.len().checked_div(c.len()).unwrap_or(0).max(1);
        let rows = x.chunks_exact_mut(width).zip(a.chunks_exact(width));
        for ((x, a), &c) in rows.zip(c) {
            for (x, &a) in x.iter_mut().zip(a) {
                *x += c * a;
            }
        }
    }
}

/// `c_s ← c_s + ⟨a_s, b_s⟩` for every row.
fn add_row_products<E: Scalar>(c: &mut [E], a: &[E], b: &[E]) {
    let width = a.len().checked_div(c.len()).unwrap_or(0).max(1);
    let rows = a.chunks_exact(width).zip(b.chunks_exact(width));
    for (c, (a, b)) in c.iter_mut().zip(rows) {
        *c += E::of(simd::dot(a, b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use equilibria_testing::{random_matrix, relative_difference};

    type Matrix64 = Matrix<f64, Cpu>;
    type Traced64 = Matrix<f64, Cpu, OwnedTape<f64, Cpu>>;

    /// Value of y and gradients of `of`, where the loss is Σ y² + Σ x²: what other uses have left of a gradient must stay.
    fn everything(
        x: &Matrix64,
        of: &[&Matrix64],
        operation: impl FnOnce(Traced64) -> Traced64,
    ) -> Vec<f64> {
        let tape = OwnedTape::default();
        let (square, tape) = x.clone().put_tape(tape).square().split_tape();
        let (y, tape) = operation(x.clone().put_tape(tape)).split_tape();
        let loss = y.clone().put_tape(tape).square().sum::<Rank0, _>() + square.sum::<Rank0, _>();
        let gradients = loss.backward();
        let gradients = of.iter().flat_map(|tensor| gradients.get(*tensor).as_vec());
        y.as_vec().into_iter().chain(gradients).collect()
    }

    /// Each against dfdx's own operations, more entries than one thread takes.
    #[test]
    fn values_and_gradients_are_those_of_dfdx() {
        let device = Cpu::default();
        let matrix = |shape, seed| random_matrix::<f64, _>(&device, shape, seed).expect("memory");
        let shape = (70, 90);
        let (x, m, c) = (matrix(shape, 1), matrix(shape, 2), matrix((70, 1), 3));
        let ours = [
            everything(&x, &[&x], |x| sigmoid(x).expect("memory")),
            everything(&x, &[&x], |x| relu(x).expect("memory")),
            everything(&x, &[&x], |x| times_data(x, &m).expect("they fit")),
            everything(&x, &[&x, &c], |x| scale_rows(&c, x).expect("they fit")),
            everything(&x, &[&x], |x| mean(x).expect("memory")),
        ];
        let theirs = [
            everything(&x, &[&x], |x| x.sigmoid()),
            everything(&x, &[&x], |x| x.relu()),
            everything(&x, &[&x], |x| x * m.clone()),
            everything(&x, &[&x, &c], |x| {
                let c = c.retaped::<OwnedTape<f64, Cpu>>().reshape_like(&(70,));
                x * c.broadcast_like::<_, Axis<1>>(&shape)
            }),
            everything(&x, &[&x], |x| {
                x.mean::<Rank0, Axes2<0, 1>>().reshape_like(&(1, 1))
            }),
        ];
        // Sums of at most 6300 numbers, ε = 2e-16 each, at random.
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!(relative_difference(ours, theirs) < 1e-13);
        }
    }

    /// dfdx keeps the gradient of a permuted tensor in the order of the numbers it is a view of.
    #[test]
    fn views_have_gradients_in_their_own_order() {
        let x = random_matrix::<f64, _>(&Cpu::default(), (3, 5), 1).expect("memory");
        let turned = |x: Traced64| x.permute::<_, Axes2<1, 0>>();
        let ours = everything(&x, &[&x], |x| relu(turned(x)).expect("memory"));
        let theirs = everything(&x, &[&x], |x| turned(x).relu());
        assert!(relative_difference(&ours, &theirs) < 1e-15);
    }

    #[test]
    fn nan_is_not_hidden_by_relu() {
        let x = from_host(&Cpu::default(), vec![f64::NAN, -1.0, 2.0], (1, 3));
        let y = relu(x.expect("memory")).expect("memory").as_vec();
        assert!(y[0].is_nan());
        approx::assert_relative_eq!(y[1..], [0.0, 2.0]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let matrix = |shape: (usize, usize)| -> Matrix64 { Cpu::default().zeros_like(&shape) };
        let x = || matrix((2, 3));
        let errors = [
            times_data(x(), &matrix((3, 2))).err(),
            scale_rows(&matrix((1, 2)), x()).err(),
        ];
        for error in errors {
            assert!(matches!(error, Some(Error::Shape { .. })), "{error:?}");
        }
    }
}
