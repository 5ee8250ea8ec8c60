//! Combinations with one coefficient per sample and vector.

use equilibria_core::prelude::*;

/// Scratch memory for coefficients, kept from step to step.
#[derive(Default)]
pub(crate) struct Combination {
    products: Vec<f64>,
    coefficients: Vec<Vec<f64>>,
}

impl Combination {
    /// `out = v + factor Σ_k ⟨left_k, v⟩ right_k`; returns the inner products, `[batch, left.len()]`.
    pub fn project(
        &mut self,
        space: &mut dyn Map,
        out: Slot,
        v: Slot,
        (left, right): (&[Slot], &[Slot]),
        factor: f64,
    ) -> Result<&[f64]> {
        let count = left.len();
        self.products.resize(space.batch() * count, 0.0);
        space.dots(v, left, &mut self.products)?;
        let products = &self.products;
        let of_vector = |k| products.iter().skip(k).step_by(count).map(|p| factor * p);
        fill(&mut self.coefficients, (0..count).map(of_vector));
        let terms = terms(&self.coefficients[..count], right);
        combine_all(
            space,
            out,
            std::iter::once((Coef::Same(1.0), v)).chain(terms),
        )?;
        Ok(&self.products)
    }

    /// `out = Σ_k c_k v_k` with `coefficients` the per-sample c of one vector after the other.
    pub fn combine(
        &mut self,
        space: &mut dyn Map,
        out: Slot,
        coefficients: impl Iterator<Item = impl Iterator<Item = f64>>,
        vectors: &[Slot],
    ) -> Result<()> {
        let count = fill(&mut self.coefficients, coefficients);
        combine_all(space, out, terms(&self.coefficients[..count], vectors))
    }
}

/// Copies coefficients to `scratch`; returns for how many vectors.
fn fill(
    scratch: &mut Vec<Vec<f64>>,
    coefficients: impl Iterator<Item = impl Iterator<Item = f64>>,
) -> usize {
    let mut count = 0;
    for own in coefficients {
        if count == scratch.len() {
            scratch.push(Vec::new());
        }
        scratch[count].clear();
        scratch[count].extend(own);
        count += 1;
    }
    count
}

fn terms<'c>(
    coefficients: &'c [Vec<f64>],
    vectors: &'c [Slot],
) -> impl Iterator<Item = (Coef<'c>, Slot)> {
    let pairs = coefficients.iter().zip(vectors);
    pairs.map(|(c, &vector)| (Coef::PerSample(c), vector))
}
