//! Networks that are no whole model: parameters from a golden file, gradients and running statistics compared with it.

use std::collections::HashSet;

use dfdx::prelude::{Cpu, HasShape};
use equilibria_core::{from_host, to_host, Backend, Matrix, Parameters};
use equilibria_fusion::Pass;

use super::file::Arrays;
use super::ledger::Ledger;
use crate::Result;

/// Tolerances, absolute, as the files state them.
pub struct Tolerances {
    /// Values.
    pub forward: f64,
    /// Gradients.
    pub gradient: f64,
}

/// An array as a matrix of so many columns.
pub fn matrix(golden: &Arrays, name: &str, columns: usize) -> Result<Matrix<f64, Cpu>> {
    let values = golden.get(name)?.values.clone();
    let shape = (values.len() / columns.max(1), columns);
    Ok(from_host(&Cpu::default(), values, shape)?)
}

/// Names of the running statistics.
fn statistics(network: &impl Parameters<f64, Cpu>) -> HashSet<String> {
    let mut names = HashSet::new();
    network.visit_statistics("", &mut |name| {
        names.insert(name.to_owned());
    });
    names
}

/// Gives a network the parameters and running statistics of a file, under their own names.
pub fn restore(golden: &Arrays, network: &mut impl Parameters<f64, Cpu>) -> Result<()> {
    let (statistics, mut values) = (statistics(network), Vec::new());
    for (name, tensor) in network.named() {
        let kind = match statistics.contains(&name) {
            true => "buffer",
            false => "param",
        };
        let (rows, columns) = *tensor.shape();
        let values_of = golden.need(&format!("{kind}.{name}"), rows * columns)?;
        values.push(values_of.to_vec());
    }
    Ok(network.assign(values)?)
}

/// Runs the tape of a pass and compares `grad.param.*`, `grad.input.*` of the given inputs, and the running statistics, `after.*`.
pub fn compare_gradients(
    golden: &Arrays,
    network: &impl Parameters<f64, Cpu>,
    inputs: &[(&str, &Matrix<f64, Cpu>)],
    (loss, pass): (&Matrix<f64, Cpu>, Pass<f64, Cpu>),
    tolerances: &Tolerances,
    ledger: &mut Ledger,
) -> Result<()> {
    let mut gradients = pass.backward(loss)?.gradients;
    let statistics = statistics(network);
    let mut of =
        |tensor: &Matrix<f64, Cpu>| Cpu::with_gradient(&mut gradients, tensor, <[f64]>::to_vec);
    for (name, tensor) in network.named() {
        if statistics.contains(&name) {
            let name = format!("after.{name}");
            ledger.compare(golden, &name, &to_host(&tensor), tolerances.forward);
            continue;
        }
        let name = format!("grad.param.{name}");
        ledger.compare(golden, &name, &of(&tensor)?, tolerances.gradient);
    }
    for (name, tensor) in inputs {
        let name = format!("grad.input.{name}");
        ledger.compare(golden, &name, &of(tensor)?, tolerances.gradient);
    }
    let buffers = golden.arrays.keys();
    for name in buffers.filter(|name| name.starts_with("buffer.")) {
        ledger.input(golden, name);
    }
    Ok(())
}

/// Whole numbers of an array.
pub fn whole(golden: &Arrays, name: &str) -> Result<Vec<usize>> {
    let values = golden.get(name)?.values.iter();
    Ok(values.map(|&value| value as usize).collect())
}

/// Numbers within scenes, of numbers over a whole batch.
pub fn within(numbers: &[usize], scene: usize) -> Vec<f64> {
    numbers
        .iter()
        .map(|number| (number % scene) as f64)
        .collect()
}
