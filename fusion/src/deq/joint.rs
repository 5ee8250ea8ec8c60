//! All states of DEQ fusion in one system, as in the paper's figures.

use dfdx::prelude::OwnedTape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use super::FuseBlock;
use crate::layers::{concatenate, LayerConfig, LayerRequest, Vocabulary};
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
    /// New maps f_θ by `layer`, one per modality, and f_fuse with so many `groups` and on so many `tokens`; `deviation` is that of its
    /// linear weights.
    pub fn new(
        layer: &dyn LayerConfig,
        groups: usize,
        tokens: usize,
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
        let own = width / tokens.max(1);
        let fuse = FuseBlock::new(own, modalities, groups, deviation, request.init);
        let mut fuse = fuse.map_err(|error| groups_of("fusion", error))?;
        fuse.tokens = tokens;
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

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let (n, d) = (self.theta.len(), self.fuse.state_dim());
        let part = |index: usize| z.columns(index * d..(index + 1) * d);
        let mut states = Vec::with_capacity(n + 1);
        for (index, theta) in self.theta.iter().enumerate() {
            states.push(theta.step(&part(index), &x[index..=index])?);
        }
        let z_fuse = part(n);
        let sum = states.iter().cloned().reduce(|sum, u| sum + u);
        let sum = sum.unwrap_or_else(|| &z_fuse * 0.0);
        let purified = self.fuse.purified(&z_fuse, &sum);
        states.push(self.fuse.combine(&purified, &x[n]));
        Ok(concatenate(states))
    }

    fn formed(&self, mut tape: OwnedTape<E, D>) -> Result<Formed<E, D>> {
        let (mut joint, mut forms) = (self.clone(), false);
        for theta in &mut joint.theta {
            let (formed, grown) = theta.formed(tape)?;
            tape = grown;
            if let Some(formed) = formed {
                (*theta, forms) = (formed, true);
            }
        }
        Ok((forms.then(|| AnyLayer::new(joint)), tape))
    }

    fn reaches_input(&self, index: usize) -> bool {
        let theta = self.theta.get(index);
        theta.is_none_or(|theta| theta.reaches_input(0))
    }
}
