//! All spaces of a layer, e.g. of the joint one.

use dfdx::prelude::*;
use equilibria_core::plumbing::SliceSpace;
use equilibria_core::{
    dyn_clone, to_host, AnyLayer, Backend, DifferentiableMap, ImplicitLayer, Map, Matrix, Result,
    RowGradients, Slot, StepOnly,
};

use super::subject::Subject;

/// What a job computed in one space, and what it pulled back: parameters, then inputs.
pub struct Computed<R> {
    pub result: R,
    pub gradients: Vec<Vec<f64>>,
}

/// Runs a job in all spaces of the joint layer.
pub fn in_all<R, D: Backend<f64>>(
    subject: &Subject<D>,
    job: impl Fn(&mut dyn DifferentiableMap) -> Result<R>,
) -> crate::Result<Vec<Computed<R>>> {
    in_all_of(&subject.joint(), &subject.joint_inputs()?, job)
}

/// Runs a job in all spaces of a layer with these injected inputs: on the processor that of slices and that of tensors; on a GPU that of
/// kernels, and that of the step in dfdx operations.
pub fn in_all_of<R, D: Backend<f64>, L: ImplicitLayer<f64, D>>(
    layer: &L,
    inputs: &[Matrix<f64, D>],
    job: impl Fn(&mut dyn DifferentiableMap) -> Result<R>,
) -> crate::Result<Vec<Computed<R>>> {
    let batch = inputs.first().map_or(0, |x| x.shape().0);
    let device = inputs.first().map(|x| x.device().clone());
    let device = device.unwrap_or_default();
    let mut outcomes = Vec::new();

    if let Some(map) = layer.row_map().filter(|_| D::ON_HOST) {
        let named = layer.named();
        let shapes = named.iter().map(|(_, tensor)| *tensor.shape());
        let gradients = RowGradients::zeros(shapes, layer.input_dims(), batch);
        let on_host: Vec<_> = inputs.iter().map(to_host).collect();
        let rows: Vec<_> = on_host.iter().map(Vec::as_slice).collect();
        let dim = layer.state_dim();
        let mut space = SliceSpace::new(map, dim, 0..batch, &rows, gradients);
        let result = job(&mut space)?;
        let gradients = space.into_gradients().into_values();
        outcomes.push(Computed { result, gradients });
    }

    let whole = AnyLayer::new(dyn_clone::clone(layer));
    let in_steps = AnyLayer::new(StepOnly(whole.clone()));
    let in_kernels = (!D::ON_HOST).then_some(whole);
    for layer in in_kernels.into_iter().chain([in_steps]) {
        let mut space = D::space(&layer, &device, inputs, batch)?;
        let result = job(&mut *space)?;
        let gradients = space.into_gradients();
        let gradients = gradients.parameters.into_iter().chain(gradients.inputs);
        outcomes.push(Computed {
            result,
            gradients: gradients
                .map(|g| g.map_or_else(Vec::new, |g| to_host(&g)))
                .collect(),
        });
    }
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
