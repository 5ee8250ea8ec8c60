//! Are gradients right? Compared with central differences, entry by entry.

use dfdx::prelude::*;

use super::{random_matrix, worse};
use crate::{from_host, to_host, Equilibrium, Error, ImplicitLayer, Matrix, Parameters, Result};

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
    Ok(error / largest)
}

/// [`central_difference`] for the loss ⟨c, z*⟩ with random c.
///
/// Solve tightly: with tolerance τ and step h the differences are wrong by about τ / h.
pub fn check_equilibrium<L: ImplicitLayer<f64, Cpu>>(
    equilibrium: &Equilibrium<L>,
    x: &[Matrix<f64, Cpu>],
    step: f64,
) -> Result<f64> {
    central_difference(equilibrium, x, step, |equilibrium, x| {
        let z = equilibrium.forward(x, OwnedTape::default())?.z;
        let weights = random_matrix(&Cpu::default(), *z.shape(), 3)?;
        Ok((z * weights).sum())
    })
}

/// The tensor with one entry changed.
fn shifted(tensor: &Matrix<f64, Cpu>, entry: usize, shift: f64) -> Result<Matrix<f64, Cpu>> {
    let mut values = to_host(tensor);
    values[entry] += shift;
    from_host(&Cpu::default(), values, *tensor.shape())
}
