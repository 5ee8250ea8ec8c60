//! Entropic optimal transport.

use equilibria_core::inventory;
use serde_json::json;

use crate::golden::layer::{width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::tolerance::SOLVED;
use crate::golden::zoo::{Case, Comparer};
use crate::Result;

inventory::submit! {
    Comparer { folder: "sinkhorn", arrays: &["param.eps", "input.C", "input.a", "input.b"], compare }
}

fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let (rows, columns) = (width(golden, "input.a")?, width(golden, "input.b")?);
    let config = json!({ "type": "sinkhorn", "rows": rows, "columns": columns });
    let subject = Subject::new(golden, config, columns, &["C", "a", "b"])?;
    subject.compare(golden, ledger)?;

    let solved = subject.solved(golden, subject.layer.clone())?;
    ledger.compare(golden, "plan", &solved.output, SOLVED);
    // f_i = ε ln P_i1 − g_1 + C_i1.
    let epsilon = golden.need("param.eps", 1)?[0];
    let samples = solved.output.chunks_exact(rows * columns);
    let samples = samples.zip(solved.z.chunks_exact(columns));
    let costs = golden.get("input.C")?.values.chunks_exact(rows * columns);
    let f = samples.zip(costs).flat_map(|((plan, g), cost)| {
        let firsts = plan.iter().zip(cost).step_by(columns);
        firsts.map(|(plan, cost)| epsilon * plan.ln() - g[0] + cost)
    });
    ledger.compare(golden, "f", &f.collect::<Vec<_>>(), SOLVED);
    Ok(())
}
