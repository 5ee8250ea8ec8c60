//! The adjoint equation as a fixed-point problem of its own.

use super::Shortcuts;
use crate::{Coef, DifferentiableMap, Map, Result, Slot, Vectors};

/// What rounding the factors of its products to 8 binary digits changes in Jᵀd, relative to ‖d‖ or ‖Jᵀd‖, whichever is larger.
/// An estimate: a term of a product is off by 2⁻⁸ at most and by a third of that in the root mean square, two or three products
/// follow each other, and their terms cancel no more than those of random vectors do.
const ROUNDING: f64 = 1.0 / 256.0;

/// The map `u ↦ Jᵀu + v` of the adjoint equation, so that every solver also solves adjoints.
///
/// It is affine: Jᵀu + v = (Jᵀu₀ + v) + Jᵀ(u − u₀) for every u₀. So where products may be rounded, a sample is evaluated exactly
/// at some u₀, and from then on by rounded products with u − u₀, which is small. What rounding changes shrinks with that distance,
/// as in the iterative refinement of linear systems (J. H. Wilkinson, 1963). It is estimated as 2⁻⁸ of the larger of ‖u − u₀‖ and
/// ‖Jᵀ(u − u₀)‖.
pub struct AdjointMap<'s> {
    inner: &'s mut dyn DifferentiableMap,
    v: Slot,
    /// How many of the active rows are evaluated exactly while those behind are rounded; none where nothing is rounded.
    exact_rows: Option<usize>,
    /// None before anything is rounded.
    refinement: Option<Refinement>,
}

/// What evaluations by differences take.
struct Refinement {
    /// u₀, and Jᵀu₀ + v; 0 and v before a sample is evaluated exactly.
    point: Slot,
    value: Slot,
    /// u − u₀.
    difference: Slot,
    /// Whether any u₀ is not 0.
    begun: bool,
    /// What rounding has changed in the last evaluation, ‖·‖₂ per row.
    errors: Vec<f64>,
    /// Scratch memory: two numbers per row, and row numbers.
    squares: [Vec<f64>; 2],
    rows: Vec<usize>,
}

impl<'s> AdjointMap<'s> {
    /// The adjoint equation at the linearization point of `inner`, with right-hand side `v`. Whoever allows rounding ends it as well,
    /// as solves do: what it takes is given back then.
    pub fn new(inner: &'s mut dyn DifferentiableMap, v: Slot) -> Self {
        Self {
            inner,
            v,
            exact_rows: None,
            refinement: None,
        }
    }

    /// What evaluations by differences take, from the first one on, when all samples that may be evaluated like this are active.
    fn refinement(&mut self) -> Result<Refinement> {
        if let Some(refinement) = self.refinement.take() {
            return Ok(refinement);
        }
        let [point, value, difference] = [self.alloc()?, self.alloc()?, self.alloc()?];
        self.combine(value, &[(Coef::Same(1.0), self.v)])?;
        let zeros = || vec![0.0; self.batch()];
        Ok(Refinement {
            point,
            value,
            difference,
            begun: false,
            errors: zeros(),
            squares: [zeros(), zeros()],
            rows: Vec::with_capacity(self.batch()),
        })
    }

    fn round_inner(&mut self, from: usize) -> bool {
        let shortcuts = self.inner.shortcuts();
        shortcuts.is_some_and(|shortcuts| shortcuts.allow_rounding(from))
    }

    fn end_refinement(&mut self) {
        if let Some(refinement) = self.refinement.take() {
            for slot in [refinement.point, refinement.value, refinement.difference] {
                self.inner.release(slot);
            }
        }
    }
}

impl Refinement {
    /// `out = Jᵀu + v`, exactly in the first `exact_rows` rows.
    fn apply(
        &mut self,
        space: &mut dyn DifferentiableMap,
        u: Slot,
        exact_rows: usize,
        out: Slot,
    ) -> Result<()> {
        let batch = space.batch();
        let (point, value) = (self.point, self.value);
        let [distances, products] = self.squares.each_mut().map(|squares| &mut squares[..batch]);
        self.rows.clear();
        self.rows.extend(0..exact_rows.min(batch));
        // Exact products with the distance are as good as those with u.
        let mut difference = u;
        if self.begun {
            difference = self.difference;
            let vectors = space.vectors_mut();
            vectors.difference(u, point, difference, distances, products)?;
        } else {
            space.dots(u, &[u], distances)?;
        }
        space.vjp(difference, out)?;
        space.dots(out, &[out], products)?;
        space.combine(out, &[(Coef::Same(1.0), out), (Coef::Same(1.0), value)])?;
        let errors = self.errors.iter_mut().zip(distances.iter().zip(&*products));
        for (row, (error, (distance, product))) in errors.enumerate() {
            let scale = if row < exact_rows { 0.0 } else { ROUNDING };
            *error = scale * distance.max(*product).sqrt();
        }
        space.copy_rows(u, point, &self.rows)?;
        space.copy_rows(out, value, &self.rows)?;
        self.begun |= !self.rows.is_empty();
        Ok(())
    }
}

impl Map for AdjointMap<'_> {
    crate::inner_map!(inner: vectors);

    fn apply(&mut self, u: Slot, out: Slot) -> Result<()> {
        let Some(exact_rows) = self.exact_rows else {
            self.inner.vjp(u, out)?;
            let terms = [(Coef::Same(1.0), out), (Coef::Same(1.0), self.v)];
            return self.inner.combine(out, &terms);
        };
        let mut refinement = self.refinement()?;
        let applied = refinement.apply(self.inner, u, exact_rows, out);
        self.refinement = Some(refinement);
        applied
    }

    fn jvp(&mut self, u: Slot, out: Slot) -> Result<usize> {
        if self.exact_rows.is_some() {
            self.round_inner(usize::MAX);
        }
        self.inner.vjp(u, out)?;
        if let Some(exact_rows) = self.exact_rows {
            self.round_inner(exact_rows);
        }
        Ok(1)
    }

    fn shortcuts(&mut self) -> Option<&mut dyn Shortcuts> {
        Some(self)
    }
}

impl Shortcuts for AdjointMap<'_> {
    fn allow_rounding(&mut self, from: usize) -> bool {
        let rounds = self.round_inner(from);
        self.exact_rows = Some(from).filter(|&from| rounds && from < usize::MAX);
        if self.exact_rows.is_none() {
            self.end_refinement();
        }
        rounds
    }

    fn rounding_errors(&mut self, errors: &mut [f64]) {
        if let Some(refinement) = &self.refinement {
            errors.copy_from_slice(&refinement.errors[..errors.len()]);
        }
    }
}
