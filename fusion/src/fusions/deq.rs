//! Deep equilibrium fusion.

use std::sync::Arc;

use dfdx::prelude::OwnedTape;
use equilibria_core::prelude::*;
use equilibria_core::Equilibrium;

use crate::deq::{DeqFusion, JointLayer, Start, Starts};
use crate::layers::plugins::residual_block::ResidualBlockConfig;
use crate::layers::{stabilize, LayerConfig, StabilizerConfig, Stabilizers};
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::solvers::backward::implicit::Implicit;
use crate::solvers::forward::anderson::Anderson;

plugin! {
    /// Deep equilibrium fusion: modality states and fused state at their joint equilibrium.
    ///
    /// z_i* = f_θi(z_i*; x_i) for every modality, z_fuse* = f_fuse(z_fuse*; {z_i*}, x_fuse) with x_fuse = Σ_i w_i x_i
    /// (eqs. 7-14); the result is z_fuse*.
    ///
    /// No f_θi sees z_fuse, so the default `schedule = "sequential"` solves the N modality equilibria first and then the
    /// fused one with the z_i* fixed: same fixed point, same gradients, but 2 matrix products per step of the hard part
    /// instead of 3N + 1. `schedule = "joint"` iterates all states together, as in the paper's figures.
    ///
    /// Gradients are exact for the equilibrium, including the path x_i → x_fuse → f_fuse that eq. 18 leaves out.
    /// Penalties are averaged over the N + 1 equilibria in the sequential schedule.
    ///
    /// Reference: J. Ni et al., Deep Equilibrium Multimodal Fusion, arXiv 2306.16645, part 3.2.
    pub struct Deq: FusionConfig {
        /// Whether the equilibria are solved one after the other or all together.
        pub schedule: Schedule = Schedule::Sequential,
        /// f_θ of every modality: any layer with one injected input as wide as its state.
        pub layer: Box<dyn LayerConfig> = Box::new(ResidualBlockConfig::default()),
        /// Groups of the group normalization of f_fuse, a divisor of the width with two features or more to a group.
        pub groups: usize = 4,
        /// Tokens that a feature is made of, one after the other, a divisor of its width: the maps of f_fuse act on each, and a group of its
        /// normalization is some columns of all of them. The layer has a number of its own.
        pub tokens: usize = 1,
        /// Standard deviation of the initial linear weights of f_fuse, above 0. Small weights make the equilibrium easy at first.
        pub deviation: f64 = 0.01,
        /// Whether f_fuse is solved for the fused state; otherwise it is Σ_i z_i* (the ablation of table 6).
        pub fuse: bool = true,
        /// Whether z'_i = α_i ⊙ z_fuse (eq. 10), or z'_i = z_i without the gate (table 7).
        pub gate: bool = true,
        /// Probability that an entry of a modality state is dropped inside f_θ, with one mask per solve, in training, in [0, 1).
        pub dropout: f64 = 0.0,
        /// Keep the matrices of every f_θ and of f_fuse small. Parameters are named as in `theta.1.hat.weight` and
        /// `fuse.alpha.weight`.
        pub stabilizer: Vec<Box<dyn StabilizerConfig>> = Vec::new(),
        /// Where solves start: `zero`; `warm`, in training at the last equilibrium of the same sample, which takes N + 1
        /// states of memory per sample; or `learned`, at a linear map of the injected feature.
        pub start: Start = Start::Zero,
        /// Factor of the loss `mean ‖start − z*‖² / width` that trains a learned start and nothing else, at least 0.
        pub start_weight: f64 = 1.0,
        /// Forward solver.
        pub solver: Box<dyn FixedPointSolver> = Box::new(Anderson::default()),
        /// When the forward solve ends.
        pub stop: Stop = Stop::default(),
        /// How gradients pass through the equilibria.
        pub backward: Box<dyn BackwardStrategy> = Box::new(Implicit::default()),
        /// Penalties at the equilibria, during training.
        pub regularizer: Vec<Box<dyn Regularizer>> = Vec::new(),
    }
}

/// How the block-triangular system is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Schedule {
    /// Modalities first, then the fused state.
    Sequential,
    /// All states together.
    Joint,
}

#[typetag::serde(name = "deq")]
impl FusionConfig for Deq {
    fn validate(&self) -> Result<()> {
        Error::require_positive("deq", "deviation", self.deviation)?;
        Error::require_at_least_one("deq", "tokens", self.tokens)?;
        let all_together = matches!(self.schedule, Schedule::Joint);
        let remedy = "`sequential` where `fuse = false`: there is no f_fuse to solve together with the others";
        Error::require(
            self.fuse || !all_together,
            "deq",
            "schedule",
            remedy,
            "joint",
        )?;
        Error::require_fraction("deq", "dropout", self.dropout)?;
        Error::require_not_negative("deq", "start_weight", self.start_weight)?;
        self.stabilizer.iter().try_for_each(|s| s.validate())?;
        self.layer.validate()?;
        self.solver.validate()?;
        self.stop.validate()?;
        self.backward.validate()?;
        self.regularizer.iter().try_for_each(|r| r.validate())
    }
}

impl Build<Fusions> for Deq {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        mut request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        let got = format!("{} for width {}", self.tokens, request.width);
        let divides = request.width.is_multiple_of(self.tokens.max(1));
        Error::require(divides, "deq", "tokens", "a divisor of the width", got)?;
        let (groups, tokens) = (self.groups, self.tokens);
        let layer = &*self.layer;
        let layer = JointLayer::new(layer, groups, tokens, self.deviation, &mut request)?;
        let JointLayer { theta, mut fuse } = layer;
        let FusionRequest {
            modalities,
            width,
            init,
            ..
        } = request;
        fuse.gate = self.gate;
        let w = init.constant((1, modalities), 1.0)?;
        let plugins = Equilibrium {
            name: String::new(),
            layer: (),
            solver: self.solver.clone().into(),
            stop: self.stop.clone(),
            backward: self.backward.clone().into(),
            regularizers: self.regularizer.iter().cloned().map(Arc::from).collect(),
        };
        let mut fusion = DeqFusion::new(theta, fuse, w, self.schedule, plugins);
        fusion.solves_fuse = self.fuse;
        fusion.dropout = self.dropout;
        fusion.starts = Starts::new(self.start, modalities + 1, width, self.start_weight, init)?;
        for stabilizer in &self.stabilizer {
            let built = <D as Backend<E>>::build::<Stabilizers>(&**stabilizer, ())?;
            fusion.stabilizers.push(built);
        }
        // A pattern that means no parameter is better found now than in the first pass.
        stabilize(&fusion.joint(), &fusion.stabilizers, OwnedTape::default())?;
        Ok(Box::new(fusion))
    }
}
