//! What the run was, and what it achieved.

use equilibria_fusion::data::Targets;

use super::page::{number, Cell, Page};
use super::RunReport;

/// Writes the facts of the run and the metrics of the test rows.
pub fn write(run: &RunReport<'_>, page: &mut Page) {
    let (data, test, epochs) = (run.data, run.test, run.history.len());
    let fact = |name: &str, value: String| (name.to_owned(), vec![Cell::new(value)]);
    page.paragraph(&format!(
        "A training run of equilibria {}.",
        env!("CARGO_PKG_VERSION")
    ));
    let of_each = match &data.train.targets {
        Targets::Classes(_) => ("classes", data.classes.len().to_string()),
        Targets::LabelSets(_) => ("labels", data.classes.len().to_string()),
        Targets::Numbers(_) => ("to predict", "a number".to_owned()),
    };
    page.table(
        "The run",
        &[],
        &[
            fact("data", data.name.clone()),
            fact(
                "rows",
                format!("{} training, {} test", data.train.len(), data.test.len()),
            ),
            fact(of_each.0, of_each.1),
            fact("seed", run.experiment.seed.to_string()),
            fact("epochs", format!("{epochs}, best {}", run.best_epoch)),
            fact("element type", dtype(run)),
            fact("device", device(run.device).to_owned()),
            fact(
                "training and evaluation took",
                format!("{:.1} seconds", run.seconds),
            ),
        ],
    );
    page.heading("Metrics on the test rows");
    let scores = test.scores.iter();
    let mut facts: Vec<_> = scores
        .map(|score| fact(&score.metric.heading(", "), number(score.value)))
        .collect();
    facts.extend([
        fact(run.experiment.head.loss_name(), number(test.loss)),
        fact("solver steps per row", number(test.mean_solver_steps)),
        fact(
            "solves that did not converge, %",
            number(100.0 * test.unconverged_fraction),
        ),
    ]);
    page.table("Scores and solves", &[], &facts);
}

/// As in a configuration.
fn dtype(run: &RunReport<'_>) -> String {
    format!("{:?}", run.experiment.dtype).to_lowercase()
}

/// A type without its path.
fn device(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}
