//! The positive concave equilibrium.

use equilibria_core::inventory;
use serde_json::json;

use crate::golden::layer::{width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::zoo::{Case, Comparer};
use crate::Result;

inventory::submit! {
    Comparer { folder: "positive_concave", arrays: &["param.W.weight", "input.x"], compare }
}

/// The inputs of the file are what softplus or ReLU have made of others.
fn compare(case: &Case, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let config = json!({
        "type": "positive-concave",
        "activation": case.word("phi")?,
        "injection": "positive",
    });
    let mut subject = Subject::new(golden, config, width(golden, "param.W.weight")?, &["x"])?;
    // Beside the positive solution there may be others, which Newton's method finds.
    subject.solver = json!({ "type": "picard" });
    subject.compare(golden, ledger)
}
