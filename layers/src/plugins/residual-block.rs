//! The residual block of DEQ fusion.

use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::modules::{GroupNorm, Linear};
use crate::{one_input_like_state, LayerConfig, LayerRequest, Layers, Vocabulary};

plugin! {
    /// The residual block of DEQ fusion (eq. 8), a group-normalized two-layer map with injected input.
    ///
    /// ẑ = ReLU(GN₁(θ̂ z + b̂)), z̃ = GN₂(θ̃ ẑ + x + b̃), f(z; x) = GN₃(ReLU(z̃)).
    ///
    /// It takes one injected input as wide as the state. Linear weights start as N(0, `deviation`²), small, so that the
    /// equilibrium is easy at first: with the usual U(±1/√d) the spectral radius is about 0.65 already.
    ///
    /// Reference: J. Ni et al., Deep Equilibrium Multimodal Fusion, arXiv 2306.16645, eq. 8. The authors' code adds z
    /// before the last ReLU; the paper does not: see `skip`.
    pub struct ResidualBlockConfig: LayerConfig {
        /// Groups of the group normalizations, a divisor of the width with two features or more to a group.
        pub groups: usize = 4,
        /// Standard deviation of the initial linear weights, above 0.
        pub deviation: f64 = 0.01,
        /// Adds z before the last ReLU, f(z; x) = GN₃(ReLU(z̃ + z)), as the authors' code does.
        pub skip: bool = false,
        /// Tokens that a state is made of, one after the other, a divisor of its width: the maps act on each, and a group of a
        /// normalization is some columns of all of them.
        pub tokens: usize = 1,
    }
}

#[typetag::serde(name = "residual-block")]
impl LayerConfig for ResidualBlockConfig {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("residual-block", "groups", self.groups)?;
        Error::require_at_least_one("residual-block", "tokens", self.tokens)?;
        Error::require_positive("residual-block", "deviation", self.deviation)
    }
}

impl Build<Layers> for ResidualBlockConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        let init = request.init;
        let width = one_input_like_state("residual-block", request.state, request.inputs)?;
        self.validate()?;
        let got = format!("{} for width {width}", self.tokens);
        let divides = width.is_multiple_of(self.tokens);
        let expected = "a divisor of the width";
        Error::require(divides, "residual-block", "tokens", expected, got)?;
        let width = width / self.tokens;
        Ok(AnyLayer::new(ResidualBlock {
            hat: Linear::normal(width, width, self.deviation, init)?,
            tilde: Linear::normal(width, width, self.deviation, init)?,
            gn1: GroupNorm::new(width, self.groups, init)?,
            gn2: GroupNorm::new(width, self.groups, init)?,
            gn3: GroupNorm::new(width, self.groups, init)?,
            skip: self.skip,
            tokens: self.tokens,
        }))
    }
}

/// `f(z; x) = GN₃(ReLU(GN₂(θ̃ ReLU(GN₁(θ̂ z + b̂)) + x + b̃)))`, eq. 8.
#[derive(Clone)]
pub struct ResidualBlock<E: Scalar, D: Backend<E>> {
    /// θ̂ and b̂.
    pub hat: Linear<E, D>,
    /// θ̃ and b̃.
    pub tilde: Linear<E, D>,
    /// Normalization of the first line of eq. 8.
    pub gn1: GroupNorm<E, D>,
    /// Normalization of the second line.
    pub gn2: GroupNorm<E, D>,
    /// Normalization of the third line.
    pub gn3: GroupNorm<E, D>,
    /// Whether z is added before the last ReLU.
    pub skip: bool,
    /// Tokens that a state is made of.
    pub tokens: usize,
}

parameters!(ResidualBlock {
    hat,
    tilde,
    gn1,
    gn2,
    gn3
});

impl<E: Scalar, D: Backend<E>> ResidualBlock<E, D> {
    /// `ẑ = ReLU(GN₁(θ̂ z + b̂))`, the first line of eq. 8.
    pub fn hat(&self, z: &Value<E, D>) -> Value<E, D> {
        let mapped = self.hat.of_tokens(z, self.tokens);
        self.gn1.of_tokens(&mapped, self.tokens).relu()
    }

    /// `z̃ = GN₂(θ̃ ẑ + x + b̃)`, the second line of eq. 8.
    pub fn tilde(&self, hat: &Value<E, D>, x: &Value<E, D>) -> Value<E, D> {
        let mapped = self.tilde.of_tokens(hat, self.tokens);
        self.gn2.of_tokens(&(mapped + x), self.tokens)
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for ResidualBlock<E, D> {
    fn state_dim(&self) -> usize {
        self.tokens * self.hat.outputs()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let tilde = self.tilde(&self.hat(z), &x[0]);
        let sum = if self.skip { tilde + z } else { tilde };
        Ok(self.gn3.of_tokens(&sum.relu(), self.tokens))
    }
}
