//! Inexact Newton iteration.

use equilibria_core::prelude::*;

use crate::krylov::Gmres;

plugin! {
    /// Inexact Newton iteration: the Newton equation is solved by GMRES, no more accurately than it is worth.
    ///
    /// Each step solves (I − J) d = r, r = f(z) − z, to ‖r − (I − J) d‖ ≤ η ‖r‖ and moves to z + t d. The forcing term is
    /// that of Eisenstat and Walker, η = 0.9 (‖r‖ / ‖r_before‖)², guarded, at most `forcing`; t is halved (safeguarded
    /// quadratic interpolation) until the residual falls below the largest of the last `window` ones, at most `backtracks`
    /// times. With `window = 1` it must shrink at every step, and gets stuck more often on piecewise smooth maps.
    ///
    /// It needs no contraction: it converges locally, superlinearly, wherever I − J is regular, also where the spectral
    /// radius exceeds 1. Cost per step: as many products with J as GMRES takes (exact where all operations have tangents, else a central
    /// difference of two evaluations each), plus one evaluation per trial; memory `restart` + 5 vectors. Where
    /// `anderson` converges it is cheaper.
    ///
    /// Reference: S. C. Eisenstat, H. F. Walker, Choosing the forcing terms in an inexact Newton method, SIAM J. Sci.
    /// Comput. 17, 1996, choice 2; C. T. Kelley, Iterative Methods for Linear and Nonlinear Equations, SIAM 1995, ch. 6, 8;
    /// line search: L. Grippo, F. Lampariello, S. Lucidi, SIAM J. Numer. Anal. 23, 1986.
    pub struct NewtonGmres: FixedPointSolver {
        /// Largest dimension of the Krylov space, at least 1.
        pub restart: usize = 30,
        /// Largest forcing term, in (0, 1). Dimensionless.
        pub forcing: f64 = 0.5,
        /// Reductions of the step length before it is taken as it is.
        pub backtracks: usize = 8,
        /// Residuals that the line search looks back on, at least 1.
        pub window: usize = 10,
    }
}

#[typetag::serde(name = "newton-gmres")]
impl FixedPointSolver for NewtonGmres {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("newton-gmres", "restart", self.restart)?;
        Error::require_inner_fraction("newton-gmres", "forcing", self.forcing)?;
        Error::require_at_least_one("newton-gmres", "window", self.window)
    }

    fn start(&self, space: &mut dyn Map, tolerance: Tolerance) -> Result<Box<dyn Iteration>> {
        let batch = space.batch();
        let search = Search {
            norm: f64::INFINITY,
            forcing: self.forcing,
            length: 1.0,
            trials: 0,
            history: Vec::new(),
        };
        Ok(Box::new(Newton {
            config: self.clone(),
            tolerance,
            krylov: Gmres::new(self.restart.min(space.dim()), batch),
            z: space.alloc()?,
            residual: space.alloc()?,
            direction: space.alloc()?,
            fresh: space.alloc()?,
            searches: vec![search; batch],
            targets: vec![0.0; batch],
            accepted: Vec::with_capacity(batch),
        }))
    }
}

struct Newton {
    config: NewtonGmres,
    tolerance: Tolerance,
    krylov: Gmres,
    /// The base point, its residual and the Newton direction there.
    z: Slot,
    residual: Slot,
    direction: Slot,
    fresh: Slot,
    searches: Vec<Search>,
    /// The residual that GMRES aims at; then the step lengths.
    targets: Vec<f64>,
    /// Samples whose trial has become the base point.
    accepted: Vec<usize>,
}

/// The line search of one sample.
#[derive(Clone)]
struct Search {
    /// ‖r‖ at the base point.
    norm: f64,
    /// η of the direction.
    forcing: f64,
    /// t of the present trial.
    length: f64,
    trials: usize,
    /// ‖r‖ at the last base points, the newest first.
    history: Vec<f64>,
}

/// A step must shrink the residual by this share of what a full Newton step promises.
const DECREASE: f64 = 1e-4;

impl Search {
    /// Whether the trial with this residual becomes the base point; if not, shortens the step.
    fn accept(&mut self, norm: f64, config: &NewtonGmres) -> bool {
        let promised = 1.0 - DECREASE * self.length * (1.0 - self.forcing);
        let largest = |history: &[f64]| history.iter().copied().fold(f64::NAN, f64::max);
        let reference = match self.norm.is_finite() {
            true => largest(&self.history),
            false => f64::INFINITY,
        };
        if norm <= promised * reference || self.trials >= config.backtracks {
            self.history.truncate(config.window - 1);
            self.history.insert(0, norm);
            self.forcing = self.next_forcing(norm, config.forcing);
            (self.norm, self.length, self.trials) = (norm, 1.0, 0);
            return true;
        }
        // The minimizer of the parabola through ‖r‖² at both points with slope −2 ‖r‖² at the base.
        let (t, ratio) = (self.length, (norm / self.norm).powi(2));
        let minimizer = t * t / (ratio - 1.0 + 2.0 * t);
        self.length = minimizer.clamp(0.1 * t, 0.5 * t);
        self.trials += 1;
        false
    }

    fn next_forcing(&self, norm: f64, largest: f64) -> f64 {
        const GAMMA: f64 = 0.9;
        if !self.norm.is_finite() {
            return largest;
        }
        let forcing = GAMMA * (norm / self.norm).powi(2);
        let guard = GAMMA * self.forcing.powi(2);
        let forcing = if guard > 0.1 {
            forcing.max(guard)
        } else {
            forcing
        };
        forcing.min(largest)
    }
}

impl Iteration for Newton {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let batch = space.batch();
        let targets = &mut self.targets[..batch];
        let accepted = &mut self.accepted;
        accepted.clear();
        for (sample, search) in self.searches[..batch].iter_mut().enumerate() {
            let norm = at.residual_norms[sample];
            if search.accept(norm, &self.config) {
                accepted.push(sample);
                // A residual of half the tolerance is small enough.
                let enough = 0.5 * self.tolerance.bound(at.value_norms[sample]);
                targets[sample] = enough.max(search.forcing * norm);
            } else {
                targets[sample] = f64::INFINITY;
            }
        }
        if !accepted.is_empty() {
            space.copy_rows(at.z, self.z, accepted)?;
            space.copy_rows(at.residual, self.residual, accepted)?;
            space.linearize(self.z)?;
            self.krylov
                .solve(space, self.residual, self.fresh, targets)?;
            space.copy_rows(self.fresh, self.direction, accepted)?;
        }
        let lengths = targets;
        for (length, search) in lengths.iter_mut().zip(&self.searches) {
            *length = search.length;
        }
        let step = (Coef::PerSample(lengths), self.direction);
        space.combine(next, &[(Coef::Same(1.0), self.z), step])
    }

    fn permute(&mut self, swaps: &[(usize, usize)], _batch: usize) {
        for &(a, b) in swaps {
            self.searches.swap(a, b);
        }
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        self.krylov.release(space);
        for slot in [self.z, self.residual, self.direction, self.fresh] {
            space.release(slot);
        }
        LowRank::default()
    }
}
