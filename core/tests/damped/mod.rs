//! Damped Picard iteration, a solver for tests of the solve loop.

use equilibria_core::prelude::*;

plugin! {
    /// z ← z + factor · (f(z) − z).
    pub struct Damped: FixedPointSolver {
        /// Share of the step taken.
        pub factor: f64 = 1.0,
        /// Whether evaluations may be rounded.
        pub tolerant: bool = true,
    }
}

#[typetag::serde(name = "damped")]
impl FixedPointSolver for Damped {
    fn start(&self, _: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        Ok(Box::new(self.clone()))
    }

    fn tolerates_rounding(&self) -> bool {
        self.tolerant
    }
}

impl Iteration for Damped {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let terms = [
            (Coef::Same(1.0), at.z),
            (Coef::Same(self.factor), at.residual),
        ];
        space.combine(next, &terms)
    }
}
