//! Both spaces of a layer, e.g. of the joint one.

use dfdx::prelude::*;
use equilibria_core::plumbing::{SliceSpace, TensorSpace};
use equilibria_core::{
    to_host, DifferentiableMap, ImplicitLayer, Map, Matrix, Result, RowGradients, Slot,
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
    job: impl Fn(&mut dyn DifferentiableMap) -> Result<R>,
) -> crate::Result<Vec<Computed<R>>> {
    in_both_of(&subject.joint(), &subject.joint_inputs()?, job)
}

/// Runs a job in the slice space and in the tensor space of a layer with these injected inputs.
pub fn in_both_of<R, L: ImplicitLayer<f64, Cpu>>(
    layer: &L,
    inputs: &[Matrix<f64, Cpu>],
    job: impl Fn(&mut dyn DifferentiableMap) -> Result<R>,
) -> crate::Result<Vec<Computed<R>>> {
    let batch = inputs.first().map_or(0, |x| x.shape().0);
    let dim = layer.state_dim();
    let mut outcomes = Vec::new();

    if let Some(map) = layer.row_map() {
        let named = layer.named();
        let shapes = named.iter().map(|(_, tensor)| *tensor.shape());
        let gradients = RowGradients::zeros(shapes, layer.input_dims(), batch);
        let on_host: Vec<_> = inputs.iter().map(to_host).collect();
        let rows: Vec<_> = on_host.iter().map(Vec::as_slice).collect();
        let mut space = SliceSpace::new(map, dim, 0..batch, &rows, gradients);
        let result = job(&mut space)?;
        let gradients = space.into_gradients().into_values();
        outcomes.push(Computed { result, gradients });
    }

    let mut space = TensorSpace::new(layer, Cpu::default(), inputs, batch);
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

/// Multiplies the given probes in place of random ones, one after the other.
pub struct GivenProbes<'s> {
    /// The map.
    pub inner: &'s mut dyn DifferentiableMap,
    /// All probes, `[probes, batch, dim]`.
    pub probes: std::slice::ChunksExact<'s, f64>,
}

impl Map for GivenProbes<'_> {
    equilibria_core::inner_map!(inner: vectors, apply, linearize, jvp);
}

impl DifferentiableMap for GivenProbes<'_> {
    equilibria_core::inner_map!(inner: pull_back, pull_back_tangent);

    fn vjp(&mut self, u: Slot, out: Slot) -> Result<()> {
        let probe = self.probes.next().unwrap_or(&[]);
        self.inner.vectors_mut().write(u, probe)?;
        self.inner.vjp(u, out)
    }
}
