//! Epochs as text.

use equilibria_fusion::train::Epoch;
use equilibria_fusion::Head;

/// The most important numbers first: a narrow terminal cuts the others off.
pub fn message(head: &dyn Head, epoch: &Epoch, detailed: bool) -> String {
    let first = head.tracked().next().zip(epoch.validation.first());
    let validation = match (first, epoch.validation_loss) {
        (Some((metric, &value)), Some(_)) => format!(" validation {}", metric.show(value)),
        _ => String::new(),
    };
    let mut text = format!(
        "loss {:.4}{validation} unconverged {:.2} % steps {:.1} residual {:.1e}",
        epoch.loss,
        100.0 * epoch.unconverged_fraction,
        epoch.solver_steps,
        epoch.residual
    );
    if detailed {
        text += &format!(
            ", adjoint unconverged {:.2} % steps {:.1} residual {:.1e}",
            100.0 * epoch.adjoint_unconverged_fraction,
            epoch.adjoint_steps,
            epoch.adjoint_residual,
        );
    }
    text
}

/// One line per epoch; what there is none of is empty.
pub fn history_csv(head: &dyn Head, history: &[Epoch]) -> String {
    let mut csv = Epoch::columns(head).join(",") + "\n";
    for epoch in history {
        let cells = epoch.row().into_iter().map(|number| match number.is_nan() {
            true => String::new(),
            false => number.to_string(),
        });
        csv += &(cells.collect::<Vec<_>>().join(",") + "\n");
    }
    csv
}
