//! Pseudo-transient continuation.

use equilibria_core::prelude::*;

use crate::krylov::Gmres;

plugin! {
    /// Pseudo-transient continuation: linearly implicit Euler steps of dz/dt = f(z) − z, longer and longer, until they are Newton steps.
    ///
    /// Each step solves ((1 + 1/h) I − J) d = f(z) − z by GMRES and moves to z + d. The time step h, of each sample alone, grows as the
    /// residual shrinks, h ← h ‖r_before‖ / ‖r‖ (switched evolution relaxation), and shrinks where that grows. It follows the
    /// trajectory from the start, and so comes to the stable equilibrium that this leads to, where `newton-gmres` may find another one,
    /// or get stuck: for steady states of differential equations, and for maps with several equilibria.
    ///
    /// It converges, superlinearly in the end, where the trajectory does, i.e. near equilibria where the eigenvalues of J have real parts
    /// below 1; the spectral radius may be any size. Residuals may grow along a trajectory for long: `patience` of the stop has to last.
    /// Cost per step: as many products with J as GMRES takes, and one evaluation; memory `restart` + 5 vectors. Where `newton-gmres` finds
    /// the same equilibrium it is cheaper.
    ///
    /// Reference: C. T. Kelley, D. E. Keyes, Convergence Analysis of Pseudo-Transient Continuation, SIAM J. Numer. Anal. 35, 1998, eqs.
    /// 1.3-1.5.
    pub struct PseudoTransient: FixedPointSolver {
        /// First time step h, above 0, in units in which dz/dt = f(z) − z.
        pub time_step: f64 = 1.0,
        /// Largest dimension of the Krylov space, at least 1.
        pub restart: usize = 30,
        /// How far GMRES reduces the residual of each equation, in (0, 1). Dimensionless.
        pub forcing: f64 = 0.1,
    }
}

#[typetag::serde(name = "pseudo-transient")]
impl FixedPointSolver for PseudoTransient {
    fn validate(&self) -> Result<()> {
        let name = "pseudo-transient";
        Error::require_positive(name, "time_step", self.time_step)?;
        Error::require_at_least_one(name, "restart", self.restart)?;
        Error::require_inner_fraction(name, "forcing", self.forcing)
    }

    fn start(&self, space: &mut dyn Map, tolerance: Tolerance) -> Result<Box<dyn Iteration>> {
        let batch = space.batch();
        let samples = space.vectors().samples().len();
        Ok(Box::new(Transient {
            config: self.clone(),
            tolerance,
            krylov: Gmres::new(self.restart.min(space.dim()), batch),
            step: space.alloc()?,
            scaled: space.alloc()?,
            time_steps: vec![self.time_step; batch],
            norms: vec![f64::NAN; batch],
            shares: vec![1.0; samples],
            by_row: vec![0.0; batch],
            work: vec![0.0; batch],
            targets: vec![0.0; batch],
        }))
    }
}

struct Transient {
    config: PseudoTransient,
    tolerance: Tolerance,
    krylov: Gmres,
    step: Slot,
    scaled: Slot,
    /// h of every row.
    time_steps: Vec<f64>,
    /// ‖r‖ of every row before.
    norms: Vec<f64>,
    /// 1 / (1 + 1/h), by sample.
    shares: Vec<f64>,
    /// The same, by row.
    by_row: Vec<f64>,
    work: Vec<f64>,
    targets: Vec<f64>,
}

/// The longest time step: of an equation with 1/h = 1e-12, rounding leaves nothing.
const LONGEST: f64 = 1e12;

impl Iteration for Transient {
    /// The equation is solved as (I − s J) d = s r with s = 1 / (1 + 1/h).
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let batch = space.batch();
        for (row, &norm) in at.residual_norms.iter().enumerate() {
            let ratio = self.norms[row] / norm;
            let time_step = &mut self.time_steps[row];
            if ratio.is_finite() {
                *time_step = (*time_step * ratio).clamp(1.0 / LONGEST, LONGEST);
            }
            self.norms[row] = norm;
            let share = 1.0 / (1.0 + 1.0 / *time_step);
            self.shares[space.vectors().samples()[row]] = share;
            self.by_row[row] = share;
            let enough = 0.5 * self.tolerance.bound(at.value_norms[row]);
            self.targets[row] = share * enough.max(self.config.forcing * norm);
        }
        let shares = Coef::PerSample(&self.by_row[..batch]);
        space.combine(self.scaled, &[(shares, at.residual)])?;
        space.linearize(at.z)?;
        let mut implicit = Implicit {
            inner: space,
            shares: &self.shares,
            by_row: &mut self.work,
        };
        let (right, step) = (self.scaled, self.step);
        self.krylov
            .solve(&mut implicit, right, step, &self.targets[..batch])?;
        space.combine(next, &[(Coef::Same(1.0), at.z), (Coef::Same(1.0), step)])
    }

    fn permute(&mut self, swaps: &[(usize, usize)], _batch: usize) {
        for &(a, b) in swaps {
            self.time_steps.swap(a, b);
            self.norms.swap(a, b);
        }
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        self.krylov.release(space);
        space.release(self.step);
        space.release(self.scaled);
        LowRank::default()
    }
}

/// The map whose Jacobian is s J.
struct Implicit<'m> {
    inner: &'m mut dyn Map,
    /// s, by sample: rows change places.
    shares: &'m [f64],
    by_row: &'m mut [f64],
}

impl Map for Implicit<'_> {
    equilibria_core::inner_map!(inner: vectors, apply, linearize);

    fn jvp(&mut self, v: Slot, out: Slot) -> Result<usize> {
        let cost = self.inner.jvp(v, out)?;
        let samples = self.inner.vectors().samples();
        for (share, &sample) in self.by_row.iter_mut().zip(samples) {
            *share = self.shares[sample];
        }
        let batch = self.inner.batch();
        let shares = Coef::PerSample(&self.by_row[..batch]);
        self.inner.combine(out, &[(shares, out)])?;
        Ok(cost)
    }
}
