//! Gradients of products with the Jacobian that wait for a cotangent.

use crate::Scalar;

/// `Σ_s c_s ⟨p_s, J_s v_s⟩`, whose gradient is wanted.
pub(super) struct Product<E> {
    pub p: Vec<E>,
    pub v: Vec<E>,
    /// c.
    pub factors: Vec<f64>,
}

impl<E: Scalar> Product<E> {
    /// Multiplies p by c and by `factor`: the product is `⟨p, J v⟩` then.
    pub fn scale(&mut self, factor: f64) {
        let width = (self.p.len() / self.factors.len().max(1)).max(1);
        for (row, c) in self.p.chunks_exact_mut(width).zip(&self.factors) {
            let factor = E::of(c * factor);
            row.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

/// Products whose gradients wait, all at one point.
///
/// The gradient of a penalty on the Jacobian and that of a cotangent at the same point go back through the same products
/// with weights: [`pull_back_tangent`](crate::Tangents::pull_back_tangent) takes both at the price of little more than
/// one. What a penalty counts in the loss is not known before the cotangent is either.
#[derive(Default)]
pub(super) struct Deferral<E> {
    /// The number under which products are put; none wait without.
    pub number: Option<usize>,
    /// The linearization at which all that wait were put, and its point.
    pub linearization: u64,
    pub point: Vec<E>,
    /// With their numbers.
    waiting: Vec<(usize, Product<E>)>,
}

impl<E: Scalar> Deferral<E> {
    /// Whether none wait.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps a product of a linearization for later; gives it back if it may not wait, if others wait at another point, or if
    /// the point is not known any more.
    pub fn put(
        &mut self,
        (linearization, point): (u64, Option<&[E]>),
        product: Product<E>,
    ) -> Option<Product<E>> {
        let (Some(number), Some(point)) = (self.number, point) else {
            return Some(product);
        };
        if self.waiting.is_empty() {
            (self.linearization, self.point) = (linearization, point.to_vec());
        } else if self.linearization != linearization {
            return Some(product);
        }
        self.waiting.push((number, product));
        None
    }

    /// One of the products that wait at this linearization, if those that have come may go.
    pub fn take(&mut self, linearization: u64) -> Option<Product<E>> {
        match self.number {
            None if self.linearization == linearization => self.pop(),
            _ => None,
        }
    }

    /// One of the products that wait.
    pub fn pop(&mut self) -> Option<Product<E>> {
        self.waiting.pop().map(|(_, product)| product)
    }

    /// Multiplies every product by its factors and that of its number, drops those of factor 0, and lets all go.
    pub fn join(&mut self, factors: &[f64]) {
        self.number = None;
        let factor = |number: usize| factors.get(number).copied().unwrap_or(0.0);
        self.waiting.retain(|&(number, _)| factor(number) != 0.0);
        for (number, product) in &mut self.waiting {
            product.scale(factor(*number));
        }
    }
}
