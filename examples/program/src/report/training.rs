//! Curves over the epochs.

use equilibria_fusion::head::Metric;
use equilibria_fusion::train::Epoch;
use equilibria_fusion::Head;

use super::figure::figure;
use super::page::Page;
use crate::plot::{Line, Scale};

/// Writes loss, validation metrics, and what the solvers did.
pub fn write(head: &dyn Head, history: &[Epoch], page: &mut Page) {
    page.heading("Training");
    if history.iter().all(|epoch| epoch.validation_loss.is_none()) {
        page.paragraph("No rows were held out for validation.");
    }
    let mut figures = vec![loss(head, history)];
    figures.extend(metrics(head, history));
    page.figures(&figures);
    // A fusion that solves nothing, or a backward strategy that does not, leaves zeros.
    if history.iter().any(|epoch| epoch.solver_steps > 0.0) {
        page.heading("Solves in training");
        page.figures(&solves(history));
    }
}

/// A line over the epochs that have such a number.
fn line(history: &[Epoch], label: &str, value: impl Fn(&Epoch) -> Option<f64>) -> Line {
    Line {
        label: label.to_owned(),
        points: (history.iter())
            .filter_map(|epoch| Some((epoch.epoch, value(epoch)?)))
            .collect(),
    }
}

fn loss(head: &dyn Head, history: &[Epoch]) -> String {
    let validation = format!("validation, {}", head.loss_name());
    figure(
        "Loss",
        ["epoch", "loss"],
        Scale::Linear,
        vec![
            line(history, "training, with auxiliary terms", |e| Some(e.loss)),
            line(history, &validation, |e| e.validation_loss),
        ],
    )
}

/// The metrics in percent in one chart; what has a unit of its own has a chart of its own.
fn metrics(head: &dyn Head, history: &[Epoch]) -> Vec<String> {
    let tracked = || head.tracked().enumerate();
    let metric = |(index, metric): (usize, &Metric)| {
        let value = |epoch: &Epoch| epoch.validation.get(index).copied();
        line(history, metric.label, |epoch| {
            value(epoch).filter(|value| !value.is_nan())
        })
    };
    let percent = figure(
        "Metrics on the validation rows",
        ["epoch", "percent"],
        Scale::Linear,
        tracked().filter(|(_, m)| m.percent).map(metric).collect(),
    );
    let others = tracked().filter(|(_, m)| !m.percent).map(|(index, m)| {
        let title = format!("{} on the validation rows", m.label);
        let lines = vec![metric((index, m))];
        figure(&title, ["epoch", m.label], Scale::Linear, lines)
    });
    [percent].into_iter().chain(others).collect()
}

/// A line for the forward and one for the adjoint solves.
fn both(history: &[Epoch], values: [fn(&Epoch) -> Option<f64>; 2]) -> Vec<Line> {
    let lines = ["forward", "adjoint"].into_iter().zip(values);
    lines
        .map(|(label, value)| line(history, label, value))
        .collect()
}

fn solves(history: &[Epoch]) -> [String; 3] {
    [
        figure(
            "Solver steps per row, mean over equilibria",
            ["epoch", "steps"],
            Scale::Linear,
            both(
                history,
                [
                    |e| Some(e.solver_steps),
                    |e| Some(e.adjoint_steps).filter(|&n| n > 0.0),
                ],
            ),
        ),
        figure(
            "Largest relative residual",
            ["epoch", "relative residual"],
            Scale::Logarithmic,
            both(
                history,
                [|e| Some(e.residual), |e| Some(e.adjoint_residual)],
            ),
        ),
        figure(
            "Solves that did not converge",
            ["epoch", "share"],
            Scale::Share,
            shares(history),
        ),
    ]
}

/// No lines where no solve has failed.
fn shares(history: &[Epoch]) -> Vec<Line> {
    let failed = history
        .iter()
        .any(|e| e.unconverged_fraction + e.adjoint_unconverged_fraction > 0.0);
    if !failed {
        return Vec::new();
    }
    both(
        history,
        [
            |e| Some(e.unconverged_fraction),
            |e| Some(e.adjoint_unconverged_fraction).filter(|_| e.adjoint_steps > 0.0),
        ],
    )
}
