//! Golden folders: arrays that a reference implementation of DEQ fusion computed in f64, and the same from this one.
//!
//! A folder of DEQ fusion holds `metadata.json`, whose `config` gives every size, and `golden.safetensors` with inputs, parameters and
//! results by name; `golden_hard.safetensors` may add a case that plain iteration does not solve. A folder of a layer holds cases
//! `NAME.json` and `NAME.safetensors`: see [`zoo`]. A folder of a whole system holds several files, and a `metadata.json` with a `config` for
//! each of them: see [`sites`].

mod ablation;
mod admm;
mod anderson;
mod equilibrium;
mod file;
mod jacobian;
mod layer;
mod ledger;
mod linear;
mod network;
mod site;
pub mod sites;
mod spaces;
mod step;
mod subject;
pub mod zoo;

use std::path::Path;

use dfdx::prelude::Cpu;
use equilibria_core::{Backend, DeviceName};

use crate::{Error, Result};

pub use ledger::{Comparison, Ledger, Verdict};

use file::{Config, Golden};

/// Tolerances, absolute: states are normalized, so that their entries are of order 1.
mod tolerance {
    /// One application of a formula.
    pub const STEP: f64 = 1e-12;
    /// Fixed points and gradients.
    pub const SOLVED: f64 = 1e-10;
    /// The same where the spectral radius exceeds 1.
    pub const HARD: f64 = 1e-9;
    /// Iterates of Anderson acceleration: small linear systems amplify rounding.
    pub const ITERATE: f64 = 1e-8;
    /// The same with next to no ridge, where they amplify it most.
    pub const UNREGULARIZED: f64 = 1e-4;
}

/// Compares every array of the folder with what is computed on a device.
///
/// # Errors
/// [`WithoutCuda`](equilibria_core::Error::WithoutCuda) or [`NoGpu`](equilibria_core::Error::NoGpu) for a GPU that cannot be used, and
/// those of files that cannot be read.
pub fn verify(folder: &Path, device: DeviceName) -> Result<Ledger> {
    match device {
        DeviceName::Cpu => verify_on(folder, &Cpu::default()),
        #[cfg(feature = "cuda")]
        DeviceName::Cuda(number) => verify_on(folder, &equilibria_core::cuda::open(number)?),
        #[cfg(not(feature = "cuda"))]
        device => Err(equilibria_core::Error::WithoutCuda { device })?,
    }
}

fn verify_on<D: zoo::Place>(folder: &Path, device: &D) -> Result<Ledger> {
    // A folder of DEQ fusion may describe others of its files beside them, as folders of layers do theirs.
    let is_there = |name: &str| folder.join(name).is_file();
    if is_there("metadata.json") && is_there("golden.safetensors") && !is_there("golden.json") {
        return verify_fusion(folder, device);
    }
    if zoo::holds_cases(folder) {
        return zoo::verify(folder, device);
    }
    if sites::holds_cases(folder) {
        return match <D as Backend<f64>>::ON_HOST {
            true => sites::verify(folder),
            false => Err(Error::golden(
                folder,
                "whole systems are compared on the processor: leave out --device",
            )),
        };
    }
    verify_fusion(folder, device)
}

fn verify_fusion<D: zoo::Place>(folder: &Path, device: &D) -> Result<Ledger> {
    let config = Config::read(&folder.join("metadata.json"))?;
    let mut ledger = Ledger::default();

    let golden = Golden::read(&folder.join("golden.safetensors"), &config)?;
    let subject = subject::read(device, &golden)?;
    ledger.open(&golden);
    step::compare(&subject, &golden, &mut ledger)?;
    equilibrium::compare(&subject, &golden, tolerance::SOLVED, &mut ledger)?;
    equilibrium::compare_adjoint(&subject, &golden, &mut ledger)?;
    jacobian::compare(&subject, &golden, &mut ledger)?;
    anderson::compare(&subject, &golden, &mut ledger)?;
    ablation::compare(&subject, &golden, &mut ledger)?;
    ledger.close(&golden);

    let hard = folder.join("golden_hard.safetensors");
    if hard.is_file() {
        let golden = Golden::read(&hard, &config)?;
        ledger.open(&golden);
        let subject = subject::read(device, &golden)?;
        equilibrium::compare(&subject, &golden, tolerance::HARD, &mut ledger)?;
        ledger.close(&golden);
    }
    Ok(ledger)
}
