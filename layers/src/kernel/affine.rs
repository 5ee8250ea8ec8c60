//! Affine map with its weights packed for products.

use std::sync::{Arc, Mutex, OnceLock};

use equilibria_core::parallel::lock;
use equilibria_core::simd::{Packed, RoundedPacked};
use equilibria_core::{to_host, vectorized, Backend, Matrix, ParameterGradient, Scalar};

use super::{add_rows, add_to_rows};

/// Terms of a sum at which rounding its products begins to pay.
const ROUNDED_TERMS: usize = 128;

/// `y = x Wᵀ + b`.
pub struct Affine<E> {
    /// Wᵀ, `[inputs, outputs]`.
    forward: Packed<E>,
    /// W, packed when the first cotangent comes.
    backward: OnceLock<Packed<E>>,
    /// Wᵀ and W in bf16, packed when they are first wanted; `None` where that would not be faster.
    rounded_forward: OnceLock<Option<RoundedPacked<E>>>,
    rounded_backward: OnceLock<Option<RoundedPacked<E>>>,
    bias: Vec<E>,
}

impl<E: Scalar> Affine<E> {
    /// Copies W, `[outputs, inputs]`, and b, `[1, outputs]`.
    pub fn new<D: Backend<E>>(weight: &Matrix<E, D>, bias: &Matrix<E, D>) -> Self {
        let (bias, weight) = (to_host(bias), to_host(weight));
        let inputs = weight.len() / bias.len();
        Self {
            forward: Packed::transposed(&weight, inputs, bias.len()),
            backward: OnceLock::new(),
            rounded_forward: OnceLock::new(),
            rounded_backward: OnceLock::new(),
            bias,
        }
    }

    /// Width of x.
    pub fn inputs(&self) -> usize {
        self.forward.inner()
    }

    /// b, `[outputs]`.
    pub fn bias(&self) -> &[E] {
        &self.bias
    }

    /// `y = x Wᵀ + b`, `[rows, inputs]` to `[rows, outputs]`.
    pub fn forward(&self, x: &[E], y: &mut [E]) {
        self.product(x, y);
        add_to_rows(y, &self.bias);
    }

    /// [`forward`](Self::forward) by all threads.
    pub fn forward_shared(&self, x: &[E], y: &mut [E]) {
        self.forward.multiply_shared(x, y);
        add_to_rows(y, &self.bias);
    }

    /// `y = x Wᵀ`, without bias. Rows that are all the same, as where a solve starts, are multiplied once.
    pub fn product(&self, x: &[E], y: &mut [E]) {
        let shape = (self.forward.inner(), self.forward.columns());
        once_if_equal(x, y, shape, |x, y| self.forward.multiply(x, y));
    }

    /// [`product`](Self::product) with the factors of all rows but the first `exact_rows` rounded to bf16, where the processor
    /// is faster with them. What a row gives does not depend on the others. `scratch` is overwritten.
    pub fn product_rounded(&self, x: &[E], y: &mut [E], exact_rows: usize, scratch: &mut Vec<u32>) {
        let (inputs, outputs) = (self.forward.inner(), self.forward.columns());
        let all_exact = exact_rows.saturating_mul(inputs) >= x.len();
        let Some(weight) = rounded(&self.rounded_forward, &self.forward, all_exact) else {
            return self.product(x, y);
        };
        let (exact_x, x) = x.split_at(exact_rows * inputs);
        let (exact_y, y) = y.split_at_mut(exact_rows * outputs);
        self.product(exact_x, exact_y);
        once_if_equal(x, y, (inputs, outputs), |x, y| {
            weight.multiply(x, y, scratch)
        });
    }

    /// Whether some of the rounded products differ from the others.
    pub fn rounds(&self) -> bool {
        let terms = self.forward.inner().max(self.forward.columns());
        terms >= ROUNDED_TERMS && RoundedPacked::<E>::available()
    }

    /// `x̄ = u W`: the cotangent of `x` due to the cotangent `u` of `y`.
    pub fn backward(&self, u: &[E], x_bar: &mut [E]) {
        self.weight().multiply(u, x_bar);
    }

    /// [`backward`](Self::backward) by all threads.
    pub fn backward_shared(&self, u: &[E], x_bar: &mut [E]) {
        self.weight().multiply_shared(u, x_bar);
    }

    /// [`backward`](Self::backward) with rounded factors, as in [`product_rounded`](Self::product_rounded).
    pub fn backward_rounded(
        &self,
        u: &[E],
        x_bar: &mut [E],
        exact_rows: usize,
        scratch: &mut Vec<u32>,
    ) {
        let all_exact = exact_rows.saturating_mul(self.bias.len()) >= u.len();
        let Some(weight) = rounded(&self.rounded_backward, self.weight(), all_exact) else {
            return self.backward(u, x_bar);
        };
        let (exact_u, u) = u.split_at(exact_rows * weight.inner());
        let (exact_x_bar, x_bar) = x_bar.split_at_mut(exact_rows * weight.columns());
        self.backward(exact_u, exact_x_bar);
        weight.multiply(u, x_bar, scratch);
    }

    /// `x̄ = x̄ + u W`.
    pub fn backward_add(&self, u: &[E], x_bar: &mut [E]) {
        self.weight().multiply_add(u, x_bar);
    }

    fn weight(&self) -> &Packed<E> {
        self.backward.get_or_init(|| self.forward.transpose())
    }

    /// Adds the gradients of weight, `uᵀ x`, and bias, the sum of the rows of `u`.
    pub fn parameters_backward(
        &self,
        x: &[E],
        u: &[E],
        weight: &mut ParameterGradient<E>,
        bias: &mut ParameterGradient<E>,
    ) {
        weight.add_product(u, x);
        add_rows(bias.sum(), u);
    }
}

/// The rounded packing of `weight`, unless it is not wanted or would not be faster.
fn rounded<'a, E: Scalar>(
    packing: &'a OnceLock<Option<RoundedPacked<E>>>,
    weight: &Packed<E>,
    all_exact: bool,
) -> Option<&'a RoundedPacked<E>> {
    if all_exact || weight.inner() < ROUNDED_TERMS {
        return None;
    }
    packing.get_or_init(|| RoundedPacked::new(weight)).as_ref()
}

/// Lets `multiply` take rows of the first width of `shape` to rows of the second, or one of them if they are all the same.
fn once_if_equal<E: Scalar>(
    x: &[E],
    y: &mut [E],
    (inputs, outputs): (usize, usize),
    multiply: impl FnOnce(&[E], &mut [E]),
) {
    if x.len() > inputs && equal_rows(x, inputs) {
        let (row, others) = y.split_at_mut(outputs);
        multiply(&x[..inputs], row);
        for other in others.chunks_exact_mut(outputs) {
            other.copy_from_slice(row);
        }
    } else {
        multiply(x, y);
    }
}

vectorized! {
    /// Whether all rows of `width` numbers are the same.
    fn equal_rows<'a, E, S>(_simd: S, x: &'a [E], width: usize) -> bool {
        let equal = |a: &[E], b: &[E]| a.iter().zip(b).fold(true, |equal, (a, b)| equal & (a == b));
        let (first, others) = x.split_at(width);
        others.chunks_exact(width).all(|row| equal(row, first))
    }
}

/// Keeps the [`Affine`] of a weight and a bias until one of them changes. Clones share it.
pub struct AffineCache<E: Scalar, D: Backend<E>>(Arc<Mutex<Option<Packing<E, D>>>>);

/// An affine map with the tensors it was made from: as long as these are kept, what is in their storage cannot change.
struct Packing<E: Scalar, D: Backend<E>> {
    weight: Matrix<E, D>,
    bias: Matrix<E, D>,
    affine: Arc<Affine<E>>,
}

impl<E: Scalar, D: Backend<E>> Packing<E, D> {
    fn is_of(&self, weight: &Matrix<E, D>, bias: &Matrix<E, D>) -> bool {
        D::same_storage(&self.weight, weight) && D::same_storage(&self.bias, bias)
    }
}

impl<E: Scalar, D: Backend<E>> AffineCache<E, D> {
    /// Whether it keeps the affine map of `weight` and `bias`.
    pub fn holds(&self, weight: &Matrix<E, D>, bias: &Matrix<E, D>) -> bool {
        (lock(&self.0).as_ref()).is_some_and(|kept| kept.is_of(weight, bias))
    }

    /// The affine map of `weight`, `[outputs, inputs]`, and `bias`, `[1, outputs]`.
    pub fn get(&self, weight: &Matrix<E, D>, bias: &Matrix<E, D>) -> Arc<Affine<E>> {
        let kept = lock(&self.0)
            .as_ref()
            .filter(|kept| kept.is_of(weight, bias))
            .map(|kept| kept.affine.clone());
        kept.unwrap_or_else(|| {
            // Unlocked: a thread that waits for the others to pack may meet with this cache in what it does meanwhile.
            let affine = Arc::new(Affine::new(weight, bias));
            *lock(&self.0) = Some(Packing {
                weight: weight.clone(),
                bias: bias.clone(),
                affine: affine.clone(),
            });
            affine
        })
    }
}

impl<E: Scalar, D: Backend<E>> Default for AffineCache<E, D> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<E: Scalar, D: Backend<E>> Clone for AffineCache<E, D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::*;
    use equilibria_core::from_host;

    use super::*;

    fn row(values: [f64; 2]) -> Matrix<f64, Cpu> {
        from_host(&Cpu::default(), values.to_vec(), (1, 2)).expect("two numbers")
    }

    #[test]
    fn weights_are_packed_once_until_they_change() {
        let (mut weight, bias) = (row([1.0, 2.0]).reshape_like(&(2, 1)), row([3.0, 4.0]));
        let cache = AffineCache::default();
        let first = cache.get(&weight, &bias);
        assert!(Arc::ptr_eq(&first, &cache.clone().get(&weight, &bias)));
        weight.copy_from(&[5.0, 6.0]);
        let mut y = [0.0; 2];
        cache.get(&weight, &bias).forward(&[1.0], &mut y);
        approx::assert_relative_eq!(y[..], [8.0, 10.0]);
        let other = row([0.0, 0.0]);
        cache.get(&weight, &other).forward(&[1.0], &mut y);
        approx::assert_relative_eq!(y[..], [5.0, 6.0]);
    }

    /// [1 2; 3 4] and b = (5, 6): equal rows take the short way and give what each gives alone.
    #[test]
    fn equal_rows_give_what_one_row_gives() {
        let device = Cpu::default();
        let weight = from_host(&device, vec![1.0, 2.0, 3.0, 4.0], (2, 2)).expect("four numbers");
        let affine = Affine::new(&weight, &row([5.0, 6.0]));
        let mut y = [0.0; 6];
        affine.forward(&[1.0, -1.0, 1.0, -1.0, 1.0, -1.0], &mut y);
        approx::assert_relative_eq!(y[..], [4.0, 5.0, 4.0, 5.0, 4.0, 5.0]);
        affine.forward(&[1.0, -1.0, 0.0, 0.0, 1.0, -1.0], &mut y);
        approx::assert_relative_eq!(y[..], [4.0, 5.0, 5.0, 6.0, 4.0, 5.0]);
        affine.backward(&[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &mut y);
        approx::assert_relative_eq!(y[..], [1.0, 2.0, 3.0, 4.0, 4.0, 6.0]);
    }
}
