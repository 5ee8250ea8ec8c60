//! Every module, layer, loss, head and fusion with arguments that are contiguous, permuted, broadcast or repeated: gradients
//! against central differences.

#[path = "views/arguments.rs"]
mod arguments;
#[path = "views/cases.rs"]
mod cases;
#[path = "views/modules.rs"]
mod modules;

use arguments::{unsolved, Case, View};
use dfdx::prelude::Cpu;
use equilibria_core::Result;
use equilibria_testing::worse;

/// Step h of the differences: of fourth order, they are off by the noise of a solve of tolerance 1e-13 over h, 5e-9, and by
/// much less than that where f is smooth. A longer step meets kinks of ReLUs.
const STEP: f64 = 2e-5;

/// Largest error of a gradient, relative to its largest entry.
const ALLOWED: f64 = 1e-7;

/// An argument whose gradient is smaller than this share of the largest is measured against that share.
const FLOOR: f64 = 1e-3;

/// Entries looked at of each argument.
const ENTRIES: usize = 4;

/// Compares the gradients of a loss with central differences, in every view of its arguments. Where all columns of a layer's input are
/// the same, its equilibrium may be out of reach; then the solve has to say so.
fn check(case: &Case<Cpu>) {
    for view in View::ALL {
        let place = || format!("{}, {view:?}", case.name);
        let memories = case.memories(view);
        let gradients = match (case.differentiate(view, &memories), view) {
            (Ok((_, gradients)), _) => gradients,
            (Err(error), View::BroadcastColumn) if unsolved(&error) => continue,
            (Err(error), _) => panic!("{}: {error}", place()),
        };
        let mut errors = Vec::new();
        for (index, gradient) in gradients.into_iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let (mut largest, mut error) = (0.0, 0.0);
            for entry in (0..gradient.len()).step_by(gradient.len().div_ceil(ENTRIES)) {
                let at = |shift: f64| {
                    let mut shifted = memories.clone();
                    shifted[index][entry] += shift;
                    let found = case.differentiate(view, &shifted);
                    found
                        .unwrap_or_else(|error| panic!("{}: {error}", place()))
                        .0
                };
                let near = at(STEP) - at(-STEP);
                let far = at(2.0 * STEP) - at(-2.0 * STEP);
                let slope = (8.0 * near - far) / (12.0 * STEP);
                largest = worse(largest, slope.abs());
                error = worse(error, (gradient[entry] - slope).abs());
            }
            errors.push((index, largest, error));
        }
        let floor = FLOOR * errors.iter().fold(0.0, |most, error| worse(most, error.1));
        for (index, largest, error) in errors {
            // A fusion may have nothing to differentiate at some arguments: all its ReLUs are off.
            let relative = if error <= 0.0 {
                0.0
            } else {
                error / largest.max(floor)
            };
            assert!(
                relative <= ALLOWED,
                "{}, argument {index}: {relative:e}",
                place()
            );
        }
    }
}

#[test]
fn every_module() {
    cases::modules(&Cpu::default()).iter().for_each(check);
    modules::modules(&Cpu::default()).iter().for_each(check);
}

#[test]
fn every_loss() {
    cases::losses(&Cpu::default()).iter().for_each(check);
}

#[test]
fn every_head() -> Result<()> {
    cases::heads(&Cpu::default())?.iter().for_each(check);
    Ok(())
}

#[test]
fn every_layer_applied_once() -> Result<()> {
    cases::layers(&Cpu::default())?.iter().for_each(check);
    Ok(())
}

#[test]
fn equilibria() -> Result<()> {
    cases::equilibria(&Cpu::default())?.iter().for_each(check);
    Ok(())
}

#[test]
fn every_fusion() -> Result<()> {
    cases::fusions(&Cpu::default())?.iter().for_each(check);
    Ok(())
}
