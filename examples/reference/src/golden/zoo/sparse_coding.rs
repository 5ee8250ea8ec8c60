//! Sparse coding.

use equilibria_core::Backend;
use serde_json::json;

use crate::golden::layer::{in_turn, width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::zoo::Case;
use crate::Result;

comparer!(
    "sparse_coding",
    ["param.dictionary", "param.lambda"],
    compare
);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let atoms = width(golden, "param.dictionary")?;
    let step = golden.need("eta", 1)?[0];
    let mut config = json!({ "type": "sparse-coding", "ridge": case.number("mu")?, "step": step });
    let subject = |config: &serde_json::Value| -> Result<Subject<D>> {
        let mut subject = Subject::new(case, config.clone(), atoms, &["x"])?;
        // Newton's method gets stuck until it is near.
        subject.solver = in_turn(&["squarem", "newton-gmres", "picard"]);
        Ok(subject)
    };
    subject(&config)?.compare(golden, ledger)?;
    // The step that is found from the dictionary leads to the same code.
    config["step"] = json!(null);
    subject(&config)?.compare_equilibrium(golden, ledger)?;
    ledger.input(golden, "eta");
    Ok(())
}
