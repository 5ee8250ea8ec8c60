//! The files of a golden folder.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use equilibria_fusion::checkpoint::decode;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::parts::Sizes;
use crate::{Error, Result};

/// Sizes of the golden case, from `metadata.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// B, samples.
    pub batch: usize,
    /// d, the width of every state.
    pub d: usize,
    /// N.
    pub modalities: usize,
    /// Groups of every group normalization.
    pub groups: usize,
    /// ε of every group normalization.
    pub eps: f64,
    /// The reference solver.
    pub anderson: Anderson,
}

/// Settings of the reference solver, in the words of TorchDEQ.
#[derive(Debug, Clone, Deserialize)]
pub struct Anderson {
    /// Memory.
    pub m: usize,
    /// Mixing.
    pub beta: f64,
    /// Absolute ridge.
    pub lam: f64,
}

impl Config {
    /// Reads the `config` of `metadata.json`.
    pub fn read(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            config: Config,
        }
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let metadata = serde_json::from_str::<Metadata>(&text);
        Ok(metadata.map_err(|error| Error::golden(path, error))?.config)
    }

    /// The sizes of its parts.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            batch: self.batch,
            width: self.d,
            modalities: self.modalities,
            groups: self.groups,
            tokens: 1,
        }
    }
}

/// One array, row-major.
pub struct Array {
    /// Sizes of all axes.
    pub shape: Vec<usize>,
    /// All entries.
    pub values: Vec<f64>,
}

/// The arrays of one file.
pub struct Arrays {
    /// The file.
    pub path: PathBuf,
    /// All arrays by name.
    pub arrays: BTreeMap<String, Array>,
}

/// The arrays of DEQ fusion.
pub struct Golden {
    /// The arrays.
    pub file: Arrays,
    /// The sizes of the case.
    pub config: Config,
}

impl Deref for Golden {
    type Target = Arrays;

    fn deref(&self) -> &Arrays {
        &self.file
    }
}

impl Golden {
    /// Reads a file of F64 arrays.
    pub fn read(path: &Path, config: &Config) -> Result<Self> {
        Ok(Self {
            file: Arrays::read(path)?,
            config: config.clone(),
        })
    }
}

impl Arrays {
    /// Reads a file of F64 arrays; whole numbers may be I64, and what is only an input F32.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| Error::golden(path, error))?;
        let mut arrays = BTreeMap::new();
        for (name, view) in file.tensors() {
            let whole = |bytes: &[u8]| {
                bytes
                    .try_into()
                    .map_or(0.0, |b| i64::from_le_bytes(b) as f64)
            };
            let values = match view.dtype() {
                Dtype::F64 => decode(view.data()),
                Dtype::F32 => decode::<f32>(view.data())
                    .into_iter()
                    .map(f64::from)
                    .collect(),
                Dtype::I64 => view.data().chunks_exact(8).map(whole).collect(),
                other => {
                    let message = format!("array `{name}` must be F64, got {other:?}");
                    return Err(Error::golden(path, message));
                }
            };
            let shape = view.shape().to_vec();
            // An array without numbers may claim any length for its other axes.
            if shape.iter().any(|&axis| axis > bytes.len()) {
                let message = format!("array `{name}` cannot have the shape {shape:?}");
                return Err(Error::golden(path, message));
            }
            arrays.insert(name, Array { shape, values });
        }
        let path = path.to_owned();
        Ok(Self { path, arrays })
    }

    /// Whether there is an array of this name.
    pub fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// An array that is needed to go on.
    pub fn get(&self, name: &str) -> Result<&Array> {
        let array = self.arrays.get(name);
        array.ok_or_else(|| Error::golden(&self.path, format!("no array `{name}`")))
    }

    /// An array that is needed to go on, with this many numbers.
    pub fn need(&self, name: &str, count: usize) -> Result<&[f64]> {
        let array = self.get(name)?;
        if array.values.len() != count {
            let message = format!(
                "array `{name}` must have {count} numbers by metadata.json, got shape {:?}",
                array.shape
            );
            return Err(Error::golden(&self.path, message));
        }
        Ok(&array.values)
    }

    /// Of an array with so many numbers for each call or probe, how many it covers: one at least. 0 if there is no such array.
    pub fn calls(&self, name: &str, size: usize) -> Result<usize> {
        let (count, array) = (self.count(name), self.arrays.get(name));
        let whole = |array: &Array| {
            let numbers = count.checked_mul(size);
            count > 0 && numbers == Some(array.values.len())
        };
        if array.is_some_and(|array| !whole(array)) {
            let shape = array.map(|array| &array.shape);
            let message = format!(
                "array `{name}` must have {size} numbers for each entry of its first axis, got shape {:?}",
                shape.unwrap_or(&Vec::new())
            );
            return Err(Error::golden(&self.path, message));
        }
        Ok(count)
    }

    /// Length of the first axis. 0 if there is no such array.
    pub fn count(&self, name: &str) -> usize {
        let array = self.arrays.get(name);
        array
            .and_then(|array| array.shape.first().copied())
            .unwrap_or(0)
    }
}
