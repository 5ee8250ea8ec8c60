//! Solves that start where a linear map expects the equilibrium.

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, to_host};

use crate::layers::modules::Linear;
use crate::layers::Initializer;
use crate::pass::Pass;

/// One affine map per state, from the injected feature to the start: `start = S x + s`.
///
/// It is trained by a loss of its own, `weight · mean ‖start − z*‖² / width` over samples and states, with x and z* held
/// constant, so that no other parameter feels it. S and s are 0 at first, which is the start without it.
pub struct LearnedStart<E: Scalar, D: Backend<E>> {
    /// S and s of every state.
    pub maps: Vec<Linear<E, D>>,
    /// Factor of the loss.
    pub weight: f64,
}

impl<E: Scalar, D: Backend<E>> LearnedStart<E, D> {
    /// Maps for `parts` states as wide as their features, all 0.
    pub fn new(parts: usize, width: usize, weight: f64, init: &mut Initializer<D>) -> Result<Self> {
        let mut maps = Vec::with_capacity(parts);
        for _ in 0..parts {
            let weight = init.constant((width, width), 0.0)?;
            maps.push(Linear::new(weight, init.constant((1, width), 0.0)?));
        }
        Ok(Self { maps, weight })
    }

    /// The start of state `part`.
    pub(super) fn predict(
        &self,
        part: usize,
        x: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let map = self.maps.get(part).ok_or_else(|| Error::Shape {
            what: "the learned starts".to_owned(),
            expected: format!("[{}], one per state", self.maps.len()),
            got: format!("state {}", part + 1),
        })?;
        Ok(pass.run(&constant(x)?, |x| map.forward(x)))
    }

    /// Adds the loss of one state to the pass, in training.
    pub(super) fn compare(
        &self,
        start: &Matrix<E, D>,
        z: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<()> {
        if pass.seed.is_none() {
            return Ok(());
        }
        let z = constant(z)?;
        let entries = (z.shape().0 * z.shape().1 * self.maps.len()).max(1);
        let scale = E::of(self.weight / entries as f64);
        let loss = pass.run(start, |start| {
            let square = (start - z).square().sum::<Rank0, Axes2<0, 1>>();
            square.reshape_like(&(1, 1)) * scale
        });
        pass.losses.push(loss);
        Ok(())
    }
}

/// The same values under another identity: gradients do not find the way back.
fn constant<E: Scalar, D: Backend<E>>(x: &Matrix<E, D>) -> Result<Matrix<E, D>> {
    match D::on_device() {
        Some(device) => device.copy(x),
        None => from_host(x.device(), to_host(x), *x.shape()),
    }
}
