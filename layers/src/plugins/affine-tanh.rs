//! The affine-tanh layer.

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::modules::Linear;
use crate::{one_input, LayerConfig, LayerRequest, Layers, Vocabulary};

plugin! {
    /// The affine-tanh layer, f(z; x) = tanh(W z + U x + b).
    ///
    /// The smallest useful equilibrium: a recurrent cell run to rest. A contraction where ‖W‖₂ < 1, which the default
    /// initialization makes likely: W has independent normal entries of deviation `gain` / √d, so ‖W‖₂ ≈ 2 `gain`.
    /// It takes one injected input of any width.
    ///
    /// Reference: S. Bai, J. Z. Kolter, V. Koltun, Deep Equilibrium Models, NeurIPS 2019, §3 (weight-tied networks).
    pub struct AffineTanhConfig: LayerConfig {
        /// Scale of the initial W, above 0. Dimensionless.
        pub gain: f64 = 0.4,
    }
}

#[typetag::serde(name = "affine-tanh")]
impl LayerConfig for AffineTanhConfig {
    fn validate(&self) -> Result<()> {
        Error::require_positive("affine-tanh", "gain", self.gain)
    }
}

impl Build<Layers> for AffineTanhConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        let (state, init) = (request.state, request.init);
        let width = one_input("affine-tanh", request.inputs)?;
        Ok(AnyLayer::new(AffineTanh {
            w: Linear::normal(state, state, self.gain / (state as f64).sqrt(), init)?,
            u: init.xavier_normal(state, width)?,
        }))
    }
}

/// `f(z; x) = tanh(W z + U x + b)`.
#[derive(Clone)]
pub struct AffineTanh<E: Scalar, D: Backend<E>> {
    /// W, `[dim, dim]`, and b.
    pub w: Linear<E, D>,
    /// U, `[dim, width of x]`.
    pub u: Matrix<E, D>,
}

parameters!(AffineTanh { w, u });

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for AffineTanh<E, D> {
    fn state_dim(&self) -> usize {
        self.w.outputs()
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.u.shape().1]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok((self.w.of(z) + x[0].product(&self.u)).tanh())
    }
}
