//! The Jacobian penalty with given probes, and its gradient.

use equilibria_core::{to_host, Backend, Parameters, Regularizer, Vectors};
use equilibria_fusion::solvers::regularizers::jacobian::Jacobian;

use super::file::Golden;
use super::ledger::Ledger;
use super::spaces::{in_all, Computed, GivenProbes};
use super::subject::Subject;
use super::tolerance::{SOLVED, STEP};
use crate::Result;

/// Step of the differences inside the penalty's gradient. Extrapolated, the truncation error is of order h⁴, the
/// rounding error of order ε / h.
const STEP_SIZE: f64 = 1e-4;

/// Compares products with the Jacobian, the registered penalty and its gradient.
pub fn compare<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
) -> Result<()> {
    let size = subject.sizes.batch * subject.sizes.joint_dim();
    let count = golden.calls("jac.probes", size)?;
    if count == 0 {
        return Ok(());
    }
    let z = golden.need("fixed_point.z", size)?;
    let probes = golden.need("jac.probes", count * size)?;

    for outcome in in_all(subject, |space| {
        let [at, probe, product] = [space.alloc()?, space.alloc()?, space.alloc()?];
        space.vectors_mut().write(at, z)?;
        space.linearize(at)?;
        let mut products = Vec::with_capacity(probes.len());
        for values in probes.chunks_exact(size) {
            space.vectors_mut().write(probe, values)?;
            space.vjp(probe, product)?;
            products.extend(space.vectors().read(product)?);
        }
        Ok(products)
    })? {
        let products = outcome.result;
        let square = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>() / size as f64;
        let per_probe: Vec<f64> = products.chunks_exact(size).map(square).collect();
        ledger.compare(golden, "jac.vJ", &products, STEP);
        ledger.compare(golden, "jac.per_probe", &per_probe, STEP);
    }

    for penalty in penalties(subject, z, probes, count)? {
        compare_penalty(subject, golden, ledger, &penalty);
    }
    Ok(())
}

/// The registered penalty, mean over the batch, and its gradient.
pub struct Penalty {
    /// Its value.
    pub estimate: f64,
    /// Gradients of the parameters of the subject, in their order.
    pub parameters: Vec<Vec<f64>>,
    /// Gradients of the inputs.
    pub x: Vec<Vec<f64>>,
}

/// The penalty at z with so many given probes, in every space; its gradient is extrapolated to vanishing steps.
pub fn penalties<D: Backend<f64>>(
    subject: &Subject<D>,
    z: &[f64],
    probes: &[f64],
    count: usize,
) -> Result<Vec<Penalty>> {
    let size = subject.sizes.batch * subject.sizes.joint_dim();
    let penalty = |step| {
        in_all(subject, |space| {
            let at = space.alloc()?;
            space.vectors_mut().write(at, z)?;
            let regularizer = Jacobian {
                weight: 1.0,
                probes: count,
                step,
                ..Jacobian::default()
            };
            let mut space = GivenProbes {
                inner: space,
                probes: probes.chunks_exact(size),
            };
            regularizer.penalty(&mut space, at, 0)
        })
    };
    let (whole, half) = (penalty(STEP_SIZE)?, penalty(STEP_SIZE / 2.0)?);
    let pairs = whole.into_iter().zip(half);
    Ok(pairs
        .map(|(whole, half)| extrapolated(subject, &whole, &half))
        .collect())
}

/// The penalty of one space from that of a step and of half of it.
fn extrapolated<D: Backend<f64>>(
    subject: &Subject<D>,
    whole: &Computed<f64>,
    half: &Computed<f64>,
) -> Penalty {
    let batch = subject.sizes.batch as f64;
    let extrapolate = |(whole, half): (&Vec<f64>, &Vec<f64>)| -> Vec<f64> {
        let both = whole.iter().zip(half);
        both.map(|(whole, half)| (4.0 * half - whole) / 3.0 / batch)
            .collect()
    };
    let both = whole.gradients.iter().zip(&half.gradients);
    let mut gradients: Vec<Vec<f64>> = both.map(extrapolate).collect();

    // The joint layer takes x_fuse as an input: x_fuse = Σ_i w_i x_i hands its gradient on to x_i and to w_i.
    let x_fuse = gradients.pop().unwrap_or_default();
    let w = to_host(&subject.w);
    let inputs = gradients.split_off(gradients.len() - subject.x.len());
    let total = |(gradient, &w): (&Vec<f64>, &f64)| -> Vec<f64> {
        let both = gradient.iter().zip(&x_fuse);
        both.map(|(g, f)| g + w * f).collect()
    };
    let of_w = |x: &equilibria_core::Matrix<f64, D>| -> f64 {
        to_host(x).iter().zip(&x_fuse).map(|(x, f)| x * f).sum()
    };
    gradients.push(subject.x.iter().map(of_w).collect());
    Penalty {
        estimate: whole.result / batch,
        parameters: gradients,
        x: inputs.iter().zip(&w).map(total).collect(),
    }
}

/// Compares the penalty of one space and its gradient.
fn compare_penalty<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
    penalty: &Penalty,
) {
    ledger.compare(golden, "jac.estimate", &[penalty.estimate], STEP);
    for (index, gradient) in penalty.x.iter().enumerate() {
        let name = format!("jac_grad.x.{}", index + 1);
        ledger.compare(golden, &name, gradient, SOLVED);
    }
    for ((name, _), gradient) in subject.named().iter().zip(&penalty.parameters) {
        ledger.compare(golden, &format!("jac_grad.{name}"), gradient, SOLVED);
    }
}
