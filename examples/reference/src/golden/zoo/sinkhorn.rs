//! Entropic optimal transport.

use equilibria_core::Backend;
use serde_json::json;

use crate::golden::layer::{in_turn, largest, width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::tolerance::SOLVED;
use crate::golden::zoo::Case;
use crate::Result;

comparer!(
    "sinkhorn",
    ["param.eps", "input.C", "input.a", "input.b"],
    compare
);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let (rows, columns) = (width(golden, "input.a")?, width(golden, "input.b")?);
    let config = json!({ "type": "sinkhorn", "rows": rows, "columns": columns });
    let mut subject = Subject::new(case, config, columns, &["C", "a", "b"])?;
    // A contraction, however small ε is; Newton's method gets lost where it is small.
    subject.solver = in_turn(&["picard", "newton-gmres"]);
    subject.compare(golden, ledger)?;

    let solved = subject.solved(golden, subject.layer.clone())?;
    ledger.compare(golden, "plan", &solved.output, SOLVED);
    // f_i = ε ln P_ij − g_j + C_ij for any j: for that of the largest P_ij, since others may be as small as 0.
    let epsilon = golden.need("param.eps", 1)?[0];
    let costs = &golden.get("input.C")?.values;
    let plans = solved.output.chunks_exact(columns);
    let f = (plans.zip(costs.chunks_exact(columns)).enumerate()).map(|(row, (plan, cost))| {
        let g = &solved.z[row / rows * columns..][..columns];
        let most = (0..columns).max_by(|&a, &b| plan[a].total_cmp(&plan[b]));
        most.map_or(f64::NAN, |j| epsilon * plan[j].ln() - g[j] + cost[j])
    });
    let tolerance = SOLVED * largest(golden, "f");
    ledger.compare(golden, "f", &f.collect::<Vec<_>>(), tolerance);
    Ok(())
}
