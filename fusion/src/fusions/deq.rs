//! Deep equilibrium fusion.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::parameters::join;
use equilibria_core::prelude::*;
use equilibria_core::{AnyLayer, Equilibrium};

use crate::deq::{FuseBlock, JointLayer};
use crate::fusions::weighted_sum::weighted_sum;
use crate::layers::plugins::residual_block::ResidualBlockConfig;
use crate::layers::{LayerConfig, LayerRequest};
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::{Pass, Solve};
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
        /// Groups of the group normalization of f_fuse, a divisor of the width.
        pub groups: usize = 4,
        /// Standard deviation of the initial linear weights of f_fuse, above 0. Small weights make the equilibrium easy at first.
        pub deviation: f64 = 0.01,
        /// Whether z'_i = α_i ⊙ z_fuse (eq. 10), or z'_i = z_i without the gate (table 7).
        pub gate: bool = true,
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
        let positive = self.deviation > 0.0 && self.deviation.is_finite();
        Error::require(
            positive,
            "deq",
            "deviation",
            "finite and above 0",
            self.deviation,
        )?;
        self.solver.validate()?;
        self.stop.validate()?;
        self.backward.validate()?;
        self.regularizer.iter().try_for_each(|r| r.validate())
    }
}

impl Build<Fusions> for Deq {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        let FusionRequest {
            modalities,
            width,
            init,
        } = request;
        let mut theta = Vec::with_capacity(modalities);
        for _ in 0..modalities {
            theta.push(<D as Backend<E>>::build(
                &*self.layer,
                LayerRequest {
                    state: width,
                    inputs: &[width],
                    init,
                },
            )?);
        }
        let mut fuse = FuseBlock::new(width, modalities, self.groups, self.deviation, init)?;
        fuse.gate = self.gate;
        Ok(Box::new(DeqFusion {
            theta,
            fuse,
            w: init.constant((1, modalities), 1.0)?,
            schedule: self.schedule,
            plugins: Equilibrium {
                layer: (),
                solver: self.solver.clone().into(),
                stop: self.stop.clone(),
                backward: self.backward.clone().into(),
                regularizers: self.regularizer.iter().cloned().map(Arc::from).collect(),
            },
        }))
    }
}

/// The parameters of DEQ fusion and the plugins that solve it.
pub struct DeqFusion<E: Scalar, D: Backend<E>> {
    /// f_θ of each modality.
    pub theta: Vec<AnyLayer<E, D>>,
    /// f_fuse.
    pub fuse: FuseBlock<E, D>,
    /// w_i of eq. 12, `[1, N]`.
    pub w: Matrix<E, D>,
    /// How the system is solved.
    pub schedule: Schedule,
    /// Solver, stop, backward strategy and regularizers, for whichever layer.
    pub plugins: Equilibrium<()>,
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for DeqFusion<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.theta.visit(&join(path, "theta"), visitor);
        self.fuse.visit(&join(path, "fuse"), visitor);
        self.w.visit(&join(path, "fuse.w"), visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.theta.visit_mut(&join(path, "theta"), visitor);
        self.fuse.visit_mut(&join(path, "fuse"), visitor);
        self.w.visit_mut(&join(path, "fuse.w"), visitor);
    }
}

impl<E: Scalar, D: Backend<E>> DeqFusion<E, D> {
    /// The joint layer over the same parameters.
    pub fn joint(&self) -> JointLayer<E, D> {
        JointLayer {
            theta: self.theta.clone(),
            fuse: self.fuse.clone(),
        }
    }

    /// The equilibrium `z_1*, …, z_N*, z_fuse*` of eq. 14, each `[batch, width]`.
    ///
    /// `x_fuse` is a variable of its own here: for x_fuse = Σ_i w_i x_i, compute it in the same pass.
    pub fn states(
        &self,
        x: &[Matrix<E, D>],
        x_fuse: Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        match self.schedule {
            Schedule::Sequential => self.solve_in_turn(x, x_fuse, pass),
            Schedule::Joint => self.solve_jointly(x, x_fuse, pass),
        }
    }

    fn solve_jointly(
        &self,
        x: &[Matrix<E, D>],
        x_fuse: Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let d = self.output_dim();
        let inputs = [x, &[x_fuse]].concat();
        let z = self.solve("joint".to_owned(), self.joint(), &inputs, 1.0, pass)?;
        let mut part = |part: usize| {
            let columns = part * d..(part + 1) * d;
            pass.run(&z, |z| z.slice((.., columns)).realize())
        };
        Ok((0..=x.len()).map(&mut part).collect())
    }

    fn solve_in_turn(
        &self,
        x: &[Matrix<E, D>],
        x_fuse: Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let share = 1.0 / (x.len() + 1) as f64;
        let mut states = Vec::with_capacity(x.len() + 1);
        let mut sum: Option<Matrix<E, D>> = None;
        for (index, (theta, x)) in self.theta.iter().zip(x.chunks(1)).enumerate() {
            let name = format!("theta.{}", index + 1);
            let z = self.solve(name, theta.clone(), x, share, pass)?;
            sum = Some(match sum {
                Some(sum) => pass.run(&sum, |sum| sum + z.clone()),
                None => z.clone(),
            });
            states.push(z);
        }
        let inputs = [sum.unwrap_or_else(|| x_fuse.clone()), x_fuse];
        states.push(self.solve("fuse".to_owned(), self.fuse.clone(), &inputs, share, pass)?);
        Ok(states)
    }

    fn solve<L: ImplicitLayer<E, D>>(
        &self,
        name: String,
        layer: L,
        x: &[Matrix<E, D>],
        share: f64,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let equilibrium = self.plugins.with_layer(layer);
        let (z, report, adjoint) = pass.lend(|tape| {
            let solved = equilibrium.forward(x, tape)?;
            let (z, tape) = solved.z.split_tape();
            Ok(((z, solved.report, solved.adjoint), tape))
        })?;
        if let Some(seed) = pass.seed.filter(|_| !equilibrium.regularizers.is_empty()) {
            let seed = seed.wrapping_add(pass.solves.len() as u64);
            let penalty = pass.lend(|tape| {
                let penalty = equilibrium.penalty(&z, x, tape, seed)?;
                Ok((penalty * E::of(share)).split_tape())
            })?;
            pass.losses.push(penalty);
        }
        pass.solves.push(Solve {
            name,
            report,
            adjoint,
        });
        Ok(z)
    }
}

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for DeqFusion<E, D> {
    fn output_dim(&self) -> usize {
        self.fuse.state_dim()
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let x_fuse = weighted_sum(&self.w, x, pass);
        let mut states = self.states(x, x_fuse, pass)?;
        Ok(states.swap_remove(x.len()))
    }
}
