//! Golden folders of whole systems: each file of a folder holds parameters, inputs and results of a model, or a metric, or an optimizer;
//! `metadata.json` has a `config` for each file that needs one.
//!
//! One file of `golden/sites` compares one kind of file, which is recognized by its arrays; all sizes are read from the arrays.

automod::dir!("src/golden/sites");

use std::path::{Path, PathBuf};

use equilibria_core::inventory;
use serde_json::Value;

use super::file::Arrays;
use super::ledger::Ledger;
use crate::{Error, Result};

/// The arrays of one file.
pub struct Case {
    /// The arrays.
    pub golden: Arrays,
    /// The `config` of the file; nothing where it has none.
    pub config: Value,
}

/// What compares one kind of file.
pub struct Comparer {
    /// Arrays by which such a file is recognized.
    pub arrays: &'static [&'static str],
    /// Compares it.
    pub compare: fn(&Case, &mut Ledger) -> Result<()>,
}

inventory::collect!(Comparer);

impl Case {
    /// A whole number of the `config`.
    pub fn size(&self, key: &str) -> Result<usize> {
        let number = self.config[key].as_u64();
        let size = number.and_then(|number| usize::try_from(number).ok());
        size.ok_or_else(|| {
            let message = format!("metadata.json must have a whole number `config.{key}` for it");
            Error::golden(&self.golden.path, message)
        })
    }

    /// The length of an axis of an array.
    pub fn length(&self, array: &str, axis: usize) -> Result<usize> {
        let length = self.golden.get(array)?.shape.get(axis).copied();
        length.ok_or_else(|| {
            let message = format!("array `{array}` must have {} axes", axis + 1);
            Error::golden(&self.golden.path, message)
        })
    }
}

/// Whether a folder holds files of a system.
pub fn holds_cases(folder: &Path) -> bool {
    let answers = folder.join(answers::FILE).is_file();
    let metadata = metadata(folder).ok();
    answers || metadata.is_some_and(|metadata| metadata.get("config").is_none())
}

/// Compares every array of every file of the folder.
pub fn verify(folder: &Path) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    let files = files(folder)?;
    let metadata = match folder.join("metadata.json").is_file() {
        true => metadata(folder)?,
        false => Value::Null,
    };
    for path in files {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let case = Case {
            golden: Arrays::read(&path)?,
            config: metadata[&*stem]["config"].clone(),
        };
        ledger.open(&case.golden);
        (comparer(&case)?.compare)(&case, &mut ledger)?;
        ledger.close(&case.golden);
    }
    let answers = folder.join(answers::FILE);
    if answers.is_file() {
        answers::compare(&answers, &mut ledger)?;
    }
    Ok(ledger)
}

fn metadata(folder: &Path) -> Result<Value> {
    let path = folder.join("metadata.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    serde_json::from_str(&text).map_err(|error| Error::golden(&path, error))
}

/// The files of arrays, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn comparer(case: &Case) -> Result<&'static Comparer> {
    let all = inventory::iter::<Comparer>.into_iter();
    let fitting = all.filter(|c| c.arrays.iter().all(|array| case.golden.has(array)));
    let fitting = fitting.max_by_key(|comparer| comparer.arrays.len());
    fitting.ok_or_else(|| {
        let message = "no system, metric or optimizer is recognized by these arrays";
        Error::golden(&case.golden.path, message)
    })
}
