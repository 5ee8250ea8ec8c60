//! Backpropagation through the reversible iteration.

use equilibria_core::prelude::*;
use equilibria_core::SampleReport;

plugin! {
    /// Reversible gradient: backpropagation through the reversible iteration, whose states are computed again on the way back.
    ///
    /// Not exact for z*: it is the gradient of z after `steps` steps of y ← (1 − β) y + β f(z), z ← (1 − β) z + β f(y) from the start
    /// of the solve, which is held constant, as `unrolled` is that of Picard steps; the output stays z*. Memory does not depend on the
    /// number of steps: four states.
    ///
    /// Going back multiplies rounding errors by (1 − β)⁻² per step. So no more steps are allowed than leave digits, (1 − β)^(−2k) ε < 1:
    /// with β = 0.8, 11 in f64 and 4 in f32; and at the end the start must be back, to `recovery` of ‖z‖. Where it is not, the gradient
    /// is made of rounding errors, and `on_unconverged` says what happens; the report has the distance as its residual. Choose
    /// `implicit` where the result is to be that of the equilibrium, and `unrolled` where many steps are to be differentiated.
    ///
    /// Cost: 4 k evaluations, 2 k linearizations, products and pull-backs.
    ///
    /// Reference: S. McCallum, K. Arora, J. Foster, Reversible Deep Equilibrium Models, arXiv 2509.12917, algorithm 2.
    pub struct Reversible: BackwardStrategy {
        /// Number of steps k, at least 1, each of two evaluations.
        pub steps: usize = 8,
        /// Mixing factor β in (0, 1). Dimensionless.
        pub damping: f64 = 0.5,
        /// Largest distance of the start that is computed again from the true one, relative to ‖z‖ after the last step, above 0.
        pub recovery: f64 = 1e-3,
        /// What happens where the start is not recovered.
        pub on_unconverged: OnUnconverged = OnUnconverged::Error,
    }
}

#[typetag::serde(name = "reversible")]
impl BackwardStrategy for Reversible {
    fn validate(&self) -> Result<()> {
        let name = "reversible";
        Error::require_at_least_one(name, "steps", self.steps)?;
        Error::require_inner_fraction(name, "damping", self.damping)?;
        Error::require_positive(name, "recovery", self.recovery)
    }

    fn backward(
        &self,
        space: &mut dyn DifferentiableMap,
        solution: &Solution,
        v: Slot,
    ) -> Result<Report> {
        self.validate()?;
        let most = self.most_steps(space.epsilon());
        Error::require(
            self.steps <= most,
            "reversible",
            "steps",
            "so few that rounding errors, times (1 − damping)^(−2 steps), stay below 1",
            format!("{}, where {most} are the most in this dtype", self.steps),
        )?;
        let start = solution.kept_start()?;
        let mut pair = Pair::new(space, start, self.damping)?;
        for _ in 0..2 * self.steps {
            pair.forward(space)?;
        }
        let mut scale = vec![0.0; space.batch()];
        space.dots(pair.newer, &[pair.newer], &mut scale)?;
        let mut cotangents = [space.alloc()?, space.alloc()?];
        space.combine(cotangents[0], &[(Coef::Same(1.0), v)])?;
        for _ in 0..2 * self.steps {
            pair.back(space, &mut cotangents)?;
        }
        let distances = pair.distances(space, start)?;
        cotangents.into_iter().for_each(|slot| space.release(slot));
        pair.release(space);
        let samples = distances.iter().zip(&scale);
        let samples = samples.map(|(distance, scale)| self.sample(*distance, scale.sqrt()));
        Ok(Report {
            samples: samples.collect(),
        })
    }

    fn needs_start(&self) -> bool {
        true
    }

    fn on_unconverged(&self) -> OnUnconverged {
        self.on_unconverged
    }
}

impl Reversible {
    /// The most steps that leave digits.
    fn most_steps(&self, epsilon: f64) -> usize {
        (epsilon.ln() / (2.0 * (1.0 - self.damping).ln())).floor() as usize
    }

    /// What is said of a sample whose start came back at this distance, where ‖z‖ was `scale`.
    fn sample(&self, distance: f64, scale: f64) -> SampleReport {
        let relative = if distance > 0.0 {
            distance / scale
        } else {
            0.0
        };
        SampleReport {
            status: match relative <= self.recovery {
                true => Status::Converged,
                false if distance.is_finite() => Status::Diverged,
                false => Status::NonFinite,
            },
            steps: self.steps,
            evaluations: 6 * self.steps,
            rounded: 0,
            stage: 0,
            residual: if distance.is_nan() {
                f64::INFINITY
            } else {
                distance
            },
            relative_residual: if relative.is_nan() {
                f64::INFINITY
            } else {
                relative
            },
            bound: None,
            trace: Vec::new(),
        }
    }
}

/// The two states, that which was computed last and the other.
struct Pair {
    newer: Slot,
    older: Slot,
    work: Slot,
    damping: f64,
}

impl Pair {
    fn new(space: &mut dyn DifferentiableMap, start: Slot, damping: f64) -> Result<Self> {
        let [newer, older, work] = [space.alloc()?, space.alloc()?, space.alloc()?];
        for state in [newer, older] {
            space.combine(state, &[(Coef::Same(1.0), start)])?;
        }
        Ok(Self {
            newer,
            older,
            work,
            damping,
        })
    }

    /// older ← (1 − β) older + β f(newer), which is the newer one then.
    fn forward(&mut self, space: &mut dyn DifferentiableMap) -> Result<()> {
        space.apply(self.newer, self.work)?;
        let shares = [Coef::Same(1.0 - self.damping), Coef::Same(self.damping)];
        let terms = [(shares[0], self.older), (shares[1], self.work)];
        space.combine(self.older, &terms)?;
        std::mem::swap(&mut self.newer, &mut self.older);
        Ok(())
    }

    /// Undoes [`forward`](Self::forward), and takes the cotangents of newer and older along.
    fn back(
        &mut self,
        space: &mut dyn DifferentiableMap,
        [newer_bar, older_bar]: &mut [Slot; 2],
    ) -> Result<()> {
        std::mem::swap(&mut self.newer, &mut self.older);
        let (kept, moved) = (1.0 - self.damping, self.damping);
        space.apply(self.newer, self.work)?;
        let terms = [
            (Coef::Same(1.0 / kept), self.older),
            (Coef::Same(-moved / kept), self.work),
        ];
        space.combine(self.older, &terms)?;

        // The result was (1 − β) older + β f(newer), with the cotangent `newer_bar`; `older_bar` is that of what is newer now.
        space.combine(self.work, &[(Coef::Same(moved), *newer_bar)])?;
        space.linearize(self.newer)?;
        space.pull_back(self.work)?;
        let product = space.alloc()?;
        space.vjp(self.work, product)?;
        let sum = [(Coef::Same(1.0), *older_bar), (Coef::Same(1.0), product)];
        space.combine(*older_bar, &sum)?;
        space.release(product);
        space.combine(*newer_bar, &[(Coef::Same(kept), *newer_bar)])?;
        std::mem::swap(newer_bar, older_bar);
        Ok(())
    }

    /// How far both states are from where they started, the larger of the two per sample.
    fn distances(&mut self, space: &mut dyn DifferentiableMap, start: Slot) -> Result<Vec<f64>> {
        let mut all = vec![0.0_f64; space.batch()];
        for state in [self.newer, self.older] {
            let mut squares = vec![0.0; all.len()];
            let terms = [(Coef::Same(1.0), state), (Coef::Same(-1.0), start)];
            space.combine(self.work, &terms)?;
            space.dots(self.work, &[self.work], &mut squares)?;
            for (distance, square) in all.iter_mut().zip(squares) {
                let own = square.sqrt();
                *distance = if own.is_nan() { own } else { distance.max(own) };
            }
        }
        Ok(all)
    }

    fn release(self, space: &mut dyn DifferentiableMap) {
        for slot in [self.newer, self.older, self.work] {
            space.release(slot);
        }
    }
}
