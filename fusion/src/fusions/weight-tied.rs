//! The weight-tied network: the map of DEQ fusion applied a fixed number of times.

use dfdx::prelude::*;
use equilibria_core::parameters::join;
use equilibria_core::prelude::*;
use equilibria_core::{apply, Equilibrium};

use crate::deq::{solver_differences, JointLayer};
use crate::fusions::weighted_sum::weighted_sum;
use crate::layers::modules::columns;
use crate::layers::plugins::residual_block::ResidualBlockConfig;
use crate::layers::LayerConfig;
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;
use crate::solvers::{backward, solver};

plugin! {
    /// The weight-tied network of DEQ fusion: its map applied K times from 0, trained by backpropagation through all steps.
    ///
    /// z^[j+1] = F(z^[j]; x), z^[0] = 0, with the joint map F of eqs. 8-13; the result is z_fuse^[K]. Nothing is solved, and
    /// memory grows with K: what DEQ fusion is compared with in figure 3 (its iterates need not settle) and, with K = 1, in
    /// table 6 (no recursion). From 0 one application does not depend on f_θ, since the gate multiplies by z_fuse = 0; the
    /// text of the paper means Σ_i w_i z_i^[1] there: `fuse = false`.
    ///
    /// Reference: J. Ni et al., Deep Equilibrium Multimodal Fusion, arXiv 2306.16645, part 4.2.
    pub struct WeightTiedConfig: FusionConfig {
        /// Number of applications K, from 1 to 1000.
        pub steps: usize = 10,
        /// f_θ of every modality: any layer with one injected input as wide as its state.
        pub layer: Box<dyn LayerConfig> = Box::new(ResidualBlockConfig::default()),
        /// Groups of the group normalization of f_fuse, a divisor of the width with two features or more to a group.
        pub groups: usize = 4,
        /// Standard deviation of the initial linear weights of f_fuse, above 0.
        pub deviation: f64 = 0.01,
        /// Whether the result is z_fuse^[K]; otherwise it is Σ_i w_i z_i^[K], without f_fuse.
        pub fuse: bool = true,
    }
}

/// Every application is kept for the backward pass: more would be a mistake.
const MOST_STEPS: usize = 1000;

#[typetag::serde(name = "weight-tied")]
impl FusionConfig for WeightTiedConfig {
    fn validate(&self) -> Result<()> {
        let proper = (1..=MOST_STEPS).contains(&self.steps);
        Error::require(proper, "weight-tied", "steps", "from 1 to 1000", self.steps)?;
        Error::require_positive("weight-tied", "deviation", self.deviation)?;
        self.layer.validate()
    }
}

impl Build<Fusions> for WeightTiedConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        mut request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        let layer = JointLayer::new(&*self.layer, self.groups, 1, self.deviation, &mut request)?;
        Ok(Box::new(WeightTied {
            layer,
            w: request.init.constant((1, request.modalities), 1.0)?,
            steps: self.steps,
            fuse: self.fuse,
        }))
    }
}

/// `z^[j+1] = F(z^[j]; x)` from 0.
pub struct WeightTied<E: Scalar, D: Backend<E>> {
    /// F.
    pub layer: JointLayer<E, D>,
    /// w_i of eq. 12, `[1, N]`.
    pub w: Matrix<E, D>,
    /// K.
    pub steps: usize,
    /// Whether the result is the fused state.
    pub fuse: bool,
}

impl<E: Scalar, D: Backend<E>> Parameters<E, D> for WeightTied<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        self.layer.theta.visit(&join(path, "theta"), visitor);
        if self.fuse {
            self.layer.fuse.visit(&join(path, "fuse"), visitor);
        }
        self.w.visit(&join(path, "fuse.w"), visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        self.layer.theta.visit_mut(&join(path, "theta"), visitor);
        if self.fuse {
            self.layer.fuse.visit_mut(&join(path, "fuse"), visitor);
        }
        self.w.visit_mut(&join(path, "fuse.w"), visitor);
    }

    fn project(&mut self) -> Result<()> {
        self.layer.theta.project()
    }
}

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for WeightTied<E, D> {
    fn output_dim(&self) -> usize {
        self.layer.fuse.state_dim()
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let x_fuse = weighted_sum(&self.w, x, pass)?;
        let (batch, width) = *x_fuse.shape();
        let zero = x_fuse
            .device()
            .try_zeros_like(&(batch, self.layer.state_dim()));
        let mut z = zero.map_err(Error::device)?;
        let inputs = [x, &[x_fuse]].concat();
        for _ in 0..self.steps {
            z =
                pass.lend(|tape| Ok(apply(&self.layer, z.put_tape(tape), &inputs)?.split_tape()))?;
        }
        let mut part =
            |index: usize| pass.try_run(&z, |z| columns(z, index * width..(index + 1) * width));
        if self.fuse {
            return part(x.len());
        }
        let states = (0..x.len()).map(&mut part).collect::<Result<Vec<_>>>()?;
        weighted_sum(&self.w, &states, pass)
    }

    /// Those of the iteration z ← F(z; x), also beyond the steps the network was trained for.
    fn differences(&self, x: &[Matrix<E, D>], steps: usize) -> Result<Option<Vec<Vec<f64>>>> {
        if !self.fuse {
            return Ok(None);
        }
        let x_fuse = weighted_sum(&self.w, x, &mut Pass::evaluation())?;
        let inputs = [x, &[x_fuse]].concat();
        let picard = Equilibrium::new(self.layer.clone(), solver("picard")?, backward("implicit")?);
        let (n, width) = (x.len(), self.output_dim());
        solver_differences(&picard, &inputs, n * width..(n + 1) * width, steps).map(Some)
    }
}
