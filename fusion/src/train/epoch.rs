//! The history of a training run.

use serde::Serialize;

use crate::head::Head;

/// What happened in one epoch: one row of `history.csv`.
#[derive(Debug, Clone, Serialize)]
pub struct Epoch {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Mean training loss with all auxiliary terms, times the [unit](Head::loss_unit) of the loss.
    pub loss: f64,
    /// Learning-rate factor of decay and schedule in the first step.
    pub rate_factor: f64,
    /// Values of the [tracked](crate::head::Metric::tracked) metrics on the validation rows, in the order of the head; NaN
    /// without validation rows.
    pub validation: Vec<f64>,
    /// Loss of the head on the validation rows; `None` without any.
    pub validation_loss: Option<f64>,
    /// Forward solver steps per sample, mean over equilibria.
    pub solver_steps: f64,
    /// Largest relative residual of the forward solves.
    pub residual: f64,
    /// Share of forward solves that did not converge.
    pub unconverged_fraction: f64,
    /// Adjoint solver steps per sample, mean over equilibria.
    pub adjoint_steps: f64,
    /// Largest relative residual of the adjoint solves; 0 for a backward strategy that solves nothing.
    pub adjoint_residual: f64,
    /// Share of adjoint solves that did not converge.
    pub adjoint_unconverged_fraction: f64,
}

/// Columns before and after those of the metrics.
const BEFORE: [&str; 3] = ["epoch", "loss", "rate_factor"];
const AFTER: [&str; 7] = [
    "validation_loss",
    "solver_steps",
    "residual",
    "unconverged_fraction",
    "adjoint_steps",
    "adjoint_residual",
    "adjoint_unconverged_fraction",
];

impl Epoch {
    /// Names of the numbers of [`row`](Self::row).
    pub fn columns(head: &dyn Head) -> Vec<String> {
        let tracked = head.tracked();
        let tracked = tracked.map(|metric| format!("validation_{}", metric.key));
        let before = BEFORE.map(str::to_owned).into_iter();
        before
            .chain(tracked)
            .chain(AFTER.map(str::to_owned))
            .collect()
    }

    /// All numbers; NaN for those there are none of.
    pub fn row(&self) -> Vec<f64> {
        let before = [self.epoch as f64, self.loss, self.rate_factor];
        let after = [
            self.validation_loss.unwrap_or(f64::NAN),
            self.solver_steps,
            self.residual,
            self.unconverged_fraction,
            self.adjoint_steps,
            self.adjoint_residual,
            self.adjoint_unconverged_fraction,
        ];
        [&before, &self.validation[..], &after].concat()
    }

    /// The reverse of [`row`](Self::row); `None` for a row that is too short.
    pub fn from_row(row: &[f64]) -> Option<Self> {
        let (&[epoch, loss, rate_factor], rest) = row.split_first_chunk()?;
        let (validation, after) = rest.split_last_chunk::<{ AFTER.len() }>()?;
        Some(Self {
            epoch: epoch as usize,
            loss,
            rate_factor,
            validation: validation.to_vec(),
            validation_loss: Some(after[0]).filter(|loss| !loss.is_nan()),
            solver_steps: after[1],
            residual: after[2],
            unconverged_fraction: after[3],
            adjoint_steps: after[4],
            adjoint_residual: after[5],
            adjoint_unconverged_fraction: after[6],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use equilibria_core::registry;

    #[test]
    fn rows_have_one_number_per_column_and_are_read_back() {
        for plugin in registry::of_kind("head").expect("heads are linked") {
            let head = registry::default::<dyn Head>(&plugin.name).expect("it parses");
            let tracked = head.tracked().count();
            let numbers: Vec<f64> = (1..=BEFORE.len() + tracked + AFTER.len())
                .map(|number| number as f64)
                .collect();
            let epoch = Epoch::from_row(&numbers).expect("long enough");
            assert_eq!(epoch.validation.len(), tracked, "{}", plugin.name);
            assert_eq!(epoch.row(), numbers, "{}", plugin.name);
            assert_eq!(Epoch::columns(&*head).len(), numbers.len());
        }
        assert!(Epoch::from_row(&[0.0; 9]).is_none());
    }
}
