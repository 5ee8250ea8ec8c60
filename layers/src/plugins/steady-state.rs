//! The steady state of a rate network.

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::config::pairs;
use crate::modules::Linear;
use crate::vector_field::{Euler, VectorField};
use crate::{one_input, LayerConfig, LayerRequest, Layers, Vocabulary};

plugin! {
    /// The steady state of the rate network dz/dt = −z + W tanh(z) + U x + b, as the fixed point of f(z; x) = z + h g(z; x).
    ///
    /// The continuous-time recurrent network, or Hopfield's with graded responses. For ‖W‖₂ < 1 there is one steady state, and it is
    /// stable; beyond, there may be several, and some that the network leaves: where stability counts, look at the spectrum of the Jacobian,
    /// whose eigenvalues are 1 + h λ with Re λ < 0 at a stable state. A short step h makes plain iteration slow: solve it by `anderson`,
    /// `broyden` or `newton-gmres`. It takes one injected input of any width. Of any other vector field a layer is made by
    /// [`Euler`](crate::vector_field::Euler).
    ///
    /// Reference: J. J. Hopfield, Neurons with Graded Response, PNAS 81 (1984); A. Pal et al., Continuous Deep Equilibrium Models, ICLR 2023.
    pub struct SteadyStateConfig: LayerConfig {
        /// h, above 0. In units of the time constant of the network.
        pub step: f64 = 0.5,
        /// Scale of the initial W, above 0: its entries have deviation `gain` / √d, so that ‖W‖₂ ≈ 2 `gain`. Dimensionless.
        pub gain: f64 = 0.4,
    }
}

#[typetag::serde(name = "steady-state")]
impl LayerConfig for SteadyStateConfig {
    fn validate(&self) -> Result<()> {
        Error::require_positive("steady-state", "step", self.step)?;
        Error::require_positive("steady-state", "gain", self.gain)
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[("w.weight", "w.weight"), ("w.bias", "w.bias"), ("u", "u")])
    }
}

impl Build<Layers> for SteadyStateConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        let (state, init) = (request.state, request.init);
        let width = one_input("steady-state", request.inputs)?;
        let deviation = self.gain / (state.max(1) as f64).sqrt();
        Ok(AnyLayer::new(Euler {
            field: RateNetwork {
                w: Linear::normal(state, state, deviation, init)?,
                u: init.xavier_normal(state, width)?,
            },
            step: self.step,
        }))
    }
}

/// `g(z; x) = −z + W tanh(z) + U x + b`.
#[derive(Clone)]
pub struct RateNetwork<E: Scalar, D: Backend<E>> {
    /// W, `[dim, dim]`, and b.
    pub w: Linear<E, D>,
    /// U, `[dim, width of x]`.
    pub u: Matrix<E, D>,
}

parameters!(RateNetwork { w, u });

impl<E: Scalar, D: Backend<E>> VectorField<E, D> for RateNetwork<E, D> {
    fn state_dim(&self) -> usize {
        self.w.outputs()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.u.shape().1]
    }

    fn velocity(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(self.w.of(&z.tanh()) + x[0].product(&self.u) - z)
    }
}
