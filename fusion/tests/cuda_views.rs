//! CUDA against the CPU with arguments that are contiguous, permuted, broadcast or repeated, through every module, layer, loss, head and
//! fusion: values and gradients.
//!
//! Runs on a GPU, or on the stand-in of `core/testing/cuda`.

#[path = "views/arguments.rs"]
mod arguments;
#[path = "views/cases.rs"]
mod cases;
#[path = "views/modules.rs"]
mod modules;

use arguments::{unsolved, Case, View};
use dfdx::prelude::{Cpu, Cuda};
use equilibria_core::{cuda, Result};
use equilibria_testing::{relative_difference, worse};

/// Sums of some hundreds of terms, a solve to 1e-13 among them, amplified by an inverse of I − J.
const ALLOWED: f64 = 1e-10;

/// A gradient that is smaller than this share of the largest is measured against that share: normalization leaves nothing but rounding of
/// what it takes out.
const FLOOR: f64 = 1e-3;

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn gpu() -> Cuda {
    cuda::open(0).expect("a device")
}

fn compare(cuda: Vec<Case<Cuda>>, cpu: Vec<Case<Cpu>>) {
    assert_eq!(cuda.len(), cpu.len());
    let mut beyond = Vec::new();
    for (cuda, cpu) in cuda.into_iter().zip(cpu) {
        assert_eq!(cuda.name, cpu.name);
        for view in View::ALL {
            let memories = cpu.memories(view);
            let found = cuda.differentiate(view, &memories);
            let place = format!("{}, {view:?}", cpu.name);
            let (cuda, cpu) = match (found, cpu.differentiate(view, &memories)) {
                (Ok(cuda), Ok(cpu)) => (cuda, cpu),
                (Err(cuda), Err(cpu)) if unsolved(&cuda) && unsolved(&cpu) => continue,
                (cuda, cpu) => {
                    beyond.push(format!("{place}: {:?}, {:?}", cuda.err(), cpu.err()));
                    continue;
                }
            };
            let mut note = |what: String, difference: f64| {
                if difference.is_nan() || difference > ALLOWED {
                    beyond.push(format!("{place}, {what}: {difference:e}"));
                }
            };
            note("value".to_owned(), relative_difference(&[cuda.0], &[cpu.0]));
            let largest = cpu.1.iter().flatten().map(|g| norm(g)).fold(0.0, worse);
            for (index, (cuda, cpu)) in cuda.1.into_iter().zip(cpu.1).enumerate() {
                let (Some(cuda), Some(cpu)) = (cuda, cpu) else {
                    continue;
                };
                let difference: Vec<f64> = cuda.iter().zip(&cpu).map(|(a, b)| a - b).collect();
                // 0 where all gradients are.
                let scale = norm(&cpu).max(FLOOR * largest).max(f64::MIN_POSITIVE);
                note(format!("argument {index}"), norm(&difference) / scale);
            }
        }
    }
    assert!(beyond.is_empty(), "{}", beyond.join("\n"));
}

#[test]
fn every_module() {
    compare(cases::modules(&gpu()), cases::modules(&Cpu::default()));
    compare(modules::modules(&gpu()), modules::modules(&Cpu::default()));
}

#[test]
fn every_loss_and_head() -> Result<()> {
    compare(cases::losses(&gpu()), cases::losses(&Cpu::default()));
    compare(cases::heads(&gpu())?, cases::heads(&Cpu::default())?);
    Ok(())
}

#[test]
fn every_layer_applied_once() -> Result<()> {
    compare(cases::layers(&gpu())?, cases::layers(&Cpu::default())?);
    Ok(())
}

#[test]
fn equilibria() -> Result<()> {
    compare(
        cases::equilibria(&gpu())?,
        cases::equilibria(&Cpu::default())?,
    );
    Ok(())
}

#[test]
fn every_fusion() -> Result<()> {
    compare(cases::fusions(&gpu())?, cases::fusions(&Cpu::default())?);
    Ok(())
}
