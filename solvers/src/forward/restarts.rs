//! Several starts.

use equilibria_core::prelude::*;

use crate::forward::anderson::Anderson;

plugin! {
    /// Random restarts: a sample that stalls, diverges or turns non-finite begins again at a random point.
    ///
    /// The first start is that of the solve, `count` more are drawn, each from independent normal entries. What is kept is the state with
    /// the smallest residual of all starts; a sample that is solved tries no other. For maps that a solver does not bring to rest from
    /// everywhere, or that have several equilibria of which some repel. Converges where its solver does from one of the starts.
    ///
    /// All starts share the budget of evaluations, and a sample that has spent it is done: `max_evaluations` is to be a multiple of
    /// `patience`, after which a start is given up. Points depend on `seed` and on the place of a sample in its batch. Cost: that of the
    /// solver, and one evaluation for each start. The report tells in `stage` which start a sample was at last, from 0.
    ///
    /// Reference: restarts chosen by their residual are those of arXiv 2605.21488.
    pub struct Restarts: FixedPointSolver {
        /// What solves from each start: one solver, no chain.
        pub solver: Box<dyn FixedPointSolver> = Box::new(Anderson::default()),
        /// Random starts after the given one; 0: the given one is left for a random one at once.
        pub count: usize = 4,
        /// Standard deviation of the entries of a random start, above 0, in units of z.
        pub deviation: f64 = 1.0,
        /// Seed of the first random start; the others have those that follow.
        pub seed: u64 = 0,
    }
}

#[typetag::serde(name = "restarts")]
impl FixedPointSolver for Restarts {
    fn validate(&self) -> Result<()> {
        Error::require_positive("restarts", "deviation", self.deviation)?;
        let (alone, name) = (self.solver.stages().is_empty(), self.solver.typetag_name());
        Error::require(alone, "restarts", "solver", "a solver without stages", name)?;
        self.solver.validate()
    }

    fn start(&self, space: &mut dyn Map, tolerance: Tolerance) -> Result<Box<dyn Iteration>> {
        Ok(Box::new(Elsewhere {
            inner: self.solver.start(space, tolerance)?,
            deviation: self.deviation,
            seed: self.seed,
            begun: false,
        }))
    }

    fn tolerates_rounding(&self) -> bool {
        self.solver.tolerates_rounding()
    }

    fn stages(&self) -> Vec<Box<dyn FixedPointSolver>> {
        let elsewhere = (0..self.count as u64).map(|number| -> Box<dyn FixedPointSolver> {
            Box::new(Self {
                count: 0,
                seed: self.seed.wrapping_add(number),
                ..self.clone()
            })
        });
        match self.count {
            0 => Vec::new(),
            _ => std::iter::once(self.solver.clone())
                .chain(elsewhere)
                .collect(),
        }
    }
}

/// A solve that goes to a random point first.
struct Elsewhere {
    inner: Box<dyn Iteration>,
    deviation: f64,
    seed: u64,
    begun: bool,
}

impl Iteration for Elsewhere {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        if self.begun {
            return self.inner.advance(space, at, next);
        }
        self.begun = true;
        space.fill_normal(next, self.seed)?;
        space.combine(next, &[(Coef::Same(self.deviation), next)])
    }

    fn permute(&mut self, swaps: &[(usize, usize)], batch: usize) {
        self.inner.permute(swaps, batch);
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        self.inner.finish(space)
    }
}
