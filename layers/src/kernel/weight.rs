//! A matrix packed for products.

use std::sync::{Arc, Mutex, OnceLock};

use equilibria_core::parallel::lock;
use equilibria_core::simd::{Packed, RoundedPacked};
use equilibria_core::{to_host, vectorized, Backend, Element, Matrix, Scalar};

/// Terms of a sum at which rounding its products begins to pay.
const ROUNDED_TERMS: usize = 128;

/// A matrix W, `[outputs, inputs]`, for the products x Wᵀ and, the other way, x W.
pub struct Weight<E> {
    /// Wᵀ, `[inputs, outputs]`.
    forward: Packed<E>,
    /// W, packed when it is first wanted.
    transposed: OnceLock<Packed<E>>,
    /// Wᵀ and W in bf16, packed when they are first wanted; `None` where that would not be faster.
    rounded: [OnceLock<Option<RoundedPacked<E>>>; 2],
}

impl<E: Element> Weight<E> {
    /// Copies W, `[outputs, inputs]`.
    pub fn new<D: Backend<E>>(weight: &Matrix<E, D>) -> Self
    where
        E: Scalar,
    {
        use dfdx::prelude::HasShape;
        let (outputs, inputs) = *weight.shape();
        Self {
            forward: Packed::transposed(&to_host(weight), inputs, outputs),
            transposed: OnceLock::new(),
            rounded: Default::default(),
        }
    }

    /// Width of x in x Wᵀ.
    pub fn inputs(&self) -> usize {
        self.forward.inner()
    }

    /// Width of x Wᵀ.
    pub fn outputs(&self) -> usize {
        self.forward.columns()
    }

    /// `y = x Wᵀ`, or `y = x W` with the transpose.
    pub fn multiply(&self, transposed: bool, x: &[E], y: &mut [E]) {
        self.packed(transposed).multiply(x, y);
    }

    /// [`multiply`](Self::multiply) by all threads.
    pub fn multiply_shared(&self, transposed: bool, x: &[E], y: &mut [E]) {
        self.packed(transposed).multiply_shared(x, y);
    }

    /// [`multiply`](Self::multiply), where rows that are all the same, as where a solve starts, are multiplied once.
    pub fn multiply_equal(&self, transposed: bool, x: &[E], y: &mut [E]) {
        let weight = self.packed(transposed);
        let (inputs, outputs) = (weight.inner(), weight.columns());
        once_if_equal(x, y, (inputs, outputs), |x, y| weight.multiply(x, y));
    }

    /// [`multiply_equal`](Self::multiply_equal) with factors rounded to bf16, where that is faster. What a row gives does not depend
    /// on the others. `scratch` is work space.
    pub fn multiply_rounded(&self, transposed: bool, x: &[E], y: &mut [E], scratch: &mut Vec<u32>) {
        let exact = self.packed(transposed);
        let rounded = &self.rounded[usize::from(transposed)];
        let rounded = match exact.inner() < ROUNDED_TERMS {
            true => &None,
            false => rounded.get_or_init(|| RoundedPacked::new(exact)),
        };
        let (inputs, outputs) = (exact.inner(), exact.columns());
        once_if_equal(x, y, (inputs, outputs), |x, y| match rounded {
            Some(rounded) => rounded.multiply(x, y, scratch),
            None => exact.multiply(x, y),
        });
    }

    /// Whether some of the rounded products differ from the others.
    pub fn rounds(&self) -> bool {
        let terms = self.inputs().max(self.outputs());
        terms >= ROUNDED_TERMS && RoundedPacked::<E>::pays()
    }

    fn packed(&self, transposed: bool) -> &Packed<E> {
        match transposed {
            false => &self.forward,
            true => self.transposed.get_or_init(|| self.forward.transpose()),
        }
    }
}

/// Lets `multiply` take rows of the first width of `shape` to rows of the second, or one of them if they are all the same.
fn once_if_equal<E: Element>(
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

/// Keeps a [`Weight`] until the tensor it was made from changes. Clones share it.
pub struct WeightCache<E: Scalar, D: Backend<E>>(Arc<Mutex<Option<Packing<E, D>>>>);

/// A packed matrix with its tensor: as long as this is kept, what is in its storage cannot change.
struct Packing<E: Scalar, D: Backend<E>> {
    tensor: Matrix<E, D>,
    weight: Arc<Weight<E>>,
}

impl<E: Scalar, D: Backend<E>> WeightCache<E, D> {
    /// Whether it keeps that of `tensor`.
    pub fn holds(&self, tensor: &Matrix<E, D>) -> bool {
        let kept = lock(&self.0);
        (kept.as_ref()).is_some_and(|kept| D::same_storage(&kept.tensor, tensor))
    }

    /// The packed matrix of `tensor`, `[outputs, inputs]`.
    pub fn get(&self, tensor: &Matrix<E, D>) -> Arc<Weight<E>> {
        let kept = lock(&self.0)
            .as_ref()
            .filter(|kept| D::same_storage(&kept.tensor, tensor))
            .map(|kept| kept.weight.clone());
        kept.unwrap_or_else(|| {
            // Without holding the lock: a thread that waits for the others to pack may meanwhile run a job that needs this cache.
            let weight = Arc::new(Weight::new(tensor));
            *lock(&self.0) = Some(Packing {
                tensor: tensor.clone(),
                weight: weight.clone(),
            });
            weight
        })
    }
}

impl<E: Scalar, D: Backend<E>> Default for WeightCache<E, D> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<E: Scalar, D: Backend<E>> Clone for WeightCache<E, D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::*;
    use equilibria_core::from_host;

    use super::*;

    #[test]
    fn weights_are_packed_once_until_they_change() {
        let device = Cpu::default();
        let mut tensor = from_host(&device, vec![1.0, 2.0], (2, 1)).expect("memory");
        let cache = WeightCache::default();
        let first = cache.get(&tensor);
        assert!(Arc::ptr_eq(&first, &cache.clone().get(&tensor)));
        tensor.copy_from(&[5.0, 6.0]);
        let mut y = [0.0; 2];
        cache.get(&tensor).multiply(false, &[1.0], &mut y);
        approx::assert_relative_eq!(y[..], [5.0, 6.0]);
    }

    /// [1 2; 3 4]: equal rows take the short way and give what each gives alone.
    #[test]
    fn equal_rows_give_what_one_row_gives() {
        let device = Cpu::default();
        let tensor = from_host(&device, vec![1.0, 2.0, 3.0, 4.0], (2, 2)).expect("memory");
        let weight = Weight::new(&tensor);
        let mut y = [0.0; 6];
        weight.multiply_equal(false, &[1.0, -1.0, 1.0, -1.0, 1.0, -1.0], &mut y);
        approx::assert_relative_eq!(y[..], [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0]);
        weight.multiply_equal(false, &[1.0, -1.0, 0.0, 0.0, 1.0, -1.0], &mut y);
        approx::assert_relative_eq!(y[..], [-1.0, -1.0, 0.0, 0.0, -1.0, -1.0]);
        weight.multiply(true, &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &mut y);
        approx::assert_relative_eq!(y[..], [1.0, 2.0, 3.0, 4.0, 4.0, 6.0]);
    }
}
