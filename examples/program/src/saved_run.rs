//! A saved model or checkpoint with what was stored beside it.

use std::collections::BTreeSet;
use std::path::Path;

use equilibria_core::{Backend, Error as CoreError, Scalar};
use equilibria_fusion::checkpoint::{Checkpoint, Metadata};
use equilibria_fusion::data::{
    check_names, DataError, Digest, Features, MinMax, Names, Samples, SplitName,
};
use equilibria_fusion::ranks::{Division, Ranks};
use equilibria_fusion::train::explain;
use equilibria_fusion::{Experiment, Head, Model, Standardization};
use serde::de::DeserializeOwned;
use serde_json::{json, Value};

use crate::config;
use crate::error::{Error, Result};

/// What to do about a model whose parameters lead to numbers that are not finite.
pub const DIVERGED: &str =
    "train again with a lower learning rate, or restore a copy from before training diverged";

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
    /// On which scale numbers were learned; `None` for other heads, and for runs of versions that knew no scale.
    standardization: Option<Standardization>,
    /// By what the data is known again; `None` for runs of versions that kept none.
    pub digest: Option<Digest>,
    /// What modalities and features are called; nothing for data without names, and for runs of versions that kept none.
    names: Vec<Names>,
    origin: String,
}

impl SavedRun {
    /// Reads a file that has the metadata of [`RunMetadata`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::of(Checkpoint::read(path)?, path)
    }

    /// What a file tells that was read.
    pub fn of(checkpoint: Checkpoint, path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        let entries = Entries {
            metadata: &checkpoint.metadata,
            path,
        };
        let config = entries.required::<Value>("config")?;
        let columns: Vec<usize> = entries.required("columns")?;
        let scaling: MinMax = entries.required("scaling")?;
        let sensible = scaling.validate(&columns);
        sensible.map_err(|message| entries.bad("scaling", message))?;
        let standardization: Option<Standardization> = entries.optional("standardization")?;
        let sensible = standardization.map_or(Ok(()), |scale| scale.validate());
        sensible.map_err(|error| entries.bad("standardization", error))?;
        let classes: Vec<String> = entries.required("classes")?;
        let mut seen = BTreeSet::new();
        if let Some(class) = classes.iter().find(|class| !seen.insert(*class)) {
            let message = format!("two classes are called `{class}`; give each another name");
            return Err(entries.bad("classes", message));
        }
        let within = format!("{origin}: metadata `config`");
        Ok(Self {
            experiment: config::parse(&config, &within)?,
            standardization,
            columns,
            classes,
            scaling,
            digest: entries.optional("digest")?,
            names: entries.optional("names")?.unwrap_or_default(),
            checkpoint,
            origin,
        })
    }

    /// How rows are divided among ranks, which must have read the same run, and rows with the same digest.
    ///
    /// # Errors
    /// [`RanksDiffer`](CoreError::RanksDiffer) if they have not, and those of reading the rows.
    pub fn division<'r>(
        &self,
        ranks: &'r dyn Ranks,
        rows: impl FnOnce() -> Result<Digest, DataError>,
    ) -> Result<Division<'r>> {
        if ranks.are_several() {
            let model = self.checkpoint.digest();
            let remedy = "put the same run folder on every machine";
            ranks.require_same(&model, "its model", remedy)?;
            let rows = json!(rows()?).to_string();
            let remedy = "put the same data on every machine";
            ranks.require_same(rows.as_bytes(), "its data", remedy)?;
        }
        Ok(Division {
            ranks,
            reproducible: self.experiment.training.reproducible,
        })
    }

    /// The head, on the scale that numbers were learned on.
    pub fn head(&self) -> Box<dyn Head> {
        let mut head = self.experiment.head.clone();
        if let Some(scale) = self.standardization {
            head.standardize(scale);
        }
        head
    }

    /// The model with the saved parameters.
    pub fn model<E: Scalar, D: Backend<E>>(&self, device: &D) -> Result<Model<E, D>> {
        let classes = self.classes.len();
        let model = (self.experiment).model::<E, D>(device, &self.columns, classes);
        let refused =
            |error: CoreError| config::refused(error.into(), &self.experiment, &self.origin);
        let mut model = model.map_err(refused)?;
        self.checkpoint.load(&mut model)?;
        model.head = self.head();
        Ok(model)
    }

    /// An error that the parameters of the model may have brought about, with the file they come from.
    pub fn explain<E: Scalar, D: Backend<E>>(
        &self,
        error: CoreError,
        model: &Model<E, D>,
    ) -> CoreError {
        explain(error, model, &self.origin, DIVERGED)
    }

    /// Checks that data is that of the run, row by row.
    ///
    /// # Errors
    /// [`Error::OtherData`]. A run that kept no digest is believed, with a warning.
    pub fn check_same(&self, data: &Samples) -> Result<()> {
        let Some(digest) = &self.digest else {
            let origin = &self.origin;
            log::warn!(
                "{origin}: has no digest of its data; whether it is the same cannot be told"
            );
            return Ok(());
        };
        let differences = digest.differences(&data.digest()?);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(Error::OtherData {
                origin: self.origin.clone(),
                differences: self.files(differences),
            }),
        }
    }

    /// Warns where rows are no longer those the run was made with, though they come from the same place, by the digest found. Without targets, features
    /// alone are compared.
    pub fn warn_of_changes(
        &self,
        part: SplitName,
        targets: bool,
        found: impl FnOnce() -> Result<Digest, DataError>,
    ) -> Result<()> {
        let Some(digest) = &self.digest else {
            return Ok(());
        };
        let (rows, end) = match part {
            SplitName::Train => ("training", "_tr"),
            SplitName::Test => ("test", "_te"),
        };
        let is_table = |name: &str| name.starts_with(|c: char| c.is_ascii_digit());
        let mut differing = digest.differences(&found()?);
        differing.retain(|name| name.ends_with(end) && (targets || is_table(name)));
        if !differing.is_empty() {
            log::warn!(
                "{}: the {rows} rows are not those of the run, they differ in {}; to use other rows on purpose, name their folder with \
                 --data",
                self.origin,
                self.files(differing).join(", ")
            );
        }
        Ok(())
    }

    /// Names of tables, as they are called before modalities are chosen.
    fn files(&self, tables: Vec<String>) -> Vec<String> {
        let chosen = |name: String| {
            let (k, part) = name.split_once('_')?;
            let k = self
                .experiment
                .modalities
                .as_ref()?
                .get(k.parse::<usize>().ok()?.checked_sub(1)?)?;
            Some(format!("{k}_{part}"))
        };
        let tables = tables.into_iter();
        tables
            .map(|name| chosen(name.clone()).unwrap_or(name))
            .collect()
    }

    /// Checks that data has the features and classes the model was made for.
    pub fn check(&self, data: &Samples) -> Result<()> {
        let columns = data.test.features().columns();
        if columns == self.columns && data.classes == self.classes {
            return self.check_names();
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

    /// Checks that modalities, of the data of the configuration, have the features the model was made for.
    pub fn check_features(&self, modalities: &dyn Features) -> Result<()> {
        let columns = modalities.columns();
        if columns == self.columns {
            return self.check_names();
        }
        let describe = |columns: &[usize]| format!("features {columns:?}");
        Err(self.mismatch(describe(&self.columns), describe(&columns)))
    }

    /// Checks that the data of the configuration calls its features as they were called in training, where both have names.
    fn check_names(&self) -> Result<()> {
        Ok(check_names(&self.names, &used_names(&self.experiment)?)?)
    }

    fn mismatch(&self, expected: String, got: String) -> Error {
        Error::DataMismatch {
            what: self.origin.clone(),
            expected,
            got,
        }
    }
}

/// What the modalities that an experiment uses, and their features, are called.
pub fn used_names(experiment: &Experiment) -> Result<Vec<Names>> {
    let mut names = experiment.data.names()?;
    if let Some(chosen) = &experiment.modalities {
        names.retain(|names| chosen.contains(&names.number));
    }
    Ok(names)
}

/// What is stored beside the parameters.
pub struct RunMetadata<'a> {
    /// The resolved configuration.
    pub experiment: &'a Experiment,
    /// Number of features of each modality.
    pub columns: &'a [usize],
    /// Class names.
    pub classes: &'a [String],
    /// How features are scaled.
    pub scaling: &'a MinMax,
    /// By what the data is known again.
    pub digest: &'a Digest,
    /// What modalities and features are called.
    pub names: &'a [Names],
}

impl RunMetadata<'_> {
    /// The text of a file, with the scale of the head, if it has one.
    pub fn with(&self, head: &dyn Head) -> Metadata {
        let mut entries = vec![
            ("config", json!(self.experiment)),
            ("columns", json!(self.columns)),
            ("classes", json!(self.classes)),
            ("scaling", json!(self.scaling)),
            ("digest", json!(self.digest)),
        ];
        if !self.names.is_empty() {
            entries.push(("names", json!(self.names)));
        }
        if let Some(scale) = head.standardization() {
            entries.push(("standardization", json!(scale)));
        }
        let text = |(key, value): (&str, Value)| (key.to_owned(), value.to_string());
        entries.into_iter().map(text).collect()
    }
}

/// The metadata of a file.
struct Entries<'a> {
    metadata: &'a Metadata,
    path: &'a Path,
}

impl Entries<'_> {
    fn required<T: DeserializeOwned>(&self, key: &'static str) -> Result<T> {
        let value = self.optional(key)?;
        value.ok_or_else(|| Error::NoMetadata {
            path: self.path.to_owned(),
            key,
        })
    }

    fn optional<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>> {
        let value = self
            .metadata
            .get(key)
            .map(|text| serde_json::from_str(text));
        value.transpose().map_err(|error| self.bad(key, error))
    }

    /// The error for an entry that makes no sense.
    fn bad(&self, key: &'static str, message: impl ToString) -> Error {
        Error::BadMetadata {
            path: self.path.to_owned(),
            key,
            message: message.to_string(),
        }
    }
}
