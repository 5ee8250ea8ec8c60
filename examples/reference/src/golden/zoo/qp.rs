//! The quadratic program: regular, inactive, redundant and weakly active constraints.

use equilibria_core::Backend;
use serde_json::json;

use crate::golden::admm::Admm;
use crate::golden::file::Arrays;
use crate::golden::layer::{largest, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::tolerance::{SOLVED, STEP};
use crate::golden::zoo::Case;
use crate::Result;

comparer!("qp", ["param.L", "input.p"], compare);

/// What the argument is compared to, absolute.
const ARGUMENT: f64 = 1e-9;

/// What gradients are compared to, relative to the largest entry: those of degenerate programs are known to this.
const DEGENERATE: f64 = 1e-8;

/// Q and its parts: numbers of variables, equalities and inequalities.
struct Program {
    q: Vec<f64>,
    n: usize,
    me: usize,
    mi: usize,
}

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let n = golden.count("param.L");
    let (me, mi) = (golden.count("param.A"), golden.count("param.G"));
    let l = golden.need("param.L", n * n)?;
    let lower: Vec<f64> = (l.iter().enumerate())
        .map(|(index, l)| if index % n <= index / n { *l } else { 0.0 })
        .collect();
    let ridge = match case.number("eps") {
        Ok(ridge) => ridge,
        Err(_) => golden.need("Q", n * n)?[0] - lower[0] * lower[0],
    };
    let program = Program {
        q: quadratic(&lower, n, ridge),
        n,
        me,
        mi,
    };
    ledger.compare(golden, "Q", &program.q, STEP * largest(golden, "Q"));

    let inputs: Vec<&str> = (["p", "b", "h"].into_iter())
        .filter(|name| golden.has(&format!("input.{name}")))
        .collect();
    let config = json!({
        "type": "quadratic-program",
        "variables": n, "equalities": me, "inequalities": mi,
        "ridge": ridge, "tau": case.config["tau"], "sigma": case.config["sigma"],
    });
    let subject = Subject::new(case, config, n + me + mi, &inputs)?;
    match case.word("kind")? {
        "redundant" => compare_redundant(&subject, golden, ledger),
        "weakly active" => compare_weak(&subject, golden, ledger, &program),
        _ => {
            subject.compare(golden, ledger)?;
            compare_parts(&subject, golden, ledger, &program)?;
            compare_symmetric(&subject, golden, ledger, &program)?;
            Admm::compare(case, ledger, &program.q, subject.batch())
        }
    }
}

/// `L Lᵀ + ε I`.
fn quadratic(lower: &[f64], n: usize, ridge: f64) -> Vec<f64> {
    let entry = |index: usize| {
        let (i, j) = (index / n, index % n);
        let product: f64 = (0..n).map(|k| lower[i * n + k] * lower[j * n + k]).sum();
        product + if i == j { ridge } else { 0.0 }
    };
    (0..n * n).map(entry).collect()
}

/// Compares the argument and the multipliers of the equilibrium.
fn compare_parts<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Arrays,
    ledger: &mut Ledger,
    program: &Program,
) -> Result<()> {
    let &Program { n, me, mi, .. } = program;
    let solved = subject.solved(golden, subject.layer.clone())?;
    let part = |from: usize, width: usize| -> Vec<f64> {
        let rows = solved.z.chunks_exact(n + me + mi);
        rows.flat_map(|row| row[from..from + width].iter().copied())
            .collect()
    };
    ledger.compare(golden, "argmin", &solved.output, ARGUMENT);
    ledger.compare(golden, "nu", &part(n, me), ARGUMENT * largest(golden, "nu"));
    let scale = largest(golden, "lambda");
    ledger.compare(golden, "lambda", &part(n + me, mi), ARGUMENT * scale);
    Ok(())
}

/// The symmetric gradient by Q is −(d zᵀ + z dᵀ) / 2 with d = −∂l/∂p.
fn compare_symmetric<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Arrays,
    ledger: &mut Ledger,
    program: &Program,
) -> Result<()> {
    let n = program.n;
    let solved = subject.solved(golden, subject.layer.clone())?;
    let parameters = solved.gradients.len() - subject.x.len();
    let by_p = &solved.gradients[parameters];
    let mut gradient = vec![0.0; n * n];
    for (z, g) in solved.output.chunks_exact(n).zip(by_p.chunks_exact(n)) {
        for (index, entry) in gradient.iter_mut().enumerate() {
            let (i, j) = (index / n, index % n);
            *entry += (g[i] * z[j] + z[i] * g[j]) / 2.0;
        }
    }
    let name = "grad.Q_symmetric";
    ledger.compare(golden, name, &gradient, SOLVED * largest(golden, name));
    Ok(())
}

/// Two equal constraints: the argument and its gradients by p exist, multipliers are not unique.
fn compare_redundant<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Arrays,
    ledger: &mut Ledger,
) -> Result<()> {
    let solved = subject.solved(golden, subject.layer.clone())?;
    ledger.compare(golden, "argmin", &solved.output, ARGUMENT);
    ledger.compare(golden, "fixed_point.argmin", &solved.output, ARGUMENT);
    let parameters = solved.gradients.len() - subject.x.len();
    let by_p = &solved.gradients[parameters];
    let scale = largest(golden, "grad.input.p");
    ledger.compare(golden, "grad.input.p", by_p, DEGENERATE * scale);
    ledger.input(golden, "nu");
    ledger.input(golden, "lambda");
    Ok(())
}

/// A constraint that is active with a multiplier of 0: the gradient is that on one side or the other, row by row.
fn compare_weak<D: Backend<f64>>(
    subject: &Subject<D>,
    golden: &Arrays,
    ledger: &mut Ledger,
    program: &Program,
) -> Result<()> {
    compare_parts(subject, golden, ledger, program)?;
    let solved = subject.solved(golden, subject.layer.clone())?;
    let parameters = solved.gradients.len() - subject.x.len();
    let by_p = &solved.gradients[parameters];
    let sides = ["grad.input.p_if_active", "grad.input.p_if_inactive"];
    let stored = sides.map(|side| golden.need(side, by_p.len()));
    let [active, inactive] = stored;
    let (active, inactive) = (active?, inactive?);
    let distance = |a: &[f64], b: &[f64]| -> f64 {
        let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f64::max)
    };
    // Of either array, the rows on whose side the gradient is; the others count in the other array.
    let n = program.n;
    let rows = by_p
        .chunks_exact(n)
        .zip(active.chunks_exact(n).zip(inactive.chunks_exact(n)));
    let (mut as_active, mut as_inactive) = (Vec::new(), Vec::new());
    for (ours, (active, inactive)) in rows {
        let is_active = distance(ours, active) <= distance(ours, inactive);
        as_active.extend_from_slice(if is_active { ours } else { active });
        as_inactive.extend_from_slice(if is_active { inactive } else { ours });
    }
    let scale = largest(golden, sides[0]).max(largest(golden, sides[1]));
    ledger.compare(golden, sides[0], &as_active, DEGENERATE * scale);
    ledger.compare(golden, sides[1], &as_inactive, DEGENERATE * scale);
    Ok(())
}
