//! Broyden's method.

use equilibria_core::prelude::*;

use crate::combination::Combination;
use crate::Compat;

plugin! {
    /// Broyden's good method with limited memory: a quasi-Newton iteration that learns (I − J)⁻¹ from its own steps.
    ///
    /// With g = f(z) − z and H ≈ (I − J)⁻¹, H = I at first: z ← z + H g. After each step, with s = Δz and y = −Δg, the
    /// rank-one update H ← H + (s − H y) (sᵀH) / (sᵀH y) makes H y = s. The last `memory` updates are kept, the oldest is
    /// overwritten. Per sample; an update whose denominator is nearly 0 is left out, and a sample whose residual grows
    /// beyond `growth` times its smallest starts again from H = I at the point where it was smallest; each time it may grow
    /// by that factor more.
    ///
    /// Converges locally superlinearly where I − J is regular (with enough memory), also for spectral radii above 1. Cost
    /// per step: one evaluation, 2 · `memory` inner products and combinations; memory 2 · `memory` + 6 vectors. What it
    /// learns can be reused for the adjoint equation: see the backward strategy `shine`.
    ///
    /// Reference: C. G. Broyden, Math. Comp. 19, 1965; C. T. Kelley, Iterative Methods for Linear and Nonlinear Equations,
    /// SIAM 1995, §7.3.
    pub struct Broyden: FixedPointSolver {
        /// Rank-one updates kept, at least 1.
        pub memory: usize = 20,
        /// Growth of the residual over its smallest value that restarts a sample, above 1. Dimensionless.
        pub growth: f64 = 10.0,
        /// `"torchdeq"`: its recurrence, without safeguards.
        pub compat: Option<Compat> = None,
    }
}

#[typetag::serde(name = "broyden")]
impl FixedPointSolver for Broyden {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("broyden", "memory", self.memory)?;
        Error::require_above_one("broyden", "growth", self.growth)
    }

    fn start(&self, space: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        let batch = space.batch();
        let mut slots = || space.alloc();
        let (before, best) = ([slots()?, slots()?], [slots()?, slots()?]);
        let (s, y, hy, hs) = (slots()?, slots()?, slots()?, slots()?);
        Ok(Box::new(QuasiNewton {
            config: self.clone(),
            // One pair of zeros, H = I: a solve may be over before there is anything to learn.
            left: vec![slots()?],
            right: vec![slots()?],
            updates: 0,
            begun: false,
            before,
            best,
            s,
            y,
            hy,
            hs,
            smallest: vec![f64::INFINITY; batch],
            allowed: vec![self.growth; batch],
            fresh: vec![false; batch],
            improved: Vec::with_capacity(batch),
            restarted: Vec::with_capacity(batch),
            factors: Factors {
                s: vec![0.0; batch],
                hy: vec![0.0; batch],
                hs: vec![0.0; batch],
            },
            remaining: vec![0.0; batch],
            combination: Combination::default(),
        }))
    }
}

/// H = I + Σ_k a_k b_kᵀ and the point before.
struct QuasiNewton {
    config: Broyden,
    /// a_k.
    left: Vec<Slot>,
    /// b_k.
    right: Vec<Slot>,
    /// Updates so far, of which the last `memory` are kept.
    updates: usize,
    /// Whether there is a step before.
    begun: bool,
    /// z and g of the step before.
    before: [Slot; 2],
    /// z and g where the residual was smallest.
    best: [Slot; 2],
    /// The last step, Δz.
    s: Slot,
    /// −Δg of the last step.
    y: Slot,
    /// H y.
    hy: Slot,
    /// Hᵀs.
    hs: Slot,
    /// Smallest ‖g‖ of each sample so far.
    smallest: Vec<f64>,
    /// The factor by which ‖g‖ of each sample may exceed its smallest.
    allowed: Vec<f64>,
    /// Whether a sample has no step behind it since its restart.
    fresh: Vec<bool>,
    /// Samples whose present point is the best one.
    improved: Vec<usize>,
    /// Samples that start again.
    restarted: Vec<usize>,
    factors: Factors,
    /// 0 for samples that start again, else 1.
    remaining: Vec<f64>,
    combination: Combination,
}

/// The update a bᵀ of every sample, as the factors of what it is made of: a = c₁ s + c₂ H y and b = c₃ Hᵀs.
struct Factors {
    /// c₁.
    s: Vec<f64>,
    /// c₂.
    hy: Vec<f64>,
    /// c₃.
    hs: Vec<f64>,
}

/// Smallest |sᵀH y| / (‖s‖ ‖H y‖) of an update: below it, the update would be mostly rounding.
const DEGENERATE: f64 = 1e-8;

impl Iteration for QuasiNewton {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        self.watch(space, *at)?;
        if self.begun {
            self.update(space, *at)?;
        }
        self.begun = true;
        let (z, g) = (self.before[0], self.before[1]);
        space.combine(z, &[(Coef::Same(1.0), at.z)])?;
        space.combine(g, &[(Coef::Same(1.0), at.residual)])?;
        space.copy_rows(self.best[0], z, &self.restarted)?;
        space.copy_rows(self.best[1], g, &self.restarted)?;
        self.forget(space)?;
        let terms = (&self.right[..], &self.left[..]);
        self.combination.project(space, next, g, terms, 1.0)?;
        space.combine(next, &[(Coef::Same(1.0), z), (Coef::Same(1.0), next)])
    }

    fn permute(&mut self, swaps: &[(usize, usize)], _batch: usize) {
        for &(a, b) in swaps {
            self.smallest.swap(a, b);
            self.allowed.swap(a, b);
            self.fresh.swap(a, b);
        }
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        for slot in self
            .before
            .into_iter()
            .chain(self.best)
            .chain([self.s, self.y, self.hy, self.hs])
        {
            space.release(slot);
        }
        let pairs = self.left.drain(..).zip(self.right.drain(..));
        LowRank {
            terms: pairs.collect(),
        }
    }
}

impl QuasiNewton {
    /// Keeps the point with the smallest residual, and finds the samples that are to start again from theirs.
    fn watch(&mut self, space: &mut dyn Map, at: Evaluation) -> Result<()> {
        self.improved.clear();
        self.restarted.clear();
        let norms = at.residual_norms.iter().zip(&mut self.smallest);
        for (sample, (&norm, smallest)) in norms.enumerate() {
            if norm < *smallest {
                *smallest = norm;
                self.improved.push(sample);
            } else if self.config.compat.is_none() && norm > self.allowed[sample] * *smallest {
                self.restarted.push(sample);
                // The same path would be taken again, up to a larger bound.
                self.allowed[sample] *= self.config.growth;
            }
        }
        space.copy_rows(at.z, self.best[0], &self.improved)?;
        space.copy_rows(at.residual, self.best[1], &self.improved)
    }

    /// Learns from the step that led here: a = (s − H y) ‖s‖ / (sᵀH y), b = Hᵀs / ‖s‖. ‖s‖, rounded to a power of two, makes both of
    /// the size of H whatever the unit of z is: 1 / (sᵀH y) alone leaves the range of f32 where ‖s‖ is 1e-19.
    fn update(&mut self, space: &mut dyn Map, at: Evaluation) -> Result<()> {
        let [z, g] = self.before;
        space.combine(self.s, &[(Coef::Same(1.0), at.z), (Coef::Same(-1.0), z)])?;
        space.combine(
            self.y,
            &[(Coef::Same(1.0), g), (Coef::Same(-1.0), at.residual)],
        )?;
        let terms = (&self.right[..], &self.left[..]);
        let transposed = (terms.1, terms.0);
        (self.combination).project(space, self.hy, self.y, terms, 1.0)?;
        (self.combination).project(space, self.hs, self.s, transposed, 1.0)?;
        self.weigh(space)?;
        // The oldest update has taken part so far; now it is overwritten, in place, so that samples which have left keep theirs.
        let place = self.updates % self.config.memory;
        if place == self.left.len() {
            self.left.push(space.alloc()?);
            self.right.push(space.alloc()?);
        }
        let (batch, Factors { s, hy, hs }) = (space.batch(), &self.factors);
        let [s, hy, hs] = [s, hy, hs].map(|factors| Coef::PerSample(&factors[..batch]));
        space.combine(self.left[place], &[(s, self.s), (hy, self.hy)])?;
        space.combine(self.right[place], &[(hs, self.hs)])?;
        self.updates += 1;
        Ok(())
    }

    /// Computes the factors of the update; those of a are 0 where the update is left out.
    fn weigh(&mut self, space: &mut dyn Map) -> Result<()> {
        let batch = space.batch();
        let Factors { s, hy, hs } = &mut self.factors;
        let (s, hy, hs) = (&mut s[..batch], &mut hy[..batch], &mut hs[..batch]);
        // Before they hold factors, they hold sᵀH y, ‖H y‖² and ‖s‖².
        space.dots(self.s, &[self.hy], s)?;
        space.dots(self.s, &[self.s], hs)?;
        space.dots(self.hy, &[self.hy], hy)?;
        for sample in 0..batch {
            let (denominator, hy_square, s_square) = (s[sample], hy[sample], hs[sample]);
            let sound = denominator.abs() > DEGENERATE * (s_square * hy_square).sqrt();
            let usable = match self.config.compat {
                Some(Compat::Torchdeq) => (1.0 / denominator).is_finite(),
                None => sound && (1.0 / denominator).is_finite() && !self.fresh[sample],
            };
            let length = s_square.sqrt();
            let unit = if length.is_normal() {
                length.log2().round().exp2()
            } else {
                1.0
            };
            s[sample] = if usable { unit / denominator } else { 0.0 };
            hy[sample] = -s[sample];
            hs[sample] = 1.0 / unit;
        }
        Ok(())
    }

    /// Back to H = I for the samples that start again.
    fn forget(&mut self, space: &mut dyn Map) -> Result<()> {
        let remaining = &mut self.remaining[..space.batch()];
        for (sample, (remaining, fresh)) in remaining.iter_mut().zip(&mut self.fresh).enumerate() {
            *fresh = self.restarted.contains(&sample);
            *remaining = if *fresh { 0.0 } else { 1.0 };
        }
        if !self.restarted.is_empty() {
            for &a in &self.left {
                space.combine(a, &[(Coef::PerSample(remaining), a)])?;
            }
        }
        Ok(())
    }
}
