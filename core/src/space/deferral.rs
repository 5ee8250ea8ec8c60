//! Gradients of products with the Jacobian that wait for a cotangent.

use crate::Scalar;

/// `⟨p, J v⟩`, whose gradient is wanted.
pub(super) struct Product<E> {
    number: usize,
    pub p: Vec<E>,
    pub v: Vec<E>,
}

/// Products whose gradients wait, all at one point.
///
/// The gradient of a penalty on the Jacobian and that of a cotangent at the same point go back through the same products
/// with weights: [`pull_back_tangent`](crate::KernelBlock::pull_back_tangent) takes both at the price of little more than
/// one. What a penalty counts in the loss is not known before the cotangent is either.
#[derive(Default)]
pub(super) struct Deferral<E> {
    /// The number under which products are put; none wait without.
    pub number: Option<usize>,
    /// The linearization point of all that wait.
    pub point: Vec<E>,
    pub waiting: Vec<Product<E>>,
}

impl<E: Scalar> Deferral<E> {
    /// Keeps a product at `point` for later; false if it may not wait, or if others wait at another point.
    pub fn put(&mut self, point: &[E], p: &[E], v: &[E]) -> bool {
        let Some(number) = self.number else {
            return false;
        };
        if self.waiting.is_empty() {
            self.point = point.to_vec();
        } else if self.point != point {
            return false;
        }
        let [p, v] = [p, v].map(<[E]>::to_vec);
        self.waiting.push(Product { number, p, v });
        true
    }

    /// One of the products that wait at `point`, if those that have come may go.
    pub fn take(&mut self, point: &[E]) -> Option<Product<E>> {
        match self.number {
            None if self.point == point => self.waiting.pop(),
            _ => None,
        }
    }

    /// Multiplies every product by the factor of its number, drops those of factor 0, and lets all go.
    pub fn join(&mut self, factors: &[f64]) {
        self.number = None;
        let factor = |product: &Product<E>| factors.get(product.number).copied().unwrap_or(0.0);
        self.waiting.retain(|product| factor(product) != 0.0);
        for product in &mut self.waiting {
            let factor = E::of(factor(product));
            product.p.iter_mut().for_each(|p| *p *= factor);
        }
    }
}
