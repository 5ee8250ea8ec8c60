//! Implicit deep learning.

use dfdx::prelude::*;
use equilibria_core::{to_host, Backend, Parameters};
use serde_json::json;

use crate::golden::layer::{width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::tolerance::STEP;
use crate::golden::zoo::Case;
use crate::Result;

comparer!("implicit", ["param.A", "param.B", "input.u"], compare);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let config = json!({
        "type": "implicit",
        "radius": case.number("kappa")?,
        "activation": case.word("phi")?,
    });
    let subject = Subject::new(case, config, width(golden, "param.A")?, &["u"])?;
    subject.compare(golden, ledger)?;
    if golden.has("projection.raw") {
        let mut layer = subject.layer.clone();
        let mut projected = Vec::new();
        let raw = golden.get("projection.raw")?.values.clone();
        let values = layer
            .named()
            .into_iter()
            .map(|(name, tensor)| match name.as_str() {
                "a" => raw.clone(),
                _ => to_host(&tensor),
            });
        let values = values.collect();
        // Of its own: an assignment writes into tensors that are shared.
        let device = &case.device;
        layer.visit_mut("", &mut |_, tensor| {
            *tensor = device.zeros_like(tensor.shape())
        });
        layer.assign(values)?;
        layer.project()?;
        layer.visit("", &mut |name, tensor| {
            if name == "a" {
                projected = to_host(tensor);
            }
        });
        ledger.compare(golden, "param.A", &projected, STEP);
        ledger.input(golden, "projection.raw");
    }
    ledger.input(golden, "projection.radius");
    Ok(())
}
