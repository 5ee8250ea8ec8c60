//! The multiscale deep equilibrium block.

use equilibria_core::Backend;
use serde_json::json;

use crate::golden::layer::{width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::zoo::Case;
use crate::Result;

comparer!(
    "mdeq",
    ["param.branches.0.blocks.0.conv1.weight", "input.x"],
    compare
);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let conv1 = |branch: usize| format!("param.branches.{branch}.blocks.0.conv1.weight");
    let channels = |branch: usize| -> Result<usize> {
        let weight = golden.get(&conv1(branch))?;
        Ok(weight.shape.get(1).copied().unwrap_or(0))
    };
    let (higher, lower) = (channels(0)?, channels(1)?);
    let pixels = width(golden, "input.x")? / higher.max(1);
    let side = pixels.isqrt();
    let config = json!({
        "type": "mdeq",
        "channels": [higher, lower],
        "side": side,
        "expansion": golden.count(&conv1(0)) / higher.max(1),
        "groups": case.size("groups")?,
    });
    let state = higher * pixels + lower * (pixels / 4);
    let mut subject = Subject::new(case, config, state, &["x"])?;
    // There may be several equilibria: plain iteration from 0 comes to this one, if it comes to rest.
    subject.solver = json!({ "type": "picard" });
    subject.several = true;
    subject.compare(golden, ledger)
}
