//! The model whose gradients are checked, and the rows it is checked on.

use dfdx::prelude::HasShape;
use equilibria_core::Backend;
use equilibria_fusion::data::{MinMax, Rows};
use equilibria_fusion::train::tensors;
use equilibria_fusion::{Experiment, Model};
use serde_json::Value;

use super::ways::plain;
use super::Args;
use crate::config;
use crate::error::Result;
use crate::gradient_check::{solved_rows, Batch};
use crate::terminal::print_line;

/// Rows looked at for each row that is wanted.
const CANDIDATES: usize = 16;

/// A configured model, in as many variants as there are ways to differentiate it, and its training rows.
pub struct Subject {
    /// The configuration as it was read.
    pub experiment: Experiment,
    /// Where it was read.
    origin: String,
    /// Training rows, scaled.
    rows: Box<dyn Rows>,
    /// Number of classes or labels.
    classes: usize,
}

impl Subject {
    /// Reads configuration and data.
    pub fn read(args: &Args) -> Result<Self> {
        let mut experiment = config::read(&args.config, &args.overrides)?;
        args.device.choose(&mut experiment)?;
        let data = args.data.load(&mut experiment, &args.config)?;
        let mut rows = data.train;
        if experiment.data.scaled() {
            let scaling = MinMax::fit_rows(rows.features())?;
            rows.scale(&scaling)?;
        }
        experiment.head.fit_rows(&*rows)?;
        Ok(Self {
            experiment,
            origin: args.config.display().to_string(),
            rows,
            classes: data.classes.len(),
        })
    }

    /// The model of a variant of the configuration. Every one has the same parameters: they depend on the seed alone.
    pub fn model<D: Backend<f64>>(&self, device: &D, config: &Value) -> Result<Model<f64, D>> {
        let experiment = config::parse(config, &self.origin)?;
        let columns = self.rows.features().columns();
        let model = experiment.model::<f64, D>(device, &columns, self.classes);
        model.map_err(|error| config::refused(error.into(), &experiment, &self.origin))
    }

    fn batch<D: Backend<f64>>(&self, device: &D, rows: &[usize]) -> Result<Batch<D>> {
        let (head, part) = (&self.experiment.head, self.rows.read(rows)?);
        Ok(Batch {
            x: tensors(device, &part)?,
            targets: (head.scaled(&part.targets)).matrix(device, head.outputs(self.classes))?,
        })
    }

    /// The first of the training rows whose equilibria converge, as many as are wanted; `None` if there are none.
    pub fn solved_batch<D: Backend<f64>>(
        &self,
        device: &D,
        config: &Value,
        wanted: usize,
    ) -> Result<Option<Batch<D>>> {
        let candidates: Vec<usize> = (0..self.rows.len().min(CANDIDATES * wanted)).collect();
        let batch = self.batch(device, &candidates)?;
        let mut rows = solved_rows(&self.model(device, config)?, &batch)?;
        if rows.len() < candidates.len() {
            print_line(format_args!(
                "{} of the first {} rows have equilibria that do not converge, and are left out",
                candidates.len() - rows.len(),
                candidates.len()
            ))?;
        }
        rows.truncate(wanted);
        (!rows.is_empty())
            .then(|| self.batch(device, &rows))
            .transpose()
    }

    /// Whether so many plain iterations converge on all rows of a batch.
    pub fn unrolls<D: Backend<f64>>(
        &self,
        device: &D,
        config: &Value,
        steps: u32,
        batch: &Batch<D>,
    ) -> Result<bool> {
        let solved = solved_rows(&self.model(device, &plain(config, steps))?, batch)?;
        Ok(solved.len() == batch.targets.shape().0)
    }
}
