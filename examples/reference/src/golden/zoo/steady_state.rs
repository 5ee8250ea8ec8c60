//! The steady state of a rate network.

use equilibria_core::{Backend, ImplicitLayer};
use serde_json::json;

use crate::golden::layer::{largest, width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::linear::{identity_plus, solve, times, transposed};
use crate::golden::tolerance::{SOLVED, STEP};
use crate::golden::zoo::Case;
use crate::Result;

comparer!(
    "steady_state",
    ["param.w.weight", "param.w.bias", "param.u"],
    compare
);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let (golden, h) = (&case.golden, case.number("h")?);
    let config = json!({ "type": "steady-state", "step": h });
    let mut subject = Subject::new(case, config, width(golden, "param.w.weight")?, &["x"])?;
    // Weights are not bounded.
    subject.several = true;
    subject.compare(golden, ledger)?;
    let (d, size) = (
        subject.layer.state_dim(),
        subject.batch() * subject.layer.state_dim(),
    );
    if !golden.has("step_rand.z") {
        return Ok(());
    }
    // g, and the slopes of tanh.
    let z = golden.need("step_rand.z", size)?;
    let velocity: Vec<f64> = (subject.step(z)?.iter().zip(z))
        .map(|(f, z)| (f - z) / h)
        .collect();
    let scale = largest(golden, "field.step_rand") / h;
    ledger.compare(golden, "field.step_rand", &velocity, STEP * scale);
    let w = golden.need("param.w.weight", d * d)?;
    let slopes = |z: &[f64]| -> Vec<f64> { z.iter().map(|z| 1.0 - z.tanh().powi(2)).collect() };
    // ∂g/∂z of a row, [d, d].
    let derivative = |z: &[f64]| -> Vec<f64> {
        let slopes = slopes(z);
        let entry = |(index, w): (usize, &f64)| {
            w * slopes[index % d] - f64::from(u8::from(index % d == index / d))
        };
        w.iter().enumerate().map(entry).collect()
    };
    let names = golden.arrays.keys().filter_map(|name| {
        let rest = name.strip_prefix("rosenbrock.h_")?;
        Some((
            name,
            rest.strip_suffix(".step_rand.f")?.parse::<f64>().ok()?,
        ))
    });
    for (name, step) in names {
        // The linearly implicit step, z + h (I − h g′)⁻¹ g.
        let rows = z.chunks_exact(d).zip(velocity.chunks_exact(d));
        let next = rows.flat_map(|(z, g)| {
            let y = solve(&identity_plus(&derivative(z), d, -step), g);
            (z.iter().zip(y).map(|(z, y)| z + step * y)).collect::<Vec<_>>()
        });
        let next: Vec<f64> = next.collect();
        ledger.compare(golden, name, &next, STEP * scale);
        let name = name.replace("step_rand.f", "ift.adjoint");
        if golden.has(&name) {
            let adjoint = rosenbrock_adjoint(case, &derivative, (d, size, step))?;
            let tolerance = SOLVED * largest(golden, &name);
            ledger.compare(golden, &name, &adjoint, tolerance);
        }
    }
    Ok(())
}

/// At the steady state J = I + h (I − h g′)⁻¹ g′ = (I − h g′)⁻¹, so that y = (I − Jᵀ)⁻¹ v = v − (h g′ᵀ)⁻¹ v.
fn rosenbrock_adjoint<D: Backend<f64>>(
    case: &Case<D>,
    derivative: &dyn Fn(&[f64]) -> Vec<f64>,
    (d, size, step): (usize, usize, f64),
) -> Result<Vec<f64>> {
    let z = case.golden.need("fixed_point.z", size)?;
    let v = case.golden.need("ift.dl_dz", size)?;
    let rows = z.chunks_exact(d).zip(v.chunks_exact(d));
    let adjoint = rows.flat_map(|(z, v)| {
        let turned = transposed(&derivative(z), d);
        let y = solve(&times(&[step], &turned, 1), v);
        (v.iter().zip(y).map(|(v, y)| v - y)).collect::<Vec<_>>()
    });
    Ok(adjoint.collect())
}
