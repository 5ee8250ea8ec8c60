//! Golden folders of layers: each holds cases `NAME.json`, with a `config`, and `NAME.safetensors`, with parameters under the names of
//! the original code, inputs, and results.
//!
//! One file of `golden/zoo` compares the cases of one folder. It is chosen by the name of the folder, or, where the folder has another
//! name, by the arrays of the case; all sizes are read from the arrays.

/// Submits a [`Comparer`]: name of the folder, arrays, and a function generic over the device.
macro_rules! comparer {
    ($folder:literal, $arrays:expr, $compare:ident) => {
        equilibria_core::inventory::submit! {
            $crate::golden::zoo::Comparer {
                folder: $folder,
                arrays: &$arrays,
                on_cpu: $compare::<dfdx::prelude::Cpu>,
                #[cfg(feature = "cuda")]
                on_cuda: $compare::<dfdx::prelude::Cuda>,
            }
        }
    };
}

automod::dir!("src/golden/zoo");

use std::path::{Path, PathBuf};

use dfdx::prelude::Cpu;
#[cfg(feature = "cuda")]
use dfdx::prelude::Cuda;
use equilibria_core::{inventory, Backend};
use serde_json::Value;

use super::file::Arrays;
use super::ledger::Ledger;
use crate::{Error, Result};

/// The arrays of one case, and where the same is computed.
pub struct Case<D> {
    /// The device.
    pub device: D,
    /// The arrays.
    pub golden: Arrays,
    /// The `config` of the case.
    pub config: Value,
    /// What was measured as the arrays were made; null where nothing was.
    pub checks: Value,
}

/// What compares the cases of a folder.
pub struct Comparer {
    /// Name of the folder.
    pub folder: &'static str,
    /// Arrays by which the case of a folder of another name is recognized.
    pub arrays: &'static [&'static str],
    /// Compares one case on the processor.
    pub on_cpu: fn(&Case<Cpu>, &mut Ledger) -> Result<()>,
    /// Compares one case on a GPU.
    #[cfg(feature = "cuda")]
    pub on_cuda: fn(&Case<Cuda>, &mut Ledger) -> Result<()>,
}

/// A device for which there is a function in every [`Comparer`].
pub trait Place: Backend<f64> {
    /// That function.
    fn compare(comparer: &Comparer) -> fn(&Case<Self>, &mut Ledger) -> Result<()>;
}

impl Place for Cpu {
    fn compare(comparer: &Comparer) -> fn(&Case<Self>, &mut Ledger) -> Result<()> {
        comparer.on_cpu
    }
}

#[cfg(feature = "cuda")]
impl Place for Cuda {
    fn compare(comparer: &Comparer) -> fn(&Case<Self>, &mut Ledger) -> Result<()> {
        comparer.on_cuda
    }
}

inventory::collect!(Comparer);

impl<D> Case<D> {
    /// A whole number of the `config`, e.g. the number of blocks.
    pub fn size(&self, key: &str) -> Result<usize> {
        let number = self.config[key].as_u64();
        let size = number.and_then(|number| usize::try_from(number).ok());
        size.ok_or_else(|| self.lacks(key, "a whole number"))
    }

    /// A number of the `config`.
    pub fn number(&self, key: &str) -> Result<f64> {
        let number = self.config[key].as_f64();
        number.ok_or_else(|| self.lacks(key, "a number"))
    }

    /// A truth of the `config`, or what it is where the `config` does not say.
    pub fn truth(&self, key: &str, default: bool) -> bool {
        self.config[key].as_bool().unwrap_or(default)
    }

    /// A word of the `config`.
    pub fn word(&self, key: &str) -> Result<&str> {
        let word = self.config[key].as_str();
        word.ok_or_else(|| self.lacks(key, "a word"))
    }

    fn lacks(&self, key: &str, what: &str) -> Error {
        let path = self.golden.path.with_extension("json");
        Error::golden(&path, format!("`config.{key}` must be {what}"))
    }
}

/// Whether a folder holds cases of a layer.
pub fn holds_cases(folder: &Path) -> bool {
    let has_config = |path: &PathBuf| path.with_extension("json").is_file();
    files(folder).is_ok_and(|files| files.iter().any(has_config))
}

/// Compares every array of every case of the folder.
pub fn verify<D: Place>(folder: &Path, device: &D) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    for arrays in files(folder)? {
        let path = arrays.with_extension("json");
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let text = serde_json::from_str::<Value>(&text);
        let metadata = text.map_err(|error| Error::golden(&path, error))?;
        let case = Case {
            device: device.clone(),
            golden: Arrays::read(&arrays)?,
            config: metadata["config"].clone(),
            checks: metadata["checks"].clone(),
        };
        ledger.open(&case.golden);
        let compare = D::compare(comparer(folder, &case)?);
        compare(&case, &mut ledger)?;
        ledger.close(&case.golden);
    }
    Ok(ledger)
}

/// The arrays of all cases, by name.
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

fn comparer<D>(folder: &Path, case: &Case<D>) -> Result<&'static Comparer> {
    let all = || inventory::iter::<Comparer>.into_iter();
    let name = folder.canonicalize().map_err(Error::io(folder))?;
    let name = name.file_name().unwrap_or_default().to_os_string();
    let named = all().find(|comparer| name == comparer.folder);
    // The one that recognizes most of the case, since parameters of one may be among those of another.
    let fitting =
        all().filter(|c| !c.arrays.is_empty() && c.arrays.iter().all(|a| case.golden.has(a)));
    let fitting = fitting.max_by_key(|comparer| comparer.arrays.len());
    named.or(fitting).ok_or_else(|| {
        let mut known: Vec<&str> = all().map(|comparer| comparer.folder).collect();
        known.sort_unstable();
        let message = format!(
            "no layer is recognized by these arrays: name the folder after one of {}",
            known.join(", ")
        );
        Error::golden(&case.golden.path, message)
    })
}
