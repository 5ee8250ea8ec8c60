//! The non-Euclidean monotone operator network.

use equilibria_core::{Backend, ImplicitLayer};
use serde_json::json;

use crate::golden::layer::{largest, width, Subject};
use crate::golden::ledger::Ledger;
use crate::golden::tolerance::STEP;
use crate::golden::zoo::Case;
use crate::Result;

comparer!(
    "nemon",
    ["param.A.weight", "param.d", "param.U.weight"],
    compare
);

fn compare<D: Backend<f64>>(case: &Case<D>, ledger: &mut Ledger) -> Result<()> {
    let golden = &case.golden;
    let subject = |alpha: f64, activation: &str| {
        let measure = case.number("m")?;
        let config = json!({ "type": "nemon", "measure": measure, "alpha": alpha, "activation": activation });
        Subject::new(case, config, width(golden, "param.A.weight")?, &["x"])
    };
    let plain = subject(1.0, "relu")?;
    plain.compare(golden, ledger)?;
    // W is the derivative of the affine part.
    let (d, size) = (
        plain.layer.state_dim(),
        plain.batch() * plain.layer.state_dim(),
    );
    let linear = subject(1.0, "identity")?;
    let injected = linear.step(&vec![0.0; size])?;
    let mut w = vec![0.0; d * d];
    for column in 0..d {
        let unit = |index: usize| f64::from(u8::from(index % d == column));
        let value = linear.step(&(0..size).map(unit).collect::<Vec<_>>())?;
        for row in 0..d {
            w[row * d + column] = value[row] - injected[row];
        }
    }
    ledger.compare(golden, "W", &w, STEP * largest(golden, "W"));
    let least = (0..d).map(|i| w[i * d + i]).fold(0.0, f64::min);
    let alpha = 1.0 / (1.0 - least);
    ledger.compare(golden, "alpha", &[alpha], STEP);
    // The averaged map has the same equilibrium and gradients.
    subject(alpha, "relu")?.compare_equilibrium(golden, ledger)
}
