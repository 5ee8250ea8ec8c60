//! Does a kernel compute the same map as `step`?

use std::ops::Range;

use dfdx::prelude::{Cpu, HasShape};

use super::{random_values, relative_difference, worse};
use crate::space::{SliceSpace, TensorSpace};
use crate::{
    from_host, to_host, DifferentiableSpace, ImplicitLayer, Kernel, KernelGradients, Matrix, Result,
};

/// The largest relative difference ‖kernel − step‖ / ‖step‖ over all arrays that [`Kernel`] and
/// [`step`](ImplicitLayer::step) both define: f(z), Jᵀu, and the gradients of ⟨u, f(z)⟩ by every parameter and
/// injected input. `None` if the layer has no kernel.
///
/// Compared on the whole batch, on the second half of it alone, with exchanged rows, with fewer active rows than the
/// block has, and with gradients of two cotangents added up. Take a batch of at least 4, and perturbed parameters.
///
/// # Shapes
/// `z`: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
pub fn check_kernel<L: ImplicitLayer<f64, Cpu>>(
    layer: &L,
    z: &Matrix<f64, Cpu>,
    x: &[Matrix<f64, Cpu>],
) -> Result<Option<f64>> {
    let Some(kernel) = layer.kernel(x) else {
        return Ok(None);
    };
    let batch = z.shape().0;
    let whole = compare(layer, &*kernel, z, x, 0..batch)?;
    let half = compare(layer, &*kernel, z, x, batch / 2..batch)?;
    Ok(Some(worse(whole, half)))
}

fn compare<L: ImplicitLayer<f64, Cpu>>(
    layer: &L,
    kernel: &dyn Kernel<f64>,
    z: &Matrix<f64, Cpu>,
    x: &[Matrix<f64, Cpu>],
    rows: Range<usize>,
) -> Result<f64> {
    let z = to_host(&part(z, &rows)?);
    let inputs = x
        .iter()
        .map(|x| part(x, &rows))
        .collect::<Result<Vec<_>>>()?;
    let zeros = |tensor: &Matrix<f64, Cpu>| vec![0.0; tensor.shape().0 * tensor.shape().1];
    let parameters: Vec<Vec<f64>> = layer
        .named()
        .iter()
        .map(|(_, tensor)| zeros(tensor))
        .collect();

    let gradients = KernelGradients {
        parameters: parameters.clone(),
        inputs: inputs.iter().map(zeros).collect(),
    };
    let block = kernel.block(rows.clone());
    let mut slices = SliceSpace::new(block, layer.state_dim(), rows.clone(), gradients);
    let mut seen = observe(&mut slices, &z)?;
    let mut value = vec![0.0; z.len()];
    kernel.block(rows.clone()).linearize(&z, &mut value);
    seen.insert(0, value);
    let gradients = slices.into_gradients();
    seen.extend(gradients.parameters.into_iter().chain(gradients.inputs));

    let device = Cpu::default();
    let mut tensors = TensorSpace::new(layer, device, &inputs, rows.len());
    let mut expected = observe(&mut tensors, &z)?;
    // The value that `linearize` leaves is the one `apply` leaves, which comes first.
    expected.insert(0, expected[0].clone());
    let gradients = tensors.into_gradients();
    let shapes = parameters.into_iter().chain(inputs.iter().map(zeros));
    let pulled = gradients.parameters.into_iter().chain(gradients.inputs);
    expected.extend(
        pulled
            .zip(shapes)
            .map(|(tensor, zeros)| tensor.map_or(zeros, |t| to_host(&t))),
    );

    if seen.len() != expected.len() {
        return Ok(f64::NAN);
    }
    let differences = seen
        .iter()
        .zip(&expected)
        .map(|(a, b)| relative_difference(a, b));
    Ok(differences.fold(0.0, worse))
}

/// Everything a space can tell of its map, in a fixed order.
fn observe(space: &mut dyn DifferentiableSpace, z: &[f64]) -> Result<Vec<Vec<f64>>> {
    let batch = space.batch();
    let [point, first, second, out] = [
        space.alloc()?,
        space.alloc()?,
        space.alloc()?,
        space.alloc()?,
    ];
    space.write(point, z)?;
    space.write(first, &random_values(z.len(), 1))?;
    space.write(second, &random_values(z.len(), 2))?;
    let mut seen = Vec::new();

    space.apply(point, out)?;
    seen.push(space.read(out)?);
    space.linearize(point)?;
    for u in [first, second] {
        space.vjp(u, out)?;
        seen.push(space.read(out)?);
    }

    // Rows change places and some leave: the linearization must follow, and a new one must do with fewer rows.
    let swaps = [(0, batch - 1), (batch / 2, batch - 1), (0, batch / 3)];
    let active = batch.div_ceil(2);
    space.permute(&swaps, active)?;
    space.vjp(first, out)?;
    seen.push(space.read(out)?);
    space.apply(point, out)?;
    seen.push(space.read(out)?);
    space.linearize(point)?;
    space.vjp(second, out)?;
    seen.push(space.read(out)?);

    // Linearized in one order, pulled back in the other.
    let back: Vec<(usize, usize)> = swaps.iter().rev().copied().collect();
    space.permute(&back, batch)?;
    space.permute(&swaps, batch)?;
    space.linearize(point)?;
    // No strategy pulls back here: gradients of inputs stay at the exchanged places. The two paths must agree on it.
    space.pull_back(second)?;
    space.permute(&back, batch)?;
    space.pull_back(first)?;
    space.pull_back(second)?;
    space.vjp(second, out)?;
    seen.push(space.read(out)?);
    Ok(seen)
}

fn part(tensor: &Matrix<f64, Cpu>, rows: &Range<usize>) -> Result<Matrix<f64, Cpu>> {
    let columns = tensor.shape().1;
    let values = to_host(tensor)[rows.start * columns..rows.end * columns].to_vec();
    from_host(&Cpu::default(), values, (rows.len(), columns))
}
