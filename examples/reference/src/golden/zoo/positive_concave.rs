//! The positive concave equilibrium.

use equilibria_core::Backend;
use serde_json::json;

use crate::golden::layer::{width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::zoo::Case;
use crate::Result;

comparer!("positive_concave", ["param.W.weight", "input.x"], compare);

/// The inputs of the file are what softplus or ReLU have made of others.
fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let config = json!({
        "type": "positive-concave",
        "activation": case.word("phi")?,
        "injection": "positive",
    });
    let mut subject = Subject::new(case, config, width(golden, "param.W.weight")?, &["x"])?;
    // Beside the positive solution there may be others, which Newton's method finds.
    subject.solver = json!({ "type": "picard" });
    subject.compare(golden, ledger)
}
