//! Chain of solvers.

use equilibria_core::prelude::*;

use crate::forward::anderson::Anderson;
use crate::forward::newton_gmres::NewtonGmres;

plugin! {
    /// Chain of solvers: samples that stall, diverge or turn non-finite go on to the next one.
    ///
    /// Each sample moves on by itself, from its best iterate so far; those that are solved stay solved. All share the
    /// budget of evaluations. Converges where one of its solvers does, if that one's turn comes: a sample that has spent the
    /// budget does not move on, so let `max_evaluations` be well above `patience`. Cost: that of its solvers, and one
    /// evaluation per sample that moves on.
    ///
    /// The report tells in `stage` which solver had a sample last, from 0.
    pub struct Chain: FixedPointSolver {
        /// The solvers, at least one, in order.
        pub solvers: Vec<Box<dyn FixedPointSolver>> = vec![
            Box::new(Anderson { memory: 12, ..Anderson::default() }),
            Box::new(NewtonGmres::default()),
        ],
    }
}

#[typetag::serde(name = "chain")]
impl FixedPointSolver for Chain {
    fn validate(&self) -> Result<()> {
        let count = self.solvers.len();
        Error::require(count >= 1, "chain", "solvers", "at least one solver", count)?;
        self.solvers.iter().try_for_each(|solver| solver.validate())
    }

    fn start(&self, space: &mut dyn Map, tolerance: Tolerance) -> Result<Box<dyn Iteration>> {
        match self.solvers.first() {
            Some(first) => first.start(space, tolerance),
            None => Err(self.validate().err().unwrap_or_else(|| Error::Config {
                plugin: "chain",
                field: "solvers",
                expected: "at least one solver",
                got: "none".to_owned(),
            })),
        }
    }

    fn stages(&self) -> &[Box<dyn FixedPointSolver>] {
        &self.solvers
    }
}
