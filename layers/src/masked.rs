//! Dropout inside an equilibrium: one mask for the whole solve.

use dfdx::prelude::OwnedTape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

/// `f(z ⊙ m; x)` with the map f of another layer; the mask m, `[batch, state_dim]`, is the last injected input,
/// e.g. a [`dropout_mask`](crate::modules::dropout_mask).
///
/// A mask drawn anew in every step would leave nothing to converge to. As an input it is the same in all steps of the
/// solve, of its adjoint and of its penalties, so the equilibrium exists and its gradient is exact.
///
/// Reference: Y. Gal, Z. Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks,
/// NeurIPS 2016, §4.
#[derive(Clone)]
pub struct Masked<L>(pub L);

parameters!(Masked<L>.0);

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D> + Clone> ImplicitLayer<E, D> for Masked<L> {
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        let mut dims = self.0.input_dims();
        dims.push(self.state_dim());
        dims
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let (mask, x) = x.split_last().ok_or_else(|| Error::Missing {
            what: "the mask".to_owned(),
            remedy: "give the injected inputs of the layer, then the mask",
        })?;
        self.0.step(&(z * mask), x)
    }

    fn output(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let inputs = x.len().saturating_sub(1);
        self.0.output(z, &x[..inputs])
    }

    fn output_dim(&self) -> usize {
        self.0.output_dim()
    }

    fn reaches_input(&self, index: usize) -> bool {
        index >= self.0.input_dims().len() || self.0.reaches_input(index)
    }

    fn formed(&self, tape: OwnedTape<E, D>) -> Result<Formed<E, D>> {
        let (formed, tape) = self.0.formed(tape)?;
        Ok((formed.map(|layer| AnyLayer::new(Masked(layer))), tape))
    }
}
