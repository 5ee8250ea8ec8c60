//! All states of DEQ fusion in one system, as in the paper's figures.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use super::joint_kernel::JointKernel;
use super::FuseBlock;
use crate::layers::modules::columns;
use crate::layers::{LayerConfig, LayerRequest};
use crate::model::FusionRequest;

/// `F(z) = (u_1, …, u_N, f_fuse(z_fuse; {u_i}, x_fuse))` with `u_i = f_θi(z_i; x_i)`, eqs. 7-13.
///
/// The state of a sample is `[z_1 | … | z_N | z_fuse]`; the gate sees the new `u_i`, because eq. 9 uses z_i^[j+1].
/// Injected inputs are `x_1, …, x_N, x_fuse`.
#[derive(Clone)]
pub struct JointLayer<E: Scalar, D: Backend<E>> {
    /// f_θ of each modality.
    pub theta: Vec<AnyLayer<E, D>>,
    /// f_fuse.
    pub fuse: FuseBlock<E, D>,
}

parameters!(JointLayer { theta, fuse });

impl<E: Scalar, D: Backend<E>> JointLayer<E, D> {
    /// New maps f_θ by `layer`, one per modality, and f_fuse with so many `groups`; `deviation` is that of its linear weights.
    pub fn new(
        layer: &dyn LayerConfig,
        groups: usize,
        deviation: f64,
        request: &mut FusionRequest<'_, D>,
    ) -> Result<Self> {
        let (modalities, width) = (request.modalities, request.width);
        let mut theta = Vec::with_capacity(modalities);
        for _ in 0..modalities {
            let request = LayerRequest {
                state: width,
                inputs: &[width],
                init: request.init,
            };
            let built = <D as Backend<E>>::build(layer, request);
            theta.push(built.map_err(|error| groups_of("fusion.layer", error))?);
        }
        let fuse = FuseBlock::new(width, modalities, groups, deviation, request.init)
            .map_err(|error| groups_of("fusion", error))?;
        Ok(Self { theta, fuse })
    }
}

/// What a group normalization refuses, by the table of the configuration its `groups` are in.
fn groups_of(table: &'static str, error: Error) -> Error {
    match error {
        Error::Config {
            plugin: "group-norm",
            field,
            expected,
            got,
        } => Error::Config {
            plugin: table,
            field,
            expected,
            got,
        },
        other => other,
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for JointLayer<E, D> {
    fn state_dim(&self) -> usize {
        (self.theta.len() + 1) * self.fuse.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.fuse.state_dim(); self.theta.len() + 1]
    }

    fn step<T: AnyTape<E, D>>(
        &self,
        z: Matrix<E, D, T>,
        x: &[Input<E, D, T>],
    ) -> Result<Matrix<E, D, T>> {
        let (n, d) = (self.theta.len(), self.fuse.state_dim());
        let part = |index: usize| columns(z.with_empty_tape(), index * d..(index + 1) * d);
        let mut sum: Option<Matrix<E, D, T>> = None;
        let mut joint: Option<Matrix<E, D, T>> = None;
        let append = |joint: Option<Matrix<E, D, T>>, next: Matrix<E, D, T>| match joint {
            Some(joint) => (joint, next).concat_along(Axis::<1>).realize(),
            None => next,
        };
        for (index, theta) in self.theta.iter().enumerate() {
            let u = theta.step(part(index)?, std::slice::from_ref(&x[index]))?;
            sum = Some(match sum {
                Some(sum) => sum + u.with_empty_tape(),
                None => u.with_empty_tape(),
            });
            joint = Some(append(joint, u));
        }
        let z_fuse = part(n)?;
        let sum = sum.unwrap_or_else(|| z_fuse.with_empty_tape() * E::zero());
        let purified = self.fuse.purified(z_fuse, sum);
        let fused = self.fuse.combine(purified, x[n].value())?;
        let (_, tape) = z.split_tape();
        let (joint, rest) = append(joint, fused).split_tape();
        Ok(joint.put_tape(tape.merge(rest)))
    }

    fn kernel(&self, x: &[Matrix<E, D>]) -> Option<Arc<dyn Kernel<E>>> {
        JointKernel::new(self, x).map(|kernel| Arc::new(kernel) as Arc<dyn Kernel<E>>)
    }
}
