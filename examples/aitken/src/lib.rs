//! A solver from outside: this crate depends on `equilibria`, without its program, and on nothing else.
//!
//! A program that links it, with `use equilibria_aitken as _;`, finds `aitken` by name like any other solver.

use equilibria::prelude::*;

plugin! {
    /// Aitken relaxation: Picard iteration whose step length follows the residuals.
    ///
    /// z ← z + ω r with r = f(z) − z and ω ← ω ⟨r_before, r_before − r⟩ / ‖r − r_before‖², the length that would have
    /// made the last residual smallest; per sample, |ω| at most `longest`.
    ///
    /// One number per sample is learned, so one eigenvalue far from the others is dealt with, of either sign and beyond
    /// −1; for more of them use `anderson`. Cost per step: one evaluation of f; memory: one vector.
    ///
    /// Reference: B. M. Irons, R. C. Tuck, A version of the Aitken accelerator for computer iteration, Int. J. Numer.
    /// Methods Eng. 1, 1969.
    pub struct Aitken: FixedPointSolver {
        /// First step length ω, in (0, 2]. Dimensionless.
        pub first: f64 = 0.5,
        /// Bound of |ω|, at least 1. Dimensionless.
        pub longest: f64 = 10.0,
    }
}

#[typetag::serde(name = "aitken")]
impl FixedPointSolver for Aitken {
    fn validate(&self) -> Result<()> {
        let (first, longest) = (self.first, self.longest);
        let (positive, bounds) = (
            first > 0.0 && first <= 2.0,
            longest >= 1.0 && longest.is_finite(),
        );
        Error::require(positive, "aitken", "first", "in (0, 2]", first)?;
        Error::require(
            bounds,
            "aitken",
            "longest",
            "finite and at least 1",
            longest,
        )
    }

    fn start(&self, space: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        Ok(Box::new(Relaxation {
            longest: self.longest,
            lengths: vec![self.first; space.batch()],
            before: None,
            products: [vec![0.0; space.batch()], vec![0.0; space.batch()]],
        }))
    }
}

struct Relaxation {
    longest: f64,
    /// ω of each sample.
    lengths: Vec<f64>,
    /// The residual before.
    before: Option<Slot>,
    products: [Vec<f64>; 2],
}

impl Iteration for Relaxation {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let batch = space.batch();
        let before = match self.before {
            Some(before) => {
                self.adapt(space, at.residual, before, next)?;
                before
            }
            None => *self.before.insert(space.alloc()?),
        };
        space.combine(before, &[(Coef::Same(1.0), at.residual)])?;
        let lengths = Coef::PerSample(&self.lengths[..batch]);
        space.combine(next, &[(Coef::Same(1.0), at.z), (lengths, at.residual)])
    }

    fn permute(&mut self, swaps: &[(usize, usize)], _batch: usize) {
        for &(a, b) in swaps {
            self.lengths.swap(a, b);
        }
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        if let Some(before) = self.before.take() {
            space.release(before);
        }
        LowRank::default()
    }
}

impl Relaxation {
    /// Updates ω; `scratch` is overwritten.
    fn adapt(
        &mut self,
        space: &mut dyn Map,
        residual: Slot,
        before: Slot,
        scratch: Slot,
    ) -> Result<()> {
        let batch = space.batch();
        let [along, square] = &mut self.products;
        let (along, square) = (&mut along[..batch], &mut square[..batch]);
        let difference = [(Coef::Same(1.0), before), (Coef::Same(-1.0), residual)];
        space.combine(scratch, &difference)?;
        space.dots(scratch, &[before], along)?;
        space.dots(scratch, &[scratch], square)?;
        for (sample, length) in self.lengths[..batch].iter_mut().enumerate() {
            let factor = along[sample] / square[sample];
            if factor.is_finite() {
                *length = (*length * factor).clamp(-self.longest, self.longest);
            }
        }
        Ok(())
    }
}
