//! The parts of DEQ fusion with given parameters and inputs, as files of arrays hold them.

use dfdx::prelude::*;
use equilibria_core::parameters::join;
use equilibria_core::{
    from_host, to_host, AnyLayer, Backend, Equilibrium, Matrix, Parameters, Scalar, StepOnly,
};
use equilibria_fusion::deq::{DeqFusion, FuseBlock, JointLayer};
use equilibria_fusion::fusions::deq::Schedule;
use equilibria_fusion::layers::modules::{GroupNorm, Linear};
use equilibria_fusion::layers::plugins::residual_block::ResidualBlock;
use equilibria_fusion::layers::Initializer;

use crate::{Error, Result};

/// Sizes of a case.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// B, samples.
    pub batch: usize,
    /// d, the width of every state.
    pub width: usize,
    /// N.
    pub modalities: usize,
    /// Groups of every group normalization.
    pub groups: usize,
    /// Tokens that every state is made of, 1 but where maps act on parts of it.
    pub tokens: usize,
}

impl Sizes {
    /// K = (N + 1) d, the dimension of the joint state.
    pub fn joint_dim(&self) -> usize {
        (self.modalities + 1) * self.width
    }
}

/// Parameters and features.
pub struct Parts<E: Scalar, D: Backend<E> = Cpu> {
    /// Their sizes.
    pub sizes: Sizes,
    /// f_θ of each modality.
    pub theta: Vec<ResidualBlock<E, D>>,
    /// f_fuse.
    pub fuse: FuseBlock<E, D>,
    /// w_i of eq. 12.
    pub w: Matrix<E, D>,
    /// The features x_i.
    pub x: Vec<Matrix<E, D>>,
}

impl<E: Scalar, D: Backend<E>> Parts<E, D> {
    /// Takes the arrays `param.*` and `input.x.*` from `get`, which is told name and number of entries.
    ///
    /// # Errors
    /// That of `wrong`, which is told what is wrong with the sizes, those of `get`, and those of building the layers.
    pub fn new(
        device: &D,
        sizes: &Sizes,
        get: impl Fn(&str, usize) -> Result<Vec<E>>,
        wrong: impl Fn(&str) -> Error,
    ) -> Result<Self> {
        let (n, groups, tokens) = (sizes.modalities, sizes.groups, sizes.tokens);
        let d = sizes.width / tokens.max(1);
        if sizes.batch == 0 || d == 0 || n == 0 {
            return Err(wrong("a batch, a width and modalities of at least 1"));
        }
        // Sizes stand in files: what they call for is there before memory is taken for it.
        let entries = |a: usize, b: usize| {
            let product = a.checked_mul(b);
            product.ok_or_else(|| wrong("sizes of arrays that memory has room for"))
        };
        get("param.fuse.w", n)?;
        let mut x = Vec::with_capacity(n);
        for i in 1..=n {
            let count = entries(sizes.batch, sizes.width)?;
            let values = get(&format!("input.x.{i}"), count)?;
            x.push(from_host(device, values, (sizes.batch, sizes.width))?);
        }
        get("param.fuse.fuse.weight", entries(d, d)?)?;
        if groups == 0 || !d.is_multiple_of(groups) || d / groups < 2 {
            return Err(wrong(
                "groups of two features or more that divide the width",
            ));
        }
        let mut init = Initializer::new(device, 0);
        let init = &mut init;
        let mut theta = Vec::with_capacity(n);
        for _ in 0..n {
            theta.push(ResidualBlock {
                hat: Linear::normal(d, d, 1.0, init)?,
                tilde: Linear::normal(d, d, 1.0, init)?,
                gn1: GroupNorm::new(d, groups, init)?,
                gn2: GroupNorm::new(d, groups, init)?,
                gn3: GroupNorm::new(d, groups, init)?,
                skip: false,
                tokens,
            });
        }
        let mut fuse = FuseBlock::new(d, n, groups, 1.0, init)?;
        fuse.tokens = tokens;
        let mut parts = Self {
            sizes: sizes.clone(),
            theta,
            fuse,
            w: init.constant((1, n), 1.0)?,
            x,
        };
        let mut values = Vec::new();
        for (name, tensor) in parts.named() {
            let (rows, columns) = *tensor.shape();
            values.push(get(&format!("param.{name}"), rows * columns)?);
        }
        parts.assign(values)?;
        Ok(parts)
    }

    /// x_fuse = Σ_i w_i x_i, eq. 12.
    pub fn x_fuse(&self) -> Result<Matrix<E, D>> {
        let shape = (self.sizes.batch, self.sizes.width);
        let mut sum = vec![E::zero(); shape.0 * shape.1];
        for (w, x) in to_host(&self.w).into_iter().zip(&self.x) {
            let terms = sum.iter_mut().zip(to_host(x));
            terms.for_each(|(sum, x)| *sum += w * x);
        }
        Ok(from_host(self.w.device(), sum, shape)?)
    }

    /// The joint layer.
    pub fn joint(&self) -> JointLayer<E, D> {
        JointLayer {
            theta: self.theta.iter().cloned().map(AnyLayer::new).collect(),
            fuse: self.fuse.clone(),
        }
    }

    /// x_1, …, x_N, x_fuse: the injected inputs of the joint layer.
    pub fn joint_inputs(&self) -> Result<Vec<Matrix<E, D>>> {
        Ok([&self.x[..], &[self.x_fuse()?]].concat())
    }

    /// DEQ fusion over these parameters; without `kernels`, every f_θ is evaluated by its steps.
    pub fn fusion(
        &self,
        schedule: Schedule,
        kernels: bool,
        plugins: Equilibrium<()>,
    ) -> DeqFusion<E, D> {
        let theta = self.theta.iter().cloned();
        let theta = match kernels {
            true => theta.map(AnyLayer::new).collect(),
            false => theta.map(|theta| AnyLayer::new(StepOnly(theta))).collect(),
        };
        DeqFusion::new(theta, self.fuse.clone(), self.w.clone(), schedule, plugins)
    }
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Parts<E, D> {
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
