//! This framework's DEQ fusion with the parameters and inputs of a golden file.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::{
    from_host, to_host, AnyLayer, Equilibrium, Matrix, OnUnconverged, Parameters, StepOnly, Stop,
    Tolerance,
};
use equilibria_fusion::deq::{DeqFusion, FuseBlock, JointLayer};
use equilibria_fusion::fusions::deq::Schedule;
use equilibria_fusion::layers::modules::{GroupNorm, Linear};
use equilibria_fusion::layers::plugins::residual_block::ResidualBlock;
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::solvers::backward::implicit::Implicit;
use equilibria_fusion::solvers::forward::anderson::Anderson;

use super::file::{Config, Golden};
use crate::error::{Error, Result};

/// Parameters and inputs, as every comparison needs them.
pub struct Subject {
    /// The sizes of the case.
    pub config: Config,
    /// f_θ of each modality.
    pub theta: Vec<ResidualBlock<f64, Cpu>>,
    /// f_fuse.
    pub fuse: FuseBlock<f64, Cpu>,
    /// w_i of eq. 12.
    pub w: Matrix<f64, Cpu>,
    /// The features x_i.
    pub x: Vec<Matrix<f64, Cpu>>,
}

impl Subject {
    /// Takes everything from the file.
    pub fn new(golden: &Golden) -> Result<Self> {
        let config = golden.config.clone();
        let epsilon = GroupNorm::<f64, Cpu>::EPSILON;
        if (config.eps - epsilon).abs() > 1e-12 * epsilon {
            let message = format!(
                "group normalization has eps {epsilon} here, not {}",
                config.eps
            );
            return Err(Error::golden(&golden.path, message));
        }
        let (n, d) = (config.modalities, config.d);
        let mut init = Initializer::new(&Cpu::default(), 0);
        let init = &mut init;
        let mut theta = Vec::with_capacity(n);
        for _ in 0..n {
            theta.push(ResidualBlock {
                hat: Linear::normal(d, d, 1.0, init)?,
                tilde: Linear::normal(d, d, 1.0, init)?,
                gn1: GroupNorm::new(d, config.groups, init)?,
                gn2: GroupNorm::new(d, config.groups, init)?,
                gn3: GroupNorm::new(d, config.groups, init)?,
                skip: false,
            });
        }
        let mut subject = Self {
            theta,
            fuse: FuseBlock::new(d, n, config.groups, 1.0, init)?,
            w: init.constant((1, n), 1.0)?,
            x: (1..=n)
                .map(|i| golden.matrix(&format!("input.x.{i}"), (config.batch, d)))
                .collect::<Result<_>>()?,
            config,
        };
        let mut values = Vec::new();
        for (name, tensor) in subject.named() {
            let (rows, columns) = *tensor.shape();
            values.push(
                golden
                    .need(&format!("param.{name}"), rows * columns)?
                    .to_vec(),
            );
        }
        subject.assign(values);
        Ok(subject)
    }

    /// x_fuse = Σ_i w_i x_i, eq. 12.
    pub fn x_fuse(&self) -> Result<Matrix<f64, Cpu>> {
        let w = to_host(&self.w);
        let mut sum = vec![0.0; self.config.batch * self.config.d];
        for (w, x) in w.iter().zip(&self.x) {
            sum.iter_mut()
                .zip(to_host(x))
                .for_each(|(sum, x)| *sum += w * x);
        }
        Ok(from_host(&Cpu::default(), sum, *self.x[0].shape())?)
    }

    /// The joint layer.
    pub fn joint(&self) -> JointLayer<f64, Cpu> {
        JointLayer {
            theta: self.theta.iter().cloned().map(AnyLayer::new).collect(),
            fuse: self.fuse.clone(),
        }
    }

    /// x_1, …, x_N, x_fuse: the injected inputs of the joint layer.
    pub fn joint_inputs(&self) -> Result<Vec<Matrix<f64, Cpu>>> {
        Ok([&self.x[..], &[self.x_fuse()?]].concat())
    }

    /// Solves to the last digit by Anderson acceleration; what is left unsolved shows in the comparison.
    pub fn equilibrium<L>(&self, layer: L) -> Equilibrium<L> {
        let stop = Stop {
            max_steps: 1000,
            patience: 200,
            on_unconverged: OnUnconverged::Accept,
            ..Stop::at(Tolerance::relative(1e-14))
        };
        Equilibrium {
            layer,
            solver: Arc::new(Anderson::default()),
            backward: Arc::new(Implicit {
                solver: Box::new(Anderson::default()),
                stop: stop.clone(),
            }),
            stop,
            regularizers: Vec::new(),
        }
    }

    /// DEQ fusion in both schedules, with and without kernels.
    pub fn fusions(&self) -> Vec<DeqFusion<f64, Cpu>> {
        let mut fusions = Vec::new();
        for schedule in [Schedule::Sequential, Schedule::Joint] {
            for kernels in [true, false] {
                let theta = self.theta.iter().cloned();
                let theta = match kernels {
                    true => theta.map(AnyLayer::new).collect(),
                    false => theta.map(|theta| AnyLayer::new(StepOnly(theta))).collect(),
                };
                let (fuse, w) = (self.fuse.clone(), self.w.clone());
                let plugins = self.equilibrium(());
                fusions.push(DeqFusion::new(theta, fuse, w, schedule, plugins));
            }
        }
        fusions
    }
}

impl Parameters<f64, Cpu> for Subject {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {
        use equilibria_core::parameters::join;
        self.theta.visit(&join(path, "theta"), visitor);
        self.fuse.visit(&join(path, "fuse"), visitor);
        self.w.visit(&join(path, "fuse.w"), visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {
        use equilibria_core::parameters::join;
        self.theta.visit_mut(&join(path, "theta"), visitor);
        self.fuse.visit_mut(&join(path, "fuse"), visitor);
        self.w.visit_mut(&join(path, "fuse.w"), visitor);
    }
}
