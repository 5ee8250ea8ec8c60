//! A solver of one's own: it registers itself, and is known by name wherever solvers are named.

use dfdx::prelude::{Cpu, NoneTape};
use equilibria::prelude::*;
use equilibria::{backward, layer, solver};

plugin! {
    /// Relaxed iteration, z ← z + β (f(z) − z).
    pub struct Relaxed: FixedPointSolver {
        /// Factor β in (0, 1]. Dimensionless.
        pub factor: f64 = 0.8,
    }
}

#[typetag::serde(name = "relaxed")]
impl FixedPointSolver for Relaxed {
    fn validate(&self) -> Result<()> {
        let allowed = self.factor > 0.0 && self.factor <= 1.0;
        Error::require(allowed, "relaxed", "factor", "in (0, 1]", self.factor)
    }

    fn start(&self, _: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        Ok(Box::new(self.clone()))
    }
}

impl Iteration for Relaxed {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let step = Coef::Same(self.factor);
        space.combine(next, &[(Coef::Same(1.0), at.z), (step, at.residual)])
    }
}

fn main() -> Result<()> {
    let mut init = Initializer::new(&Cpu::default(), 1);
    let affine = layer("affine-tanh", 64, &[8], &mut init)?;
    let inputs: [Matrix<f32, Cpu>; 1] = [init.normal((32, 8), 1.0)?];
    let mut equilibrium = Equilibrium::new(affine, solver("relaxed")?, backward("implicit")?);
    for name in ["relaxed", "picard", "anderson", "broyden"] {
        equilibrium.solver = solver(name)?;
        let report = equilibrium.forward(&inputs, NoneTape)?.report;
        println!(
            "{name:>8}: {:4.1} evaluations, {} unconverged",
            report.mean_evaluations(),
            report.unconverged()
        );
    }
    Ok(())
}
