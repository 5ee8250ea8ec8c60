//! One application of eqs. 8-12.

use equilibria_core::{from_host, to_host, Backend, ImplicitLayer, Matrix, Value, Vectors};

use super::file::Golden;
use super::ledger::Ledger;
use super::spaces::in_all;
use super::subject::Subject;
use super::tolerance::STEP;
use crate::Result;

/// Compares x_fuse and both steps: from zero and from a random state.
pub fn compare<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
) -> Result<()> {
    let size = subject.sizes.batch * subject.sizes.joint_dim();
    ledger.compare(golden, "input.x_fuse", &to_host(&subject.x_fuse()?), STEP);
    if golden.has("step_zero.out.fuse") {
        compare_step(subject, golden, ledger, "step_zero", &vec![0.0; size])?;
    }
    if golden.has("step_rand.z") {
        let z = golden.need("step_rand.z", size)?;
        compare_step(subject, golden, ledger, "step_rand", z)?;
    }
    Ok(())
}

fn compare_step<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Golden,
    ledger: &mut Ledger,
    case: &str,
    z: &[f64],
) -> Result<()> {
    let parts = parts(subject, z)?;
    let z_fuse = Value::plain(parts[subject.sizes.modalities].clone());
    let mut check = |name: String, value: &Value<f64, D>| -> Result<()> {
        let value = to_host(&value.clone().into_matrix()?);
        ledger.compare(golden, &format!("{case}.{name}"), &value, STEP);
        Ok(())
    };
    let mut purified: Option<Value<f64, D>> = None;
    for (index, (theta, x)) in subject.theta.iter().zip(&subject.x).enumerate() {
        let i = index + 1;
        let [z, x] = [&parts[index], x].map(|of| Value::plain(of.clone()));
        let hat = theta.hat(&z);
        let tilde = theta.tilde(&hat, &x);
        let out = theta.step(&z, &[x])?;
        let alpha = subject.fuse.alpha(&z_fuse, &out);
        let own = &alpha * &z_fuse;
        check(format!("hat.{i}"), &hat)?;
        check(format!("tilde.{i}"), &tilde)?;
        check(format!("out.{i}"), &out)?;
        check(format!("alpha.{i}"), &alpha)?;
        check(format!("purified.{i}"), &own)?;
        purified = Some(match purified {
            Some(sum) => sum + own,
            None => own,
        });
    }
    if let Some(purified) = purified {
        check("fuse_hat".to_owned(), &subject.fuse.fuse.of(&purified))?;
        let x_fuse = Value::plain(subject.x_fuse()?);
        let fused = subject.fuse.combine(&purified, &x_fuse);
        check("out.fuse".to_owned(), &fused)?;
    }
    compare_joint(subject, z, check)
}

/// The same through the joint map, whose gate is collapsed, in both spaces.
fn compare_joint<D: Backend<f64>>(
    subject: &Subject<D>,
    z: &[f64],
    mut check: impl FnMut(String, &Value<f64, D>) -> Result<()>,
) -> Result<()> {
    let outcomes = in_all(subject, |space| {
        let [at, out] = [space.alloc()?, space.alloc()?];
        space.vectors_mut().write(at, z)?;
        space.apply(at, out)?;
        space.vectors().read(out)
    })?;
    for outcome in outcomes {
        let outs = parts(subject, &outcome.result)?;
        for (index, out) in outs.iter().enumerate() {
            let name = part_name(index, subject.sizes.modalities);
            check(format!("out.{name}"), &Value::plain(out.clone()))?;
        }
    }
    Ok(())
}

/// The states z_1, …, z_N, z_fuse of a joint state `[batch, K]`.
pub fn parts<D: Backend<f64>>(subject: &Subject<D>, joint: &[f64]) -> Result<Vec<Matrix<f64, D>>> {
    let sizes = &subject.sizes;
    let part = |part: usize| {
        let rows = joint.chunks_exact(sizes.joint_dim());
        let values = rows.flat_map(|row| &row[part * sizes.width..][..sizes.width]);
        let values = values.copied().collect();
        Ok(from_host(
            subject.w.device(),
            values,
            (sizes.batch, sizes.width),
        )?)
    };
    (0..=sizes.modalities).map(part).collect()
}

/// What the golden names call a part: its number from 1, or `fuse`.
pub fn part_name(index: usize, modalities: usize) -> String {
    if index == modalities {
        "fuse".to_owned()
    } else {
        (index + 1).to_string()
    }
}
