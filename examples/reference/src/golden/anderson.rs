//! The iterates of the solvers, call by call; those of Anderson acceleration in the mode that follows TorchDEQ.

use equilibria_core::{
    solve, AdjointMap, Backend, FixedPointSolver, Map, Result, Stop, Tolerance, Vectors,
};
use equilibria_fusion::solvers::forward::anderson::{Anderson, Ridge};
use equilibria_fusion::solvers::forward::picard::Picard;
use equilibria_fusion::solvers::Compat;
use equilibria_testing::Recording;

use super::file::Golden;
use super::ledger::Ledger;
use super::spaces::in_all;
use super::subject::Subject;
use super::tolerance::{ITERATE, SOLVED, UNREGULARIZED};

/// Every call of f in a solve: arguments and values, `[calls, batch, K]`.
struct Calls {
    x: Vec<f64>,
    f: Vec<f64>,
}

/// Compares all recorded solves.
pub fn compare<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
) -> crate::Result<()> {
    let batch = subject.sizes.batch;
    let size = batch * subject.sizes.joint_dim();
    let forward = |solver: &dyn FixedPointSolver, calls: usize| {
        in_all(subject, |space| record(solver, space, calls))
    };
    if golden.has("anderson.X") {
        let solver = anderson(golden, golden.config.anderson.lam);
        for outcome in forward(&solver, golden.calls("anderson.X", size)?)? {
            let calls = outcome.result;
            compare_calls(golden, ledger, "anderson", &calls, ITERATE);
            compare_choice(golden, ledger, &calls);
        }
    }
    let cases = golden.arrays.keys();
    for case in cases.filter_map(|name| name.strip_suffix(".X")) {
        let lambda = case.strip_prefix("anderson_lam");
        if let Some(lambda) = lambda.and_then(|text| text.parse().ok()) {
            let count = golden.calls(&format!("{case}.X"), size)?;
            for outcome in forward(&anderson(golden, lambda), count)? {
                compare_calls(golden, ledger, case, &outcome.result, UNREGULARIZED);
            }
        }
    }
    if golden.has("picard.abs_residual") {
        let count = golden.calls("picard.abs_residual", batch)?;
        for outcome in forward(&Picard::default(), count)? {
            compare_calls(golden, ledger, "picard", &outcome.result, SOLVED);
        }
    }
    match golden.has("anderson_backward.X") {
        true => compare_adjoint(subject, golden, ledger),
        false => Ok(()),
    }
}

/// The mode that follows TorchDEQ, as the arrays were made.
fn anderson(golden: &Golden, regularization: f64) -> Anderson {
    let settings = &golden.config.anderson;
    Anderson {
        memory: settings.m,
        mixing: settings.beta,
        ridge: Ridge::Absolute,
        regularization,
        compat: Some(Compat::Torchdeq),
        ..Anderson::default()
    }
}

/// Compares the solve of the adjoint equation.
fn compare_adjoint<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
) -> crate::Result<()> {
    let size = subject.sizes.batch * subject.sizes.joint_dim();
    let z = golden.need("fixed_point.z", size)?;
    let v = golden.need("ift.dl_dz", size)?;
    let count = golden.calls("anderson_backward.X", size)?;
    let solver = anderson(golden, golden.config.anderson.lam);
    for outcome in in_all(subject, |space| {
        let [at, cotangent] = [space.alloc()?, space.alloc()?];
        space.vectors_mut().write(at, z)?;
        space.linearize(at)?;
        space.vectors_mut().write(cotangent, v)?;
        record(&solver, &mut AdjointMap::new(space, cotangent), count)
    })? {
        let calls = outcome.result;
        compare_calls(golden, ledger, "anderson_backward", &calls, ITERATE);
    }
    Ok(())
}

/// Every call of a solve from 0 that nothing but the number of calls ends.
fn record(solver: &dyn FixedPointSolver, space: &mut dyn Map, calls: usize) -> Result<Calls> {
    let start = space.alloc()?;
    let stop = Stop {
        max_evaluations: calls,
        patience: calls + 1,
        divergence: f64::MAX,
        ..Stop::at(Tolerance::absolute(0.0))
    };
    let mut recording = Recording::new(space);
    solve(solver, &mut recording, start, &stop)?;
    Ok(Calls {
        x: recording.arguments,
        f: recording.values,
    })
}

/// ‖f − x‖ and ‖f‖ of every call and sample, `[calls, batch]`.
fn norms(calls: &Calls, dim: usize) -> (Vec<f64>, Vec<f64>) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let rows = calls.x.chunks_exact(dim).zip(calls.f.chunks_exact(dim));
    rows.map(|(x, f)| {
        let residual = norm(&mut f.iter().zip(x).map(|(f, x)| f - x));
        (residual, norm(&mut f.iter().copied()))
    })
    .unzip()
}

fn compare_calls(golden: &Golden, ledger: &mut Ledger, case: &str, calls: &Calls, tolerance: f64) {
    let sizes = golden.config.sizes();
    let rows = sizes.batch;
    let (residuals, values) = norms(calls, sizes.joint_dim());
    let relative = residuals.iter().zip(&values).map(|(r, f)| r / (f + 1e-9));
    let relative: Vec<f64> = relative.collect();
    let name = |array: &str| format!("{case}.{array}");
    ledger.compare(golden, &name("X"), &calls.x, tolerance);
    ledger.compare(golden, &name("F"), &calls.f, tolerance);
    ledger.compare(golden, &name("abs_residual"), &residuals, tolerance);
    ledger.compare(golden, &name("rel_residual"), &relative, tolerance);

    // TorchDEQ's own trace is [batch, calls − 1]: a placeholder of 1e8, then the calls from the third on.
    let count = residuals.len() / rows;
    let trace = (0..rows).flat_map(|row| {
        let later = (2..count).map(move |call| call * rows + row);
        std::iter::once(1e8).chain(later.map(|at| residuals[at]).collect::<Vec<_>>())
    });
    let trace: Vec<f64> = trace.collect();
    ledger.compare(golden, &name("torchdeq_abs_trace"), &trace, tolerance);
}

/// TorchDEQ returns f of the call with the smallest residual.
fn compare_choice(golden: &Golden, ledger: &mut Ledger, calls: &Calls) {
    let sizes = golden.config.sizes();
    let (rows, dim) = (sizes.batch, sizes.joint_dim());
    let (residuals, _) = norms(calls, dim);
    let mut chosen = Vec::with_capacity(rows * dim);
    for row in 0..rows {
        let of_row = residuals.iter().skip(row).step_by(rows).enumerate();
        let best = of_row
            .min_by(|a, b| a.1.total_cmp(b.1))
            .map_or(0, |(call, _)| call);
        chosen.extend_from_slice(&calls.f[(best * rows + row) * dim..][..dim]);
    }
    ledger.compare(golden, "anderson.result", &chosen, ITERATE);
}
