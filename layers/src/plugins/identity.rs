//! The identity on the injected input.

use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::{one_input_like_state, LayerConfig, LayerRequest, Layers};

plugin! {
    /// The layer f(z; x) = x: its equilibrium is the injected input itself.
    ///
    /// No parameters, and nothing to solve. As f_θ of DEQ fusion it takes the modality projections away, z_i* = x_i
    /// (table 6, third ablation). It takes one injected input as wide as the state.
    ///
    /// Reference: J. Ni et al., Deep Equilibrium Multimodal Fusion, arXiv 2306.16645, part 4.2.
    pub struct IdentityConfig: LayerConfig {}
}

#[typetag::serde(name = "identity")]
impl LayerConfig for IdentityConfig {}

impl Build<Layers> for IdentityConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        let width = one_input_like_state("identity", request.state, request.inputs)?;
        Ok(AnyLayer::new(Identity { width }))
    }
}

/// `f(z; x) = x`.
#[derive(Clone)]
pub struct Identity {
    /// Width of state and input.
    pub width: usize,
}

parameters!(Identity);

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Identity {
    fn state_dim(&self) -> usize {
        self.width
    }

    fn step(&self, _z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(x[0].clone())
    }
}
