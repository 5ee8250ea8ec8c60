//! Anderson acceleration.

use equilibria_core::prelude::*;

use crate::mixing_systems::MixingSystems;
use crate::Compat;

plugin! {
    /// Anderson acceleration: the next point mixes the last m evaluations so that the mixed residual is smallest.
    ///
    /// With residuals r_j = f(z_j) − z_j of the last m points, per sample:
    /// minimize ‖Σ_j α_j r_j‖² + ridge subject to Σ_j α_j = 1, then z ← Σ_j α_j (z_j + β r_j).
    ///
    /// On affine maps it is equivalent to restarted GMRES; on smooth ones it converges at least as fast as Picard near
    /// the solution, and also where the spectral radius is moderately above 1. Cost per step: one evaluation of f, m
    /// inner products, one combination of m vectors; memory 2m vectors. The small systems are solved per sample on the
    /// host in f64; one that is singular falls back to a Picard step for that sample alone.
    ///
    /// A sample whose residual has grown beyond `growth` times its smallest forgets all points but the last.
    ///
    /// The ridge is *relative* by default: the Gram matrix is divided by its largest diagonal entry first. With
    /// `ridge = "absolute"`, `regularization = 1e-4` and `compat = "torchdeq"` the iterates are those of TorchDEQ, whose
    /// convergence flattens once ‖r‖² falls below the regularization.
    ///
    /// Reference: H. F. Walker, P. Ni, Anderson acceleration for fixed-point iterations, SIAM J. Numer. Anal. 49, 2011.
    pub struct Anderson: FixedPointSolver {
        /// Number of points mixed, m, from 1 to 100; 1 is Picard iteration.
        pub memory: usize = 6,
        /// Mixing β in (0, 2]: 1 mixes values of f only. Dimensionless.
        pub mixing: f64 = 1.0,
        /// Whether `regularization` is relative to the largest squared residual norm, or absolute in units of z².
        pub ridge: Ridge = Ridge::Relative,
        /// The number added to the diagonal of the Gram matrix, at least 0.
        pub regularization: f64 = 1e-8,
        /// Growth of the residual over its smallest value that restarts a sample, above 1. Dimensionless.
        pub growth: f64 = 1e3,
        /// `"torchdeq"`: its recurrence, whose first step is not damped and which never restarts.
        pub compat: Option<Compat> = None,
    }
}

/// What the regularization is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Ridge {
    /// The largest diagonal entry of the Gram matrix.
    Relative,
    /// 1, as in TorchDEQ.
    Absolute,
}

#[typetag::serde(name = "anderson")]
impl FixedPointSolver for Anderson {
    fn validate(&self) -> Result<()> {
        let mixing = self.mixing > 0.0 && self.mixing <= 2.0;
        Error::require_at_least_one("anderson", "memory", self.memory)?;
        Error::require(
            self.memory <= 100,
            "anderson",
            "memory",
            "at most 100",
            self.memory,
        )?;
        Error::require(mixing, "anderson", "mixing", "in (0, 2]", self.mixing)?;
        Error::require_not_negative("anderson", "regularization", self.regularization)?;
        Error::require_above_one("anderson", "growth", self.growth)?;
        let fits = self.compat.is_none() || self.ridge == Ridge::Absolute;
        let got = "relative";
        Error::require(
            fits,
            "anderson",
            "ridge",
            "absolute with compat = \"torchdeq\"",
            got,
        )
    }

    fn start(&self, space: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
        // More than dim + 1 residuals are dependent: the oldest would only blur the others.
        let useful = match self.compat {
            Some(Compat::Torchdeq) => self.memory,
            None => self.memory.min(space.dim() + 1),
        };
        let (m, batch) = (useful, space.batch());
        Ok(Box::new(Mixing {
            config: Self {
                memory: m,
                ..self.clone()
            },
            values: Vec::with_capacity(m),
            residuals: Vec::with_capacity(m),
            evaluations: 0,
            smallest: vec![f64::INFINITY; batch],
            products: vec![0.0; batch * m],
            places: Vec::with_capacity(m),
            systems: MixingSystems::new(
                m,
                batch,
                self.regularization,
                self.ridge == Ridge::Relative,
            ),
        }))
    }

    fn tolerates_rounding(&self) -> bool {
        self.compat.is_none()
    }
}

/// The history of one solve; point k sits in place k mod m.
struct Mixing {
    config: Anderson,
    values: Vec<Slot>,
    residuals: Vec<Slot>,
    evaluations: usize,
    /// Smallest residual of each sample.
    smallest: Vec<f64>,
    products: Vec<f64>,
    /// Places of the points, from the newest to the oldest.
    places: Vec<usize>,
    systems: MixingSystems,
}

impl Iteration for Mixing {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let newest = self.remember(space, at)?;
        let (points, batch) = (self.residuals.len(), space.batch());
        let products = &mut self.products[..batch * points];
        space.dots(self.residuals[newest], &self.residuals, products)?;
        self.systems.insert(newest, points, products);
        for (sample, &norm) in at.residual_norms.iter().enumerate() {
            let grown = self.has_grown(sample, norm);
            self.systems.extend(sample, grown);
        }
        self.places.clear();
        (self.places).extend((0..points).map(|age| (newest + points - age) % points));
        self.systems.solve(&self.places, batch);
        self.mix(space, next)
    }

    fn permute(&mut self, swaps: &[(usize, usize)], _batch: usize) {
        for &(a, b) in swaps {
            self.smallest.swap(a, b);
            self.systems.swap(a, b);
        }
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        for slot in self.values.drain(..).chain(self.residuals.drain(..)) {
            space.release(slot);
        }
        LowRank::default()
    }
}

impl Mixing {
    /// Stores an evaluation in place of the oldest one and returns its place.
    fn remember(&mut self, space: &mut dyn Map, at: &mut Evaluation) -> Result<usize> {
        let place = self.evaluations % self.config.memory;
        self.evaluations += 1;
        if place == self.values.len() {
            self.values.push(space.alloc()?);
            self.residuals.push(space.alloc()?);
        }
        std::mem::swap(&mut self.values[place], &mut at.fz);
        std::mem::swap(&mut self.residuals[place], &mut at.residual);
        Ok(place)
    }

    /// Writes the next point by the weights that the systems have: Σ α (z + β r).
    fn mix(&mut self, space: &mut dyn Map, next: Slot) -> Result<()> {
        // TorchDEQ takes its first step undamped.
        let undamped = self.evaluations == 1 && self.config.compat.is_some();
        let mixing = if undamped { 1.0 } else { self.config.mixing };
        let weights = self.systems.weights();
        let values = weights.iter().zip(&self.values);
        let values = values.map(|(weight, &value)| (Coef::PerSample(weight), value));
        combine_all(space, next, values)?;
        // Σ α (z + β r) = Σ α f(z) − (1 − β) Σ α r: with the usual β = 1 the residuals need not be read.
        #[allow(clippy::float_cmp)] // exactly 1 is the common case
        if mixing != 1.0 {
            for weight in weights.iter_mut().flatten() {
                *weight *= mixing - 1.0;
            }
            let rest = weights.iter().zip(&self.residuals);
            let rest = rest.map(|(weight, &residual)| (Coef::PerSample(weight), residual));
            combine_all(
                space,
                next,
                std::iter::once((Coef::Same(1.0), next)).chain(rest),
            )?;
        }
        Ok(())
    }

    /// Whether the residual of a sample has grown so much that it had better forget its points.
    fn has_grown(&mut self, sample: usize, norm: f64) -> bool {
        let smallest = &mut self.smallest[sample];
        let grown = self.config.compat.is_none() && norm > self.config.growth * *smallest;
        *smallest = smallest.min(norm);
        grown
    }
}
