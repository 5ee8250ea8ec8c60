//! How good a model is.

use std::fmt;

use equilibria_core::{from_host, Backend, Report, Result, Scalar, Tally};
use serde::Serialize;

use crate::data::{Rows, Targets};
use crate::head::{by_key, Comparison, Score};
use crate::metrics::MetricsError;
use crate::model::Model;
use crate::pass::{Gate, Pass};
use crate::predict::{outputs, Outputs};
use crate::ranks::Division;

/// A model's performance on some rows.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// What the head measures.
    #[serde(flatten, serialize_with = "by_key")]
    pub scores: Vec<Score>,
    /// Loss of the head, mean over rows, in the units of the targets.
    pub loss: f64,
    /// Forward solver steps per sample, mean over equilibria.
    pub mean_solver_steps: f64,
    /// Share of forward solves that did not converge.
    pub unconverged_fraction: f64,
    /// Predictions and targets, the source of the scores. Of boxes, the average precision of each class is written.
    #[serde(flatten, serialize_with = "Comparison::details")]
    pub comparison: Comparison,
    /// The equilibria by name, and how the forward solve of every row went. Traces, where there are any, are those of the
    /// rows that go through the model first, 256 at most: enough to see how solves go, and no more the more rows there are.
    #[serde(skip)]
    pub solves: Vec<(String, Report)>,
    /// How the fusion weighs the modalities; of [`inspect`] only, and empty for a fusion without gates.
    #[serde(skip)]
    pub gates: Vec<Gate>,
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.scores.iter();
        let shown: Vec<String> = shown
            .map(|Score { metric, value }| format!("{} {}", metric.label, metric.show(*value)))
            .collect();
        write!(
            f,
            "{}; {:.1} solver steps, {:.2} % unconverged",
            shown.join(", "),
            self.mean_solver_steps,
            100.0 * self.unconverged_fraction
        )
    }
}

/// Evaluates a model on all rows of a split. Predictions, and how each row was solved, stay in memory.
///
/// # Errors
/// Those of the model and of its head: [`Error::Parse`](equilibria_core::Error::Parse), with the message of a [`MetricsError`], for
/// the first row whose outputs or loss are not finite.
pub fn evaluate<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    device: &D,
    rows: &dyn Rows,
) -> Result<Evaluation> {
    evaluate_on(&Division::none(), model, device, rows)
}

/// [`evaluate`] on ranks, each of which works on its rows; all of them get the evaluation of all rows.
///
/// # Errors
/// Those of [`evaluate`], and [`Error::OtherRank`](equilibria_core::Error::OtherRank).
pub fn evaluate_on<E: Scalar, D: Backend<E>>(
    division: &Division<'_>,
    model: &Model<E, D>,
    device: &D,
    rows: &dyn Rows,
) -> Result<Evaluation> {
    evaluate_in(division, Pass::evaluation, model, device, rows)
}

/// [`evaluate`] for a reader: solves have [traces](equilibria_core::SampleReport::trace), and gates are measured. The
/// scores are the same.
pub fn inspect<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    device: &D,
    rows: &dyn Rows,
) -> Result<Evaluation> {
    inspect_on(&Division::none(), model, device, rows)
}

/// [`inspect`] on ranks, as [`evaluate_on`] evaluates.
///
/// # Errors
/// Those of [`evaluate_on`].
pub fn inspect_on<E: Scalar, D: Backend<E>>(
    division: &Division<'_>,
    model: &Model<E, D>,
    device: &D,
    rows: &dyn Rows,
) -> Result<Evaluation> {
    evaluate_in(division, Pass::inspection, model, device, rows)
}

fn evaluate_in<E: Scalar, D: Backend<E>>(
    division: &Division<'_>,
    new_pass: fn() -> Pass<E, D>,
    model: &Model<E, D>,
    device: &D,
    rows: &dyn Rows,
) -> Result<Evaluation> {
    let Outputs {
        values: all,
        solves,
        pieces,
    } = outputs(
        division,
        new_pass,
        model,
        device,
        rows.features(),
        |some, outputs, pass| {
            let targets = rows.targets(&some.collect::<Vec<_>>())?;
            let targets = model.targets(device, &targets)?;
            let value = model.loss(outputs, &targets, pass)?;
            Ok(value.as_vec()[0].wide())
        },
    )?;
    let (mut loss, mut gates, count) = (0.0, Vec::new(), rows.len());
    for (some, mean, own) in pieces {
        loss += mean * some as f64;
        add_share(&mut gates, &own, (some, count));
    }
    let targets = rows.targets(&(0..count).collect::<Vec<_>>())?;
    let mut tally = Tally::default();
    solves.iter().for_each(|(_, report)| tally.add(report));
    let (values, comparison) = model.head.score(&all, &targets)?;
    if !loss.is_finite() {
        loss = sum_of_losses(model, device, &all, &targets)?;
    }
    let scores = model.head.metrics().iter().zip(values);
    let scores = scores.map(|(&metric, value)| Score { metric, value });
    Ok(Evaluation {
        scores: scores.collect(),
        comparison,
        loss: model.head.loss_unit() * loss / count.max(1) as f64,
        mean_solver_steps: tally.mean_evaluations(),
        unconverged_fraction: tally.unconverged_fraction(),
        solves,
        gates,
    })
}

/// Adds what some of all rows bring to the means over rows.
fn add_share(means: &mut Vec<Gate>, gates: &[Gate], (some, all): (usize, usize)) {
    let share = some as f64 / all as f64;
    means.resize(gates.len(), Gate::default());
    for (mean, gate) in means.iter_mut().zip(gates) {
        mean.magnitude += share * gate.magnitude;
        mean.weight = gate.weight;
    }
}

/// The losses of all rows, each by itself, added up in f64, which holds the sum where `E` overflows.
///
/// # Errors
/// [`MetricsError::Loss`] for the first row whose own loss is not finite.
fn sum_of_losses<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    device: &D,
    outputs: &[f64],
    targets: &Targets,
) -> Result<f64> {
    let (width, mut sum) = (model.width(), 0.0);
    for (row, outputs) in outputs.chunks(width.max(1)).enumerate() {
        let outputs = outputs.iter().map(|&output| E::of(output)).collect();
        let outputs = from_host(device, outputs, (1, width))?;
        let targets = model.targets(device, &targets.select(&[row]))?;
        let loss = model.loss(&outputs, &targets, &mut Pass::evaluation())?;
        let loss = loss.as_vec()[0].wide();
        if !loss.is_finite() {
            return Err(MetricsError::Loss { row: row + 1 }.into());
        }
        sum += loss;
    }
    Ok(sum)
}
