//! Are gradients right? Compared with central differences, entry by entry.

use dfdx::prelude::*;

use super::{perturb, random_matrix, random_values, relative_difference, worse};
use equilibria_core::{
    apply, from_host, to_host, Equilibrium, Error, ImplicitLayer, Matrix, OnUnconverged,
    Parameters, Result,
};

/// A scalar loss on a tape of its own.
pub type Loss = Tensor<Rank0, f64, Cpu, OwnedTape<f64, Cpu>>;

/// The largest error of the gradient of `loss` over every entry of every parameter and input, relative to the largest
/// entry of that gradient.
///
/// The error of the differences themselves is of the order `step`² (truncation) plus ε / `step` (rounding), where ε is
/// the relative accuracy of the loss: for an equilibrium, the tolerance of its solve.
pub fn central_difference<M: Parameters<f64, Cpu> + Clone>(
    model: &M,
    x: &[Matrix<f64, Cpu>],
    step: f64,
    loss: impl Fn(&M, &[Matrix<f64, Cpu>]) -> Result<Loss>,
) -> Result<f64> {
    let mut gradients = loss(model, x)?.backward();
    let mut gradient_of = |tensor: &Matrix<f64, Cpu>| -> Result<Vec<f64>> {
        gradients.try_alloc_for(tensor).map_err(Error::device)?;
        Ok(to_host(&gradients.get(tensor)))
    };
    let value = |model: &M, x: &[Matrix<f64, Cpu>]| loss(model, x).map(|loss| loss.array());
    let (mut error, mut largest) = (0.0, 0.0);
    let mut compare = |exact: f64, up: f64, down: f64| {
        error = worse(error, (exact - (up - down) / (2.0 * step)).abs());
        largest = worse(largest, exact.abs());
    };

    for (index, (_, tensor)) in model.named().iter().enumerate() {
        for (entry, exact) in gradient_of(tensor)?.into_iter().enumerate() {
            let shifted = |shift| -> Result<f64> {
                let mut model = model.clone();
                let new = shifted(tensor, entry, shift)?;
                let mut count = 0;
                model.visit_mut("", &mut |_, tensor| {
                    if count == index {
                        *tensor = new.clone();
                    }
                    count += 1;
                });
                value(&model, x)
            };
            compare(exact, shifted(step)?, shifted(-step)?);
        }
    }
    for (index, tensor) in x.iter().enumerate() {
        for (entry, exact) in gradient_of(tensor)?.into_iter().enumerate() {
            let shifted = |shift| -> Result<f64> {
                let mut x = x.to_vec();
                x[index] = shifted(tensor, entry, shift)?;
                value(model, &x)
            };
            compare(exact, shifted(step)?, shifted(-step)?);
        }
    }
    // Where nothing changes the loss, gradients of 0 are right.
    let vanishes = error <= 0.0;
    Ok(if vanishes { 0.0 } else { error / largest })
}

/// [`central_difference`] for the loss ⟨c, z*⟩ with random c, after [`perturb`](super::perturb)ing the parameters: biases of 0 and
/// a z* of 0 make gradients 0, behind which mistakes hide.
///
/// Solve tightly: with tolerance τ and step h the differences are wrong by about τ / h.
///
/// # Errors
/// What would make the number mean nothing: [`Error::DependentRows`] for a `step` that mixes the rows of a batch, which a batch
/// of two shows; [`Error::Unconverged`] for a forward or adjoint solve that leaves rows unsolved, whatever
/// [`Stop::on_unconverged`](equilibria_core::Stop::on_unconverged) says; [`Error::ZeroGradient`] for parameters whose gradient is 0.
pub fn check_equilibrium<L: ImplicitLayer<f64, Cpu>>(
    equilibrium: &Equilibrium<L>,
    x: &[Matrix<f64, Cpu>],
    step: f64,
) -> Result<f64> {
    let mut equilibrium = equilibrium.clone();
    equilibrium.stop.on_unconverged = OnUnconverged::Error;
    perturb(&mut equilibrium, PERTURBATION, 1)?;
    require_independent_rows(&equilibrium.layer, x)?;
    require_gradients(&equilibrium, x)?;
    central_difference(&equilibrium, x, step, |equilibrium, x| {
        weighted(equilibrium.forward(x, OwnedTape::default())?.z)
    })
}

/// Deviation of what is added to parameters. A matrix of width 30 changes by 0.1 in norm, so that contractions stay
/// contractions; what it brings to light are gradients of some 0.01, relative to which no right one is wrong by as much.
const PERTURBATION: f64 = 0.01;

/// How far the rows that stay are allowed to move, relative: none would, if no product summed in another order.
const ROUNDING: f64 = 1e-10;

/// ⟨c, z⟩.
fn weighted(z: Matrix<f64, Cpu, OwnedTape<f64, Cpu>>) -> Result<Loss> {
    let weights = random_matrix(&Cpu::default(), *z.shape(), 3)?;
    Ok((z * weights).sum())
}

/// Makes sure that the adjoint equation is solved, and that every parameter has a gradient to be compared.
fn require_gradients<L: ImplicitLayer<f64, Cpu>>(
    equilibrium: &Equilibrium<L>,
    x: &[Matrix<f64, Cpu>],
) -> Result<()> {
    let solved = equilibrium.forward(x, OwnedTape::default())?;
    let mut gradients = weighted(solved.z)?.backward();
    if let Some(report) = solved.adjoint.take()? {
        equilibrium.stop.judge(&report, "adjoint")?;
    }
    let mut parameters = Vec::new();
    for (name, tensor) in equilibrium.named() {
        gradients.try_alloc_for(&tensor).map_err(Error::device)?;
        let gradient = to_host(&gradients.get(&tensor));
        if gradient.iter().all(|&entry| entry == 0.0) {
            parameters.push(name);
        }
    }
    match parameters.is_empty() {
        true => Ok(()),
        false => Err(Error::ZeroGradient { parameters }),
    }
}

/// Changes z and x row by row, and looks whether other rows of the step follow.
fn require_independent_rows<L: ImplicitLayer<f64, Cpu>>(
    layer: &L,
    x: &[Matrix<f64, Cpu>],
) -> Result<()> {
    let batch = x.first().map_or(0, |x| x.shape().0);
    let shapes = layer.input_dims().into_iter().map(|dim| (batch, dim));
    if !shapes.eq(x.iter().map(|x| *x.shape())) {
        // The solve says so.
        return Ok(());
    }
    let dim = layer.state_dim();
    let z = random_matrix(&Cpu::default(), (batch, dim), 4)?;
    let before = to_host(&apply(layer, z.clone(), x)?);
    for other in 0..batch {
        let inputs = x.iter().map(|x| with_other_row(x, other));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let after = to_host(&apply(layer, with_other_row(&z, other)?, &inputs)?);
        let rows = after.chunks(dim).zip(before.chunks(dim)).enumerate();
        for (row, (after, before)) in rows.filter(|&(row, _)| row != other) {
            // What is not finite is for the solve to tell.
            if relative_difference(after, before) > ROUNDING {
                let (row, other) = (row + 1, other + 1);
                return Err(Error::DependentRows { row, other });
            }
        }
    }
    Ok(())
}

/// The matrix with other numbers of the same size in one row.
fn with_other_row(tensor: &Matrix<f64, Cpu>, row: usize) -> Result<Matrix<f64, Cpu>> {
    let (mut values, columns) = (to_host(tensor), tensor.shape().1);
    let factors = random_values(columns, 5);
    let entries = values.iter_mut().skip(row * columns).zip(factors);
    entries.for_each(|(value, factor)| {
        let size = if *value == 0.0 { 1.0 } else { value.abs() };
        *value += 0.1 * size * factor;
    });
    from_host(&Cpu::default(), values, *tensor.shape())
}

/// The tensor with one entry changed.
fn shifted(tensor: &Matrix<f64, Cpu>, entry: usize, shift: f64) -> Result<Matrix<f64, Cpu>> {
    let mut values = to_host(tensor);
    values[entry] += shift;
    from_host(&Cpu::default(), values, *tensor.shape())
}
