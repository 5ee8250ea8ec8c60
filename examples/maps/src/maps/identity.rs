//! The map that gives its input.

use equilibria::prelude::*;

use super::Make;

/// `f(z; x) = x`.
#[derive(Clone)]
pub struct Identity {
    width: usize,
}

parameters!(Identity);

impl<E: Scalar, D: Backend<E>> Make<E, D> for Identity {
    fn make(width: usize, _: &mut Initializer<D>) -> Result<Self> {
        Ok(Self { width })
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Identity {
    fn state_dim(&self) -> usize {
        self.width
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.width]
    }

    fn step(&self, _: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(x[0].clone())
    }
}
