//! Does the map of a layer in rows compute what its `step` does in tensors?

use std::ops::Range;
use std::sync::Arc;

use dfdx::prelude::{Cpu, HasShape};

use super::{random_values, relative_difference, worse, OnRows};
use equilibria_core::plumbing::{SliceSpace, TensorSpace};
use equilibria_core::{
    from_host, to_host, DifferentiableMap, ImplicitLayer, Matrix, Result, RowGradients, RowMap,
    Slot, Vectors,
};

/// What an exact product with the Jacobian counts as, in evaluations.
const EXACT: usize = 1;

/// The largest relative difference ‖map − step‖ / ‖step‖ over all arrays that the [map in rows](ImplicitLayer::row_map) and
/// [`step`](ImplicitLayer::step) in tensors both define: f(z), Jᵀu, Jv, and the gradients of ⟨u, f(z)⟩ by every parameter and
/// injected input. The map is the program recorded from the step, unless the layer has one of its own; `None` if the step cannot be
/// recorded.
///
/// A map with [tangents](equilibria_core::RowMap::tangents) is held to Jv as its entries ⟨Jᵀeᵢ, v⟩ give it, exactly, and to
/// ⟨u, Jv⟩ = ⟨Jᵀu, v⟩ in every row, relative to the largest ‖u‖‖Jv‖.
///
/// Compared on the whole batch, on the second half of it alone, with exchanged rows, with fewer active rows than there are, with some
/// rows linearized again, and with gradients of two cotangents added up. Infinite if
/// [`linearize`](equilibria_core::RowMap::linearize) does not leave the value of [`apply`](equilibria_core::RowMap::apply), to the last
/// bit. Take a batch of at least 4, and perturbed parameters.
///
/// # Shapes
/// `z`: `[batch, state_dim]`; `x[i]`: `[batch, input_dims[i]]`.
pub fn check_row_map<L: ImplicitLayer<f64, Cpu>>(
    layer: &L,
    z: &Matrix<f64, Cpu>,
    x: &[Matrix<f64, Cpu>],
) -> Result<Option<f64>> {
    let Some(map) = layer.row_map() else {
        return Ok(None);
    };
    let batch = z.shape().0;
    let whole = compare(layer, &map, z, x, 0..batch)?;
    let half = compare(layer, &map, z, x, batch / 2..batch)?;
    let mut rows = OnRows::new(map, layer.state_dim(), x);
    let kept = keeps(&mut rows, &to_host(z), batch);
    Ok(Some(worse(worse(whole, half), kept)))
}

/// How far products are that follow a linearization of all rows at z, and then of the first half of them at 2 z, from those that
/// follow one of all rows at these points at once; infinite unless values are those of `apply`, to the last bit.
fn keeps(rows: &mut OnRows<f64>, z: &[f64], batch: usize) -> f64 {
    let (half, u) = (z.len() / batch * (batch / 2), random_values(z.len(), 3));
    let mut mixed = z.to_vec();
    mixed[..half].iter_mut().for_each(|z| *z *= 2.0);
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let mut value = rows.linearize(z);
    let head = rows.linearize(&mixed[..half]);
    value[..half].copy_from_slice(&head);
    let twice = rows.vjp(&u);
    let at_once = rows.linearize(&mixed);
    let applied = bits(&rows.apply(&mixed));
    match applied == bits(&value) && applied == bits(&at_once) {
        true => relative_difference(&twice, &rows.vjp(&u)),
        false => f64::INFINITY,
    }
}

fn compare<L: ImplicitLayer<f64, Cpu>>(
    layer: &L,
    map: &Arc<dyn RowMap<f64>>,
    z: &Matrix<f64, Cpu>,
    x: &[Matrix<f64, Cpu>],
    rows: Range<usize>,
) -> Result<f64> {
    let z = to_host(&part(z, &rows)?);
    let inputs = x
        .iter()
        .map(|x| part(x, &rows))
        .collect::<Result<Vec<_>>>()?;
    let named = layer.named();
    let shapes = named.iter().map(|(_, tensor)| *tensor.shape());
    let widths = inputs.iter().map(|x| x.shape().1);
    let gradients = RowGradients::zeros(shapes, widths, rows.len());
    let on_host: Vec<Vec<f64>> = inputs.iter().map(to_host).collect();
    let own: Vec<&[f64]> = on_host.iter().map(Vec::as_slice).collect();
    let (dim, samples) = (layer.state_dim(), rows.clone());
    let mut slices = SliceSpace::new(map.clone(), dim, samples, &own, gradients);
    let (mut seen, asymmetry) = observe(&mut slices, &z)?;
    seen.insert(0, OnRows::new(map.clone(), dim, &inputs).linearize(&z));
    let gradients = slices.into_gradients().into_values();
    seen.extend(gradients.iter().cloned());

    let device = Cpu::default();
    let mut tensors = TensorSpace::new(layer, device, &inputs, rows.len());
    let (mut expected, _) = observe(&mut tensors, &z)?;
    // The value that `linearize` leaves is the one `apply` leaves, which comes first.
    expected.insert(0, expected[0].clone());
    let pulled = tensors.into_gradients();
    let pulled = pulled.parameters.into_iter().chain(pulled.inputs);
    expected.extend(
        pulled
            .zip(&gradients)
            .map(|(tensor, seen)| tensor.map_or_else(|| vec![0.0; seen.len()], |t| to_host(&t))),
    );

    if seen.len() != expected.len() {
        return Ok(f64::NAN);
    }
    let differences = seen
        .iter()
        .zip(&expected)
        .map(|(a, b)| relative_difference(a, b));
    Ok(differences.fold(asymmetry, worse))
}

/// Everything a space can tell of its map, in a fixed order, and the largest [`asymmetry`].
fn observe(space: &mut dyn DifferentiableMap, z: &[f64]) -> Result<(Vec<Vec<f64>>, f64)> {
    let batch = space.batch();
    let [point, first, second, out] = [
        space.alloc()?,
        space.alloc()?,
        space.alloc()?,
        space.alloc()?,
    ];
    space.vectors_mut().write(point, z)?;
    space
        .vectors_mut()
        .write(first, &random_values(z.len(), 1))?;
    space
        .vectors_mut()
        .write(second, &random_values(z.len(), 2))?;
    let (mut seen, mut asymmetric) = (Vec::new(), 0.0);

    space.apply(point, out)?;
    seen.push(space.vectors().read(out)?);
    space.linearize(point)?;
    for u in [first, second] {
        space.vjp(u, out)?;
        seen.push(space.vectors().read(out)?);
    }
    seen.push(product(space, second)?);
    asymmetric = worse(asymmetric, asymmetry(space, first, second)?);

    // Rows change places and some leave: the linearization must follow, and a new one must do with fewer rows.
    let swaps = [(0, batch - 1), (batch / 2, batch - 1), (0, batch / 3)];
    let active = batch.div_ceil(2);
    space.vectors_mut().permute(&swaps, active)?;
    space.vjp(first, out)?;
    seen.push(space.vectors().read(out)?);
    seen.push(product(space, first)?);
    asymmetric = worse(asymmetric, asymmetry(space, first, second)?);
    space.apply(point, out)?;
    seen.push(space.vectors().read(out)?);
    space.linearize(point)?;
    space.vjp(second, out)?;
    seen.push(space.vectors().read(out)?);
    seen.push(product(space, second)?);
    asymmetric = worse(asymmetric, asymmetry(space, second, first)?);

    // Linearized in one order, pulled back in the other.
    let back: Vec<(usize, usize)> = swaps.iter().rev().copied().collect();
    space.vectors_mut().permute(&back, batch)?;
    space.vectors_mut().permute(&swaps, batch)?;
    space.linearize(point)?;
    // An evaluation elsewhere leaves the linearization alone.
    space.apply(first, out)?;
    // No strategy pulls back here: gradients of inputs stay at the exchanged places. The two paths must agree on it.
    space.pull_back(second)?;
    space.vectors_mut().permute(&back, batch)?;
    space.pull_back(first)?;
    space.pull_back(second)?;
    space.vjp(second, out)?;
    seen.push(space.vectors().read(out)?);
    Ok((seen, asymmetric))
}

/// `J v`, from the space's own product or, where it has none, entry by entry as ⟨Jᵀeᵢ, v⟩.
fn product(space: &mut dyn DifferentiableMap, v: Slot) -> Result<Vec<f64>> {
    let (batch, dim) = (space.batch(), space.dim());
    let [unit, out] = [space.alloc()?, space.alloc()?];
    let mut product = vec![0.0; batch * dim];
    if space.jvp(v, out)? == EXACT {
        product = space.vectors().read(out)?;
    } else {
        let mut entries = vec![0.0; batch];
        for column in 0..dim {
            let entry = |index| f64::from(u8::from(index % dim == column));
            let units: Vec<f64> = (0..batch * dim).map(entry).collect();
            space.vectors_mut().write(unit, &units)?;
            space.vjp(unit, out)?;
            space.dots(out, &[v], &mut entries)?;
            for (row, &entry) in entries.iter().enumerate() {
                product[row * dim + column] = entry;
            }
        }
    }
    space.release(unit);
    space.release(out);
    Ok(product)
}

/// max |⟨u, Jv⟩ − ⟨Jᵀu, v⟩| over the rows, relative to the largest ‖u‖‖Jv‖ of a row; 0 for a space without its own Jv.
///
/// Not relative to the row's own: where a normalized group is nearly constant, J is the small difference of large
/// numbers, and rounding alone reaches 1e-11 of such a row.
fn asymmetry(space: &mut dyn DifferentiableMap, u: Slot, v: Slot) -> Result<f64> {
    let [forward, back] = [space.alloc()?, space.alloc()?];
    let mut largest = 0.0;
    if space.jvp(v, forward)? == EXACT {
        space.vjp(u, back)?;
        let mut row_dots = |a, b| -> Result<Vec<f64>> {
            let mut dots = vec![0.0; space.batch()];
            space.dots(a, &[b], &mut dots)?;
            Ok(dots)
        };
        let (there, here) = (row_dots(u, forward)?, row_dots(back, v)?);
        let (squares, lengths) = (row_dots(u, u)?, row_dots(forward, forward)?);
        let scales = squares.iter().zip(&lengths).map(|(u, jv)| (u * jv).sqrt());
        // Where J is 0 both products are, and any scale will do.
        let scale = scales.fold(f64::MIN_POSITIVE, f64::max);
        for (there, here) in there.iter().zip(&here) {
            largest = worse(largest, (there - here).abs() / scale);
        }
    }
    space.release(forward);
    space.release(back);
    Ok(largest)
}

fn part(tensor: &Matrix<f64, Cpu>, rows: &Range<usize>) -> Result<Matrix<f64, Cpu>> {
    let columns = tensor.shape().1;
    let values = to_host(tensor)[rows.start * columns..rows.end * columns].to_vec();
    from_host(&Cpu::default(), values, (rows.len(), columns))
}
