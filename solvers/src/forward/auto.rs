//! The method and its depth by the first residuals.

use equilibria_core::prelude::*;

use crate::forward::anderson::Anderson;
use crate::mixing::Mixing;

plugin! {
    /// Picard steps where these are nearly enough, Anderson acceleration elsewhere, with more points where it is slow: chosen for each
    /// sample by its residuals.
    ///
    /// If the last step of a sample has shrunk its residual by the factor ρ, it is n = ln(‖r‖ / bound) / ln(1/ρ) such steps away from
    /// the tolerance. It starts with Picard steps z ← f(z), and once n is above `plain` it [mixes](Anderson) the last `few`
    /// points, and once n is above `slow` the last `memory` ones, for good.
    ///
    /// What a step costs besides its evaluation is what the most demanding of the active samples of a block needs: nothing but one copy while all
    /// take Picard steps. Deterministic, and the points of a sample do not depend on the others of its batch.
    ///
    /// Cost per step: one evaluation of f, and of mixing m inner products and one combination of m vectors; memory 2 `memory` vectors.
    pub struct Auto: FixedPointSolver {
        /// Number of points mixed where n is at most `slow`, from 1 to `memory`.
        pub few: usize = 3,
        /// Number of points mixed where n is above, from 1 to 100.
        pub memory: usize = 8,
        /// Picard steps to the tolerance up to which nothing is mixed, at least 0.
        pub plain: f64 = 1.0,
        /// Steps to the tolerance from which on all points are mixed, at least `plain`.
        pub slow: f64 = 12.0,
    }
}

impl Auto {
    fn anderson(&self) -> Anderson {
        Anderson {
            memory: self.memory,
            ..Anderson::default()
        }
    }
}

#[typetag::serde(name = "auto")]
impl FixedPointSolver for Auto {
    fn validate(&self) -> Result<()> {
        let Self {
            few,
            memory,
            plain,
            slow,
        } = *self;
        Error::require_at_least_one("auto", "few", few)?;
        Error::require(few <= memory, "auto", "few", "at most `memory`", few)?;
        Error::require(memory <= 100, "auto", "memory", "at most 100", memory)?;
        Error::require_not_negative("auto", "plain", plain)?;
        let holds = slow >= plain && slow.is_finite();
        Error::require(holds, "auto", "slow", "finite and at least `plain`", slow)
    }

    fn start(&self, space: &mut dyn Map, tolerance: Tolerance) -> Result<Box<dyn Iteration>> {
        let mixing = Mixing::new(self.anderson(), space);
        let sample = Sample {
            points: 1,
            residual: f64::INFINITY,
        };
        Ok(Box::new(Choice {
            config: self.clone(),
            tolerance,
            mixing,
            samples: vec![sample; space.batch()],
        }))
    }

    fn tolerates_rounding(&self) -> bool {
        true
    }
}

/// One solve.
struct Choice {
    config: Auto,
    tolerance: Tolerance,
    mixing: Mixing,
    samples: Vec<Sample>,
}

/// What is known of a sample.
#[derive(Clone)]
struct Sample {
    /// Points that it mixes; 1 while it takes Picard steps.
    points: usize,
    /// ‖f(z) − z‖₂ at the point before.
    residual: f64,
}

impl Sample {
    /// Decides by the residual at the newest point, and what it has to be; the first point decides nothing.
    fn decide(&mut self, residual: f64, bound: f64, config: &Auto) {
        let shrunk = (self.residual / residual).ln();
        let steps = match shrunk > 0.0 {
            true => (residual / bound).ln() / shrunk,
            false => f64::INFINITY,
        };
        let points = match steps {
            _ if self.residual.is_infinite() => 1,
            steps if steps <= config.plain => 1,
            steps if steps <= config.slow => config.few,
            _ => config.memory,
        };
        self.points = self.points.max(points);
        self.residual = residual;
    }
}

impl Iteration for Choice {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let norms = at.residual_norms.iter().zip(at.value_norms);
        let mut most = 1;
        for (sample, (&residual, &value)) in self.samples.iter_mut().zip(norms) {
            sample.decide(residual, self.tolerance.bound(value), &self.config);
            most = most.max(sample.points);
        }
        self.mixing.remember(space, at, most)?;
        if most > 1 {
            self.mixing.multiply(space)?;
        }
        let norms = at.residual_norms.iter().enumerate();
        for (sample, &norm) in norms {
            match self.samples[sample].points {
                1 => self.mixing.take_newest(sample, norm),
                points => self.mixing.extend(sample, norm, points),
            }
        }
        match most {
            1 => self.mixing.step(space, next),
            _ => self.mixing.mix(space, next),
        }
    }

    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) {
        for &(a, b) in swaps {
            self.samples.swap(a, b);
        }
        self.mixing.permute(swaps, batch);
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        self.mixing.finish(space)
    }
}
