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
    let line = |label: &str, value: fn(&Epoch) -> Option<f64>| Line {
        label: label.to_owned(),
        points: (history.iter())
            .filter_map(|epoch| Some((epoch.epoch, value(epoch)?)))
            .collect(),
    };
    let tracked = || head.tracked().enumerate();
    let metric = |(index, metric): (usize, &Metric)| Line {
        label: metric.label.to_owned(),
        points: (history.iter())
            .filter_map(|epoch| Some((epoch.epoch, *epoch.validation.get(index)?)))
            .filter(|(_, value)| !value.is_nan())
            .collect(),
    };
    let mut figures = vec![
        figure(
            "Loss",
            ["epoch", "loss"],
            Scale::Linear,
            vec![
                line("training, with auxiliary terms", |e| Some(e.loss)),
                line(&format!("validation, {}", head.loss_name()), |e| {
                    e.validation_loss
                }),
            ],
        ),
        figure(
            "Metrics on the validation rows",
            ["epoch", "percent"],
            Scale::Linear,
            tracked().filter(|(_, m)| m.percent).map(metric).collect(),
        ),
    ];
    // What has a unit of its own has a chart of its own.
    figures.extend(tracked().filter(|(_, m)| !m.percent).map(|(index, m)| {
        let title = format!("{} on the validation rows", m.label);
        figure(
            &title,
            ["epoch", m.label],
            Scale::Linear,
            vec![metric((index, m))],
        )
    }));
    page.figures(&figures);
    // A fusion that solves nothing, or a backward strategy that does not, leaves zeros.
    if history.iter().all(|epoch| epoch.solver_steps <= 0.0) {
        return;
    }
    page.heading("Solves in training");
    // No chart where no solve has failed.
    let failed = history
        .iter()
        .any(|e| e.unconverged_fraction + e.adjoint_unconverged_fraction > 0.0);
    let shares = match failed {
        true => vec![
            line("forward", |e| Some(e.unconverged_fraction)),
            line("adjoint", |e| {
                Some(e.adjoint_unconverged_fraction).filter(|_| e.adjoint_steps > 0.0)
            }),
        ],
        false => Vec::new(),
    };
    page.figures(&[
        figure(
            "Solver steps per row, mean over equilibria",
            ["epoch", "steps"],
            Scale::Linear,
            vec![
                line("forward", |e| Some(e.solver_steps)),
                line("adjoint", |e| Some(e.adjoint_steps).filter(|&n| n > 0.0)),
            ],
        ),
        figure(
            "Largest relative residual",
            ["epoch", "relative residual"],
            Scale::Logarithmic,
            vec![
                line("forward", |e| Some(e.residual)),
                line("adjoint", |e| Some(e.adjoint_residual)),
            ],
        ),
        figure(
            "Solves that did not converge",
            ["epoch", "share"],
            Scale::Share,
            shares,
        ),
    ]);
}
