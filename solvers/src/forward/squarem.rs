//! SQUAREM.

use equilibria_core::prelude::*;

plugin! {
    /// SQUAREM: squared extrapolation from two evaluations, with hardly any memory.
    ///
    /// With r = f(z) − z and v = f(f(z)) − 2 f(z) + z the step length is α = −‖r‖ / ‖v‖ (scheme S3), at most −1, and
    /// z ← f(z − 2α r + α² v); at α = −1 the point extrapolated to is f(f(z)). Where the new point has a residual more than
    /// `growth` times that of z, f(f(z)) is taken instead.
    ///
    /// Made for slow monotone convergence: one dominant eigenvalue of J close to 1, where Picard iteration crawls. Negative
    /// or complex dominant eigenvalues gain nothing; there, and for fast convergence to high accuracy, use `anderson`.
    /// Cost per step: one evaluation of f (three per extrapolation); memory: 4 vectors.
    ///
    /// Reference: R. Varadhan, C. Roland, Simple and globally convergent methods for accelerating the convergence of any
    /// EM algorithm, Scand. J. Stat. 35, 2008.
    pub struct Squarem: FixedPointSolver {
        /// Largest accepted ratio of the residuals after and before an extrapolation, at least 1. Dimensionless.
        pub growth: f64 = 1.0,
        /// Bound of |α|, at least 1. Dimensionless.
        pub longest: f64 = 1e6,
    }
}

#[typetag::serde(name = "squarem")]
impl FixedPointSolver for Squarem {
    fn validate(&self) -> Result<()> {
        let (growth, longest) = (self.growth, self.longest);
        let (grows, lengthens) = (
            growth >= 1.0 && growth.is_finite(),
            longest >= 1.0 && longest.is_finite(),
        );
        Error::require(grows, "squarem", "growth", "finite and at least 1", growth)?;
        Error::require(
            lengthens,
            "squarem",
            "longest",
            "finite and at least 1",
            longest,
        )
    }

    fn start(&self, space: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        Ok(Box::new(Extrapolation {
            config: self.clone(),
            z: space.alloc()?,
            residual: space.alloc()?,
            fallback: space.alloc()?,
            difference: space.alloc()?,
            phase: Phase::First,
            norms: vec![f64::INFINITY; space.batch()],
            rejected: Vec::with_capacity(space.batch()),
            scales: [vec![0.0; space.batch()], vec![0.0; space.batch()]],
        }))
    }
}

/// The points of one extrapolation.
struct Extrapolation {
    config: Squarem,
    /// The base point z and its residual r.
    z: Slot,
    residual: Slot,
    /// f(f(z)) of the extrapolation before: where to go if that failed.
    fallback: Slot,
    difference: Slot,
    phase: Phase,
    /// ‖r‖ at the base point of the extrapolation before.
    norms: Vec<f64>,
    rejected: Vec<usize>,
    scales: [Vec<f64>; 2],
}

/// What the point just evaluated is.
#[derive(Clone, Copy)]
enum Phase {
    /// A base point.
    First,
    /// f of the base point.
    Second,
    /// An extrapolated point: its f damps what was blown up beside the slow directions.
    Third,
}

impl Iteration for Extrapolation {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        match self.phase {
            Phase::First => self.begin(space, *at, next),
            Phase::Second => self.extrapolate(space, *at, next),
            Phase::Third => {
                self.phase = Phase::First;
                space.combine(next, &[(Coef::Same(1.0), at.fz)])
            }
        }
    }

    fn permute(&mut self, swaps: &[(usize, usize)], _batch: usize) {
        for &(a, b) in swaps {
            self.norms.swap(a, b);
        }
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        for slot in [self.z, self.residual, self.fallback, self.difference] {
            space.release(slot);
        }
        LowRank::default()
    }
}

impl Extrapolation {
    /// Makes the point the base, unless the extrapolation to it failed: then f(f(z)) is evaluated instead.
    fn begin(&mut self, space: &mut dyn Map, at: Evaluation, next: Slot) -> Result<()> {
        let batch = space.batch();
        self.rejected.clear();
        for (sample, &norm) in at.residual_norms.iter().enumerate() {
            let before = &mut self.norms[sample];
            if norm > self.config.growth * *before {
                self.rejected.push(sample);
                *before = f64::INFINITY;
            } else {
                *before = norm;
            }
        }
        space.combine(self.z, &[(Coef::Same(1.0), at.z)])?;
        space.combine(self.residual, &[(Coef::Same(1.0), at.residual)])?;
        space.combine(next, &[(Coef::Same(1.0), at.fz)])?;
        // A rejected sample evaluates its fallback now, and its next point is f of that: it takes part in the coming
        // extrapolation with r = 0, which moves it nowhere else.
        space.copy_rows(self.fallback, next, &self.rejected)?;
        space.copy_rows(self.fallback, self.z, &self.rejected)?;
        let remaining = &mut self.scales[0][..batch];
        remaining.fill(1.0);
        self.rejected
            .iter()
            .for_each(|&sample| remaining[sample] = 0.0);
        space.combine(
            self.residual,
            &[(Coef::PerSample(remaining), self.residual)],
        )?;
        self.phase = Phase::Second;
        Ok(())
    }

    /// From z, r and the residual at f(z), which is r + v.
    fn extrapolate(&mut self, space: &mut dyn Map, at: Evaluation, next: Slot) -> Result<()> {
        let batch = space.batch();
        space.combine(
            self.difference,
            &[
                (Coef::Same(1.0), at.residual),
                (Coef::Same(-1.0), self.residual),
            ],
        )?;
        let [linear, square] = &mut self.scales;
        let (linear, square) = (&mut linear[..batch], &mut square[..batch]);
        space.dots(self.residual, &[self.residual], linear)?;
        space.dots(self.difference, &[self.difference], square)?;
        for (linear, square) in linear.iter_mut().zip(&mut *square) {
            // −α = ‖r‖ / ‖v‖
            let length = (*linear / *square).sqrt();
            let length = match length.is_finite() {
                true => length.clamp(1.0, self.config.longest),
                false => 1.0,
            };
            (*linear, *square) = (2.0 * length, length * length);
        }
        space.combine(
            next,
            &[
                (Coef::Same(1.0), self.z),
                (Coef::PerSample(linear), self.residual),
                (Coef::PerSample(square), self.difference),
            ],
        )?;
        space.combine(self.fallback, &[(Coef::Same(1.0), at.fz)])?;
        self.phase = Phase::Third;
        Ok(())
    }
}
