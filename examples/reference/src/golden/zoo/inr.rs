//! The implicit neural representation that is an equilibrium.

use equilibria_core::Backend;
use serde_json::json;

use crate::golden::layer::{width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::zoo::Case;
use crate::{Error, Result};

comparer!(
    "inr",
    [
        "param.injection.x_map.weight",
        "param.f.layers.0.z_map.weight"
    ],
    compare
);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let filter = match case.word("filter")? {
        "siren_like" => "siren",
        filter @ ("fourier" | "gabor") => filter,
        other => {
            let message = format!("no filter is called `{other}`");
            return Err(Error::golden(&golden.path, message));
        }
    };
    let config = json!({
        "type": "implicit-representation",
        "filter": filter,
        "blocks": case.size("blocks")?,
    });
    let state = width(golden, "param.f.layers.0.z_map.weight")?;
    let mut subject = Subject::new(case, config, state, &["x"])?;
    // Weights are not bounded.
    subject.several = true;
    subject.compare(golden, ledger)
}
