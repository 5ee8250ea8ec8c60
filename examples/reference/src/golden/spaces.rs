//! Both state spaces of the joint layer.

use dfdx::prelude::*;
use equilibria_core::space::{SliceSpace, TensorSpace};
use equilibria_core::{
    delegate_to_inner, to_host, Coef, DifferentiableSpace, ImplicitLayer, KernelGradients,
    Parameters, Result, Slot, StateSpace,
};

use super::subject::Subject;

/// What a job computed in one space, and what it pulled back: parameters, then inputs.
pub struct Computed<R> {
    pub result: R,
    pub gradients: Vec<Vec<f64>>,
}

/// Runs a job in the slice space and in the tensor space of the joint layer.
pub fn in_both<R>(
    subject: &Subject,
    job: impl Fn(&mut dyn DifferentiableSpace) -> Result<R>,
) -> crate::Result<Vec<Computed<R>>> {
    let (layer, inputs) = (subject.joint(), subject.joint_inputs()?);
    let (batch, dim) = (subject.sizes.batch, subject.sizes.joint_dim());
    let mut outcomes = Vec::new();

    if let Some(kernel) = layer.kernel(&inputs) {
        let named = layer.named();
        let shapes = named.iter().map(|(_, tensor)| *tensor.shape());
        let gradients = KernelGradients::zeros(shapes, layer.input_dims(), batch);
        let mut space = SliceSpace::new(kernel.block(0..batch), dim, 0..batch, gradients);
        let result = job(&mut space)?;
        let gradients = space.into_gradients().into_values();
        outcomes.push(Computed { result, gradients });
    }

    let mut space = TensorSpace::new(&layer, Cpu::default(), &inputs, batch);
    let result = job(&mut space)?;
    let gradients = space.into_gradients();
    let gradients = gradients.parameters.into_iter().chain(gradients.inputs);
    outcomes.push(Computed {
        result,
        gradients: gradients
            .map(|g| g.map_or_else(Vec::new, |g| to_host(&g)))
            .collect(),
    });
    Ok(outcomes)
}

/// Draws the given probes in place of random ones, one after the other.
pub struct GivenProbes<'s> {
    /// The space.
    pub inner: &'s mut dyn DifferentiableSpace,
    /// All probes, `[probes, batch, dim]`.
    pub probes: std::slice::ChunksExact<'s, f64>,
}

impl StateSpace for GivenProbes<'_> {
    delegate_to_inner!(
        batch, dim, epsilon, alloc, release, apply, dots, combine, copy_rows, permute, write, read,
        linearize, jvp
    );

    fn fill_normal(&mut self, slot: Slot, _seed: u64) -> Result<()> {
        self.inner.write(slot, self.probes.next().unwrap_or(&[]))
    }
}

impl DifferentiableSpace for GivenProbes<'_> {
    delegate_to_inner!(vjp, pull_back, pull_back_tangent);
}
