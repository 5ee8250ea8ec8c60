//! Several starts.

use equilibria_core::prelude::*;
use equilibria_core::seed::{fill_normal, mix};

use crate::forward::anderson::Anderson;

plugin! {
    /// Random restarts: a sample that stalls, diverges or turns non-finite begins again at a random point.
    ///
    /// The first start is that of the solve; `count` more have independent normal entries. What is kept is the state with the smallest
    /// residual of all starts, and a sample that is solved tries no other. For maps that a solver does not bring to rest from everywhere.
    /// Converges where its solver does from one of the starts.
    ///
    /// All starts share the budget of evaluations, and a sample that has spent it is done: `max_evaluations` is to be a multiple of
    /// `patience`, after which a start is given up. The points depend on `seed` and on the dimension of the state alone, and are the same for all
    /// samples, so that no result depends on the others in a batch. Cost: that of the solver. The report tells in `stage` which start a sample
    /// was at last, from 0.
    ///
    /// Reference: restarts of which the one with the smallest residual is kept are those of arXiv 2605.21488.
    pub struct Restarts: FixedPointSolver {
        /// What solves from each start: one solver, no chain.
        pub solver: Box<dyn FixedPointSolver> = Box::new(Anderson::default()),
        /// Random starts after the given one, at most 1000.
        pub count: usize = 4,
        /// Standard deviation of the entries of a random start, above 0, at most 1000, in units of z: beside a start far from everything
        /// any residual would be small.
        pub deviation: f64 = 1.0,
        /// Seed of the random starts.
        pub seed: u64 = 0,
    }
}

/// More starts than pay: after as many failures another solver is due.
const MOST: usize = 1000;

/// Beside starts that lie farther the residual of any map is small.
const FARTHEST: f64 = 1e3;

#[typetag::serde(name = "restarts")]
impl FixedPointSolver for Restarts {
    fn validate(&self) -> Result<()> {
        let name = "restarts";
        let few = self.count <= MOST;
        Error::require(few, name, "count", "at most 1000", self.count)?;
        let near = self.deviation > 0.0 && self.deviation <= FARTHEST;
        let expected = "above 0, at most 1000";
        Error::require(near, name, "deviation", expected, self.deviation)?;
        let alone = self.solver.stages().is_empty() && self.solver.attempts() == 1;
        let got = self.solver.typetag_name();
        Error::require(alone, name, "solver", "a solver that begins once", got)?;
        self.solver.validate()
    }

    fn start(&self, space: &mut dyn Map, tolerance: Tolerance) -> Result<Box<dyn Iteration>> {
        self.solver.start(space, tolerance)
    }

    fn tolerates_rounding(&self) -> bool {
        self.solver.tolerates_rounding()
    }

    fn attempts(&self) -> usize {
        1 + self.count.min(MOST)
    }

    fn place(&self, number: usize, space: &mut dyn Map, point: Slot) -> Result<()> {
        if number == 0 {
            return Ok(());
        }
        let mut row = vec![0.0; space.dim()];
        fill_normal(mix(self.seed, number as u64), &mut row);
        row.iter_mut().for_each(|entry| *entry *= self.deviation);
        let rows = row.repeat(space.batch());
        space.vectors_mut().write(point, &rows)
    }
}
