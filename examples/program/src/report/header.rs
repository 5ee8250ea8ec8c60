//! What the run was, and what it achieved.

use equilibria_fusion::data::TargetKind;

use super::page::{number, Cell, Page};
use super::RunReport;

/// Writes the facts of the run and the metrics of the test rows.
pub fn write(run: &RunReport<'_>, page: &mut Page) {
    page.paragraph(&format!(
        "A training run of equilibria {}.",
        env!("CARGO_PKG_VERSION")
    ));
    page.table("The run", &[], &facts(run));
    page.heading("Metrics on the test rows");
    page.table("Scores and solves", &[], &scores(run));
}

/// A row of a table of facts.
fn fact(name: &str, value: String) -> (String, Vec<Cell>) {
    (name.to_owned(), vec![Cell::new(value)])
}

fn facts(run: &RunReport<'_>) -> [(String, Vec<Cell>); 8] {
    let (data, epochs) = (run.data, run.history.len());
    let (what, of_each) = match data.train.kind() {
        TargetKind::Class => ("classes", data.classes.len().to_string()),
        TargetKind::LabelSet => ("labels", data.classes.len().to_string()),
        TargetKind::Number => ("to predict", "a number".to_owned()),
        TargetKind::Answers => ("answers", data.classes.len().to_string()),
        TargetKind::Boxes => ("classes of boxes", data.classes.len().to_string()),
    };
    [
        fact("data", data.name.clone()),
        fact(
            "rows",
            format!("{} training, {} test", data.train.len(), data.test.len()),
        ),
        fact(what, of_each),
        fact("seed", run.experiment.seed.to_string()),
        fact("epochs", format!("{epochs}, best {}", run.best_epoch)),
        fact("element type", dtype(run)),
        fact("device", device(run.device).to_owned()),
        fact(
            "training and evaluation took",
            format!("{:.1} seconds", run.seconds),
        ),
    ]
}

fn scores(run: &RunReport<'_>) -> Vec<(String, Vec<Cell>)> {
    let test = run.test;
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
    facts
}

/// As in a configuration.
fn dtype(run: &RunReport<'_>) -> String {
    format!("{:?}", run.experiment.dtype).to_lowercase()
}

/// A type without its path.
fn device(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}
