//! The ablations of tables 6 and 7.

use dfdx::prelude::*;
use equilibria_core::{apply, to_host, Backend, Matrix, Vectors};

use super::equilibrium::Differentiated;
use super::file::Golden;
use super::ledger::Ledger;
use super::spaces::in_all;
use super::step::parts;
use super::subject::{equilibrium, fusions, Subject};
use super::tolerance::{SOLVED, STEP};
use crate::Result;

/// Compares what the file has of them.
pub fn compare<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
) -> Result<()> {
    if !golden
        .arrays
        .keys()
        .any(|name| name.starts_with("ablation."))
    {
        return Ok(());
    }
    without_gate(subject, golden, ledger)?;
    without_fuse(subject, golden, ledger)?;
    without_theta(subject, golden, ledger)?;
    once(subject, golden, ledger)
}

/// Table 7: z'_i = z_i.
fn without_gate<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
) -> Result<()> {
    for mut fusion in fusions(subject) {
        fusion.fuse.gate = false;
        let solved = Differentiated::new(&fusion, &subject.x, None)?;
        ledger.compare(golden, "ablation.nogate.z", &solved.joint(), SOLVED);
        for (name, gradient) in &solved.gradients {
            ledger.compare(
                golden,
                &format!("ablation.nogate.grad.{name}"),
                gradient,
                SOLVED,
            );
        }
    }
    Ok(())
}

/// Table 6, row 3: z_fuse = Σ_i z_i*.
fn without_fuse<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
) -> Result<()> {
    for fusion in fusions(subject) {
        let solved = Differentiated::new(&fusion, &subject.x, None)?;
        let z = sum(&solved.states[..subject.sizes.modalities]);
        ledger.compare(golden, "ablation.nofuse.z_fuse", &z, SOLVED);
    }
    Ok(())
}

/// Table 6, row 4: z_i* = x_i.
fn without_theta<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
) -> Result<()> {
    let inputs = [
        equilibria_core::from_host(subject.w.device(), sum(&subject.x), *subject.x[0].shape())?,
        subject.x_fuse()?,
    ];
    let equilibrium = equilibrium(subject.fuse.clone());
    let solved = equilibrium.forward(&inputs, NoneTape)?;
    let residuals = solved.report.samples.iter().map(|sample| sample.residual);
    let residuals: Vec<f64> = residuals.collect();
    ledger.compare(
        golden,
        "ablation.notheta.z_fuse",
        &to_host(&solved.z),
        SOLVED,
    );
    ledger.compare(golden, "ablation.notheta.residual", &residuals, SOLVED);
    Ok(())
}

/// Table 6, row 2: one application from zero; and Σ_i w_i f_θi(0; x_i), which is what the text says.
fn once<D: Backend<f64>>(subject: &Subject<D>, golden: &Golden, ledger: &mut Ledger) -> Result<()> {
    let zeros = vec![0.0; subject.sizes.batch * subject.sizes.joint_dim()];
    for outcome in in_all(subject, |space| {
        let [at, out] = [space.alloc()?, space.alloc()?];
        space.vectors_mut().write(at, &zeros)?;
        space.apply(at, out)?;
        space.vectors().read(out)
    })? {
        let outs = parts(subject, &outcome.result)?;
        let fused = to_host(&outs[subject.sizes.modalities]);
        ledger.compare(golden, "ablation.once.z_fuse", &fused, STEP);
    }
    let start = parts(subject, &zeros)?;
    let mut terms = Vec::with_capacity(subject.theta.len());
    for ((theta, x), w) in subject
        .theta
        .iter()
        .zip(&subject.x)
        .zip(to_host(&subject.w))
    {
        terms.push(apply(theta, start[0].clone(), std::slice::from_ref(x))? * w);
    }
    let name = "ablation.once_weighted_sum_of_f_theta";
    ledger.compare(golden, name, &sum(&terms), STEP);
    Ok(())
}

fn sum<D: Backend<f64>>(states: &[Matrix<f64, D>]) -> Vec<f64> {
    let mut sum = vec![0.0; states.first().map_or(0, |z| z.shape().0 * z.shape().1)];
    for z in states {
        sum.iter_mut()
            .zip(to_host(z))
            .for_each(|(sum, z)| *sum += z);
    }
    sum
}
