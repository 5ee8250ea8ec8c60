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
    /// The linearization at which all that wait were put, and its point.
    pub linearization: u64,
    pub point: Vec<E>,
    pub waiting: Vec<Product<E>>,
}

impl<E: Scalar> Deferral<E> {
    /// Keeps the product ⟨p, J v⟩ of a linearization for later; false if it may not wait, if others wait at another point, or
    /// if the point is not known any more.
    pub fn put(&mut self, (linearization, point): (u64, Option<&[E]>), [p, v]: [&[E]; 2]) -> bool {
        let (Some(number), Some(point)) = (self.number, point) else {
            return false;
        };
        if self.waiting.is_empty() {
            (self.linearization, self.point) = (linearization, point.to_vec());
        } else if self.linearization != linearization {
            return false;
        }
        let [p, v] = [p, v].map(<[E]>::to_vec);
        self.waiting.push(Product { number, p, v });
        true
    }

    /// One of the products that wait at this linearization, if those that have come may go.
    pub fn take(&mut self, linearization: u64) -> Option<Product<E>> {
        match self.number {
            None if self.linearization == linearization => self.waiting.pop(),
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
