//! Random layers in the vocabulary, with random solvers, sizes and dtypes: rows against tensors, every "converged" checked afresh, and
//! gradients of small layers against a dense solution of the adjoint equation.
//!
//!     cargo run --release -p equilibria-layers --example stress -- [LAYERS] [FIRST SEED]
//!
//! Each layer follows from its seed, and so does what is tried with it. What is wrong is printed with the seed, and the status is 1.

mod adjoint;
mod equation;
mod trial;

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::process::ExitCode;

use trial::{trial, Found};

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().expect("LAYERS and FIRST SEED are numbers"))
        .collect();
    let layers = numbers.first().copied().unwrap_or(1000);
    let first = numbers.get(1).copied().unwrap_or(0);
    let (mut wrong, mut solves) = (0, BTreeMap::<String, [usize; 2]>::new());
    for seed in first..first + layers {
        let found = match seed % 2 {
            0 => catch_unwind(|| trial::<f64>(seed)),
            _ => catch_unwind(|| trial::<f32>(seed)),
        };
        let Found {
            solver,
            converged,
            samples,
            faults,
        } = found.unwrap_or_else(|_| Found::panicked());
        for fault in &faults {
            println!("seed {seed}: {fault}");
        }
        wrong += usize::from(!faults.is_empty());
        let [some, all] = solves.entry(solver).or_default();
        *some += converged;
        *all += samples;
    }
    for (solver, [converged, samples]) in solves {
        println!("{solver}: {converged} of {samples} samples converged");
    }
    println!("{layers} layers, {wrong} with faults");
    match wrong {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
