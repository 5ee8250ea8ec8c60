//! The linear implicit graph network.

use equilibria_core::Backend;
use serde_json::json;

use crate::golden::layer::{width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::zoo::Case;
use crate::Result;

comparer!("eignn", ["param.F", "input.X", "S"], compare);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let (own, state) = (width(golden, "param.F")?, width(golden, "input.X")?);
    let config = json!({
        "type": "eignn",
        "nodes": state / own.max(1),
        "width": own,
        "gamma": case.number("gamma")?,
        "normalize": false,
    });
    Subject::new(case, config, state, &["X", "S"])?.compare(golden, ledger)?;
    ledger.input(golden, "S");
    Ok(())
}
