//! The monotone operator equilibrium network: both splittings, and certificates.

use dfdx::prelude::OwnedTape;
use equilibria_core::{Backend, ImplicitLayer, StepOnly};
use serde_json::json;

use crate::golden::layer::{largest, width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::linear::times;
use crate::golden::tolerance::{SOLVED, STEP};
use crate::golden::zoo::Case;
use crate::Result;

comparer!(
    "mondeq",
    ["param.A.weight", "param.B.weight", "param.U.weight"],
    compare
);

fn subject<D: Backend<f64>>(case: &Case<D>, alpha: f64) -> Result<Subject<D>> {
    let margin = case.number("m")?;
    let config = json!({ "type": "mondeq", "margin": margin, "alpha": alpha });
    let state = width(&case.golden, "param.A.weight")?;
    Subject::new(case, config, state, &["x"])
}

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let plain = subject(case, 1.0)?;
    plain.compare(golden, ledger)?;
    let (d, batch) = (plain.layer.state_dim(), plain.batch());
    // The derivative of the affine part: W is what is left of it where φ is the identity.
    let linear = json!({ "type": "mondeq", "margin": case.number("m")?, "activation": "identity" });
    let linear = Subject::new(case, linear, d, &["x"])?;
    let injected = linear.step(&vec![0.0; batch * d])?;
    let mut w = vec![0.0; d * d];
    for column in 0..d {
        let unit = |index: usize| f64::from(u8::from(index % d == column));
        let value = linear.step(&(0..batch * d).map(unit).collect::<Vec<_>>())?;
        for row in 0..d {
            w[row * d + column] = value[row] - injected[row];
        }
    }
    ledger.compare(golden, "W", &w, STEP * largest(golden, "W"));

    // Arrays that a file of another draw may leave out.
    if golden.has("fb.iterates") {
        compare_forward_backward(case, ledger, batch * d)?;
    }
    if golden.has("pr.iterates_u") {
        compare_peaceman_rachford(case, ledger, injected.len())?;
    }
    if golden.has("splitting.u") {
        // D y, with D = 1 where W z* + U x + b > 0: z* may be 1e-17 where it should be 0.
        let z = golden.need("fixed_point.z", batch * d)?;
        let y = golden.need("ift.adjoint", batch * d)?;
        let inner = times(&w, z, d).into_iter().zip(&injected);
        let sloped: Vec<f64> = (inner.zip(y))
            .map(|((wz, c), y)| if wz + c > 0.0 { *y } else { 0.0 })
            .collect();
        ledger.compare(
            golden,
            "splitting.u",
            &sloped,
            SOLVED * largest(golden, "splitting.u"),
        );
    }
    if golden.has("certificate.points") {
        compare_certificates(case, ledger, &plain, &w)?;
    }
    Ok(())
}

fn compare_forward_backward<D: Backend<f64>>(
    case: &Case<D>,
    ledger: &mut Ledger,
    size: usize,
) -> Result<()> {
    let golden = &case.golden;
    let alpha = golden.need("fb.alpha", 1)?[0];
    let splitting = subject(case, alpha)?;
    let (mut z, mut iterates) = (vec![0.0; size], Vec::new());
    for _ in 0..golden.calls("fb.iterates", size)? {
        z = splitting.step(&z)?;
        iterates.extend_from_slice(&z);
    }
    ledger.compare(
        golden,
        "fb.iterates",
        &iterates,
        STEP * largest(golden, "fb.iterates"),
    );
    ledger.input(golden, "fb.alpha");
    // The same equilibrium and gradients by this splitting.
    splitting.compare_equilibrium(golden, ledger)
}

/// The map of Peaceman and Rachford, whose state is u, and the equilibrium and gradients by it.
fn compare_peaceman_rachford<D: Backend<f64>>(
    case: &Case<D>,
    ledger: &mut Ledger,
    size: usize,
) -> Result<()> {
    let golden = &case.golden;
    let alpha = golden.need("pr.alpha", 1)?[0];
    let config = json!({
        "type": "mondeq",
        "margin": case.number("m")?,
        "splitting": "peaceman-rachford",
        "alpha": alpha,
    });
    let state = width(golden, "param.A.weight")?;
    let mut map = Subject::new(case, config, state, &["x"])?;
    if golden.has("pr.fixed_point_u") {
        for solved in [
            map.solved(golden, map.layer.clone())?,
            map.solved(golden, StepOnly(map.layer.clone()))?,
        ] {
            for (name, found) in [
                ("pr.fixed_point_u", &solved.z),
                ("fixed_point.z", &solved.output),
            ] {
                ledger.compare(golden, name, found, SOLVED * largest(golden, name));
            }
            map.compare_gradients(golden, ledger, &solved);
        }
    }
    // One step by itself needs the inverse.
    if let (Some(formed), _) = map.layer.formed(OwnedTape::default())? {
        map.layer = formed;
    }
    let (mut u, mut iterates) = (vec![0.0; size], Vec::new());
    for _ in 0..golden.calls("pr.iterates_u", size)? {
        u = map.step(&u)?;
        iterates.extend_from_slice(&u);
    }
    let scale = largest(golden, "pr.iterates_u");
    ledger.compare(golden, "pr.iterates_u", &iterates, STEP * scale);
    if golden.has("pr.step_rand.f") {
        let u = map.step(golden.need("step_rand.z", size)?)?;
        let scale = largest(golden, "pr.step_rand.f");
        ledger.compare(golden, "pr.step_rand.f", &u, STEP * scale);
    }
    ledger.input(golden, "pr.alpha");
    Ok(())
}

/// Of the residual r = z − f(z) of a map with step α, the file has two bounds: ‖(I + α Sᵀ) r‖ / (α m) at z, and
/// ‖(I − α S) r‖ / (α m) after one more application, S = I − W. Ours, at any point, must lie between the error and the first one; the second
/// one, which the layer does not offer, is computed here.
fn compare_certificates<D: Backend<f64>>(
    case: &Case<D>,
    ledger: &mut Ledger,
    plain: &Subject<D>,
    w: &[f64],
) -> Result<()> {
    let golden = &case.golden;
    let (d, batch) = (plain.layer.state_dim(), plain.batch());
    let solution = golden.need("fixed_point.z", batch * d)?;
    let count = golden.calls("certificate.points", batch * d)?;
    let points = golden.need("certificate.points", count * batch * d)?;
    let certificate = plain.layer.certificate();
    let x = equilibria_core::to_host(&plain.x[0]);
    let inputs = x.len() / batch;
    let distance = |a: &[f64], b: &[f64]| -> f64 {
        let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
        squares.sum::<f64>().sqrt()
    };
    let margin = case.number("m")?;
    let alpha = golden.need("fb.alpha", 1).map_or(1.0, |alpha| alpha[0]);
    for (name, alpha) in [("plain", 1.0), ("fb", alpha)] {
        let map = subject(case, alpha)?;
        let (mut before, mut after, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
        for point in points.chunks_exact(batch * d) {
            let next = map.step(point)?;
            for row in 0..batch {
                let part = |all: &[f64]| all[row * d..][..d].to_vec();
                let (z, z_next, exact) = (part(point), part(&next), part(solution));
                before.push(distance(&z, &exact));
                after.push(distance(&z_next, &exact));
                let x = &x[row * inputs..][..inputs];
                let bound = certificate.as_ref().map_or(f64::NAN, |c| c.bound(&z, &[x]));
                let r: Vec<f64> = z.iter().zip(&z_next).map(|(z, next)| z - next).collect();
                let forward: Vec<f64> = (r.iter().zip(times(w, &r, d)))
                    .map(|(r, wr)| r - alpha * (r - wr))
                    .collect();
                let origin = vec![0.0; d];
                bounds.push((bound, distance(&forward, &origin) / (alpha * margin)));
            }
        }
        let array = |which: &str| format!("certificate.{name}.{which}");
        ledger.compare(
            golden,
            &array("error_before"),
            &before,
            SOLVED * largest(golden, &array("error_before")),
        );
        ledger.compare(
            golden,
            &array("error_after"),
            &after,
            SOLVED * largest(golden, &array("error_after")),
        );
        let (of_before, of_after): (Vec<f64>, Vec<f64>) = bounds.into_iter().unzip();
        for (which, ours, errors) in [
            ("bound_before", of_before, before),
            ("bound_after", of_after, after),
        ] {
            let Some(stored) = golden.arrays.get(&array(which)) else {
                continue;
            };
            // What is beyond either end counts; between them, ours stands for the stored one.
            let held =
                (ours.iter().zip(&errors).zip(&stored.values)).map(|((ours, error), stored)| {
                    match which == "bound_before" && ours >= error && ours <= stored {
                        true => *stored,
                        false => *ours,
                    }
                });
            let held: Vec<f64> = held.collect();
            let scale = largest(golden, &array(which));
            ledger.compare(golden, &array(which), &held, SOLVED * scale);
        }
    }
    ledger.input(golden, "certificate.points");
    Ok(())
}
