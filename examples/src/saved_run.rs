//! A saved model or checkpoint with what was stored beside it.

use std::path::Path;

use equilibria_core::{Backend, Scalar};
use equilibria_fusion::checkpoint::{Checkpoint, CheckpointError, Metadata};
use equilibria_fusion::data::{DataSet, MinMax, Table};
use equilibria_fusion::{Experiment, Model};
use serde_json::json;

use crate::config;
use crate::error::{Error, Result};

/// What a file of parameters tells of the run it comes from.
pub struct SavedRun {
    /// The parameters.
    pub checkpoint: Checkpoint,
    /// The resolved configuration.
    pub experiment: Experiment,
    /// Number of features of each modality.
    pub columns: Vec<usize>,
    /// Class names.
    pub classes: Vec<String>,
    /// How features are scaled.
    pub scaling: MinMax,
    origin: String,
}

impl SavedRun {
    /// Reads a file that has the metadata of [`metadata`].
    pub fn read(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::read(path)?;
        let origin = path.display().to_string();
        let config = entry::<serde_json::Value>(&checkpoint, "config", &origin)?;
        Ok(Self {
            experiment: config::parse(&config, &origin)?,
            columns: entry(&checkpoint, "columns", &origin)?,
            classes: entry(&checkpoint, "classes", &origin)?,
            scaling: entry(&checkpoint, "scaling", &origin)?,
            checkpoint,
            origin,
        })
    }

    /// The model with the saved parameters.
    pub fn model<E: Scalar, D: Backend<E>>(&self, device: &D) -> Result<Model<E, D>> {
        let classes = self.classes.len();
        let mut model = (self.experiment).model::<E, D>(device, &self.columns, classes)?;
        self.checkpoint.load(&mut model)?;
        Ok(model)
    }

    /// Checks that data has the features and classes the model was made for.
    pub fn check(&self, data: &DataSet) -> Result<()> {
        let columns = columns(&data.test.modalities);
        if columns == self.columns && data.classes == self.classes {
            return Ok(());
        }
        let describe = |columns: &[usize], classes: &[String]| {
            format!(
                "features {columns:?} and the classes {}",
                classes.join(", ")
            )
        };
        Err(self.mismatch(
            describe(&self.columns, &self.classes),
            describe(&columns, &data.classes),
        ))
    }

    /// Checks that modalities have the features the model was made for.
    pub fn check_features(&self, modalities: &[Table]) -> Result<()> {
        let columns = columns(modalities);
        if columns == self.columns {
            return Ok(());
        }
        let describe = |columns: &[usize]| format!("features {columns:?}");
        Err(self.mismatch(describe(&self.columns), describe(&columns)))
    }

    fn mismatch(&self, expected: String, got: String) -> Error {
        Error::DataMismatch {
            what: self.origin.clone(),
            expected,
            got,
        }
    }
}

/// Number of features of each modality.
fn columns(modalities: &[Table]) -> Vec<usize> {
    modalities.iter().map(|table| table.columns).collect()
}

/// What is stored beside the parameters.
pub fn metadata(
    experiment: &Experiment,
    columns: &[usize],
    classes: &[String],
    scaling: &MinMax,
) -> Metadata {
    let entries = [
        ("config", json!(experiment)),
        ("columns", json!(columns)),
        ("classes", json!(classes)),
        ("scaling", json!(scaling)),
    ];
    entries
        .map(|(key, value)| (key.to_owned(), value.to_string()))
        .into()
}

fn entry<T: serde::de::DeserializeOwned>(saved: &Checkpoint, key: &str, origin: &str) -> Result<T> {
    let damaged = |message: String| CheckpointError::Damaged {
        path: origin.to_owned(),
        message,
    };
    let text = saved.metadata.get(key);
    let text = text.ok_or_else(|| damaged(format!("no metadata `{key}`")))?;
    let value = serde_json::from_str(text);
    Ok(value.map_err(|error| damaged(format!("metadata `{key}`: {error}")))?)
}
