//! Parameters in a `.safetensors` file, with text metadata: a state dict of PyTorch, as `safetensors.torch` has it.

mod array;
mod error;
mod names;
mod parameter;
mod reparametrization;
mod whole;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use dfdx::prelude::HasShape;
use equilibria_core::{Backend, Parameters, Scalar};
use safetensors::tensor::Dtype;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

use self::array::dtype;
pub(crate) use self::array::{parameters, serialize, Array};
pub use self::error::CheckpointError;
use self::names::{Kept, Names};
pub use self::whole::{destination, is_partial, write_whole};
use crate::dtype::floats;

/// Text beside the parameters, e.g. the configuration.
pub type Metadata = HashMap<String, String>;

/// Writes every parameter under its name, and `metadata` beside them, to a safetensors file, which is [whole](write_whole) at
/// every time.
///
/// # Errors
/// [`CheckpointError::Unwritable`], and [`CheckpointError::Io`] with the system's reason.
pub fn save<E: Scalar, D: Backend<E>>(
    path: &Path,
    model: &impl Parameters<E, D>,
    metadata: Metadata,
) -> Result<(), CheckpointError> {
    let written = write_whole(path, to_bytes(model, metadata)?);
    written.map_err(|source| CheckpointError::Io {
        path: path.display().to_string(),
        source,
    })
}

/// The bytes of a file with all parameters by name and the given metadata.
///
/// # Errors
/// [`CheckpointError::Unwritable`] if two parameters have the same name, or the metadata is too long.
pub fn to_bytes<E: Scalar, D: Backend<E>>(
    model: &impl Parameters<E, D>,
    metadata: Metadata,
) -> Result<Vec<u8>, CheckpointError> {
    serialize(&parameters("", model), metadata)
}

/// The numbers in bytes of the element type `E`, as safetensors files hold them.
pub fn decode<E: Scalar>(bytes: &[u8]) -> Vec<E> {
    let numbers = floats(dtype::<E>(), bytes).unwrap_or_default();
    numbers.into_iter().map(E::of).collect()
}

/// Reads a file of parameters; keeps the bytes for [`Checkpoint::load`].
pub struct Checkpoint {
    path: String,
    bytes: Vec<u8>,
    /// The text beside the parameters.
    pub metadata: Metadata,
}

impl Checkpoint {
    /// Reads and checks the whole file.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
            path: path.display().to_string(),
            source,
        })?;
        Self::of_bytes(path, bytes)
    }

    /// Checks the bytes of a whole file, which errors call by its path.
    pub fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        /// The first bytes of an archive, which `torch.save` makes.
        const ARCHIVE: &[u8] = b"PK\x03\x04";
        let shown = path.display().to_string();
        let damaged = |error: safetensors::SafeTensorError| match bytes.starts_with(ARCHIVE) {
            true => CheckpointError::Pickled {
                path: shown.clone(),
            },
            false => CheckpointError::Damaged {
                path: shown.clone(),
                message: error.to_string(),
            },
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(Self {
            path: shown,
            bytes,
            metadata,
        })
    }

    /// SHA-256 of the whole file.
    pub fn digest(&self) -> Vec<u8> {
        Sha256::digest(&self.bytes).to_vec()
    }

    /// Gives every parameter the value stored under its name. A parameter of one row may be stored as a vector or as a matrix;
    /// F16, BF16, BOOL and F32 are widened, F64 is rounded to the element type of the model, which the log says.
    ///
    /// Names may have those of PyTorch's wrappers in them (`module.`, `_orig_mod.`), and a tensor of several names that
    /// `save_model` of safetensors has written once is found under all of them. What `weight_norm` and `spectral_norm` of
    /// `torch.nn.utils` make of a weight is put together to the weight the module works with in evaluation.
    ///
    /// # Errors
    /// [`CheckpointError`] if a parameter is missing, of another shape or not finite, and if there are arrays that belong to no
    /// parameter; the parameters are then left as they are.
    pub fn load<E: Scalar, D: Backend<E>>(
        &self,
        parameters: &mut impl Parameters<E, D>,
    ) -> Result<(), CheckpointError> {
        self.load_from("", parameters)
    }

    /// [`load`](Self::load) where the names have a prefix; what has none is not looked at.
    pub(crate) fn load_from<E: Scalar, D: Backend<E>>(
        &self,
        prefix: &str,
        parameters: &mut impl Parameters<E, D>,
    ) -> Result<(), CheckpointError> {
        let file = self.file()?;
        let arrays = file.names();
        let names = Names::new(&arrays, &self.metadata, prefix);
        let (mut values, mut taken) = (Vec::new(), BTreeSet::new());
        let named = parameters.named();
        let kept = named.iter().map(|(name, _)| names.find(name));
        let kept: Vec<Option<Kept<'_>>> = kept.collect();
        taken.extend(kept.iter().flatten().flat_map(Kept::arrays));
        for ((name, tensor), kept) in named.iter().zip(kept) {
            let kept = kept.ok_or_else(|| self.missing(name, &names, &taken))?;
            values.push(self.parameter(&file, name, *tensor.shape(), &kept)?);
        }
        let additional = names.additional(&taken);
        if !additional.is_empty() {
            return Err(CheckpointError::Additional {
                path: self.path.clone(),
                names: additional,
            });
        }
        self.log_types::<E>(&file, &taken)?;
        parameters.assign(values)?;
        Ok(())
    }

    /// The numbers of an array of any shape.
    pub(crate) fn numbers<E: Scalar>(&self, name: &str) -> Result<Vec<E>, CheckpointError> {
        let (numbers, _) = self.read_array(&self.file()?, name)?;
        Ok(numbers.into_iter().map(E::of).collect())
    }

    /// The numbers of an array of exactly so many.
    pub(crate) fn row<E: Scalar>(
        &self,
        name: &str,
        length: usize,
    ) -> Result<Vec<E>, CheckpointError> {
        let numbers = self.numbers(name)?;
        match numbers.len() == length {
            true => Ok(numbers),
            false => Err(self.mismatch::<E>(&self.file()?, name, format!("[{length}]"))),
        }
    }

    /// Whether there is an array of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.file().is_ok_and(|file| file.tensor(name).is_ok())
    }

    /// All arrays whose names have the prefix, without it.
    pub(crate) fn entries<E: Scalar>(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, Vec<E>)>, CheckpointError> {
        let file = self.file()?;
        let mut entries = Vec::new();
        for name in file.names() {
            if let Some(rest) = name.strip_prefix(prefix) {
                entries.push((rest.to_owned(), self.numbers(name)?));
            }
        }
        Ok(entries)
    }

    /// The error for contents that make no sense.
    pub(crate) fn damaged(&self, message: String) -> CheckpointError {
        CheckpointError::Damaged {
            path: self.path.clone(),
            message,
        }
    }

    fn file(&self) -> Result<SafeTensors<'_>, CheckpointError> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| self.damaged(error.to_string()))
    }

    /// Says which types had to be changed: rounding loses digits.
    fn log_types<E: Scalar>(
        &self,
        file: &SafeTensors<'_>,
        arrays: &BTreeSet<&str>,
    ) -> Result<(), CheckpointError> {
        let mut counts: BTreeMap<Dtype, usize> = BTreeMap::new();
        for name in arrays {
            *counts.entry(self.array(file, name)?.dtype()).or_default() += 1;
        }
        let (path, needed, all) = (&self.path, dtype::<E>(), arrays.len());
        for (found, count) in counts.into_iter().filter(|(found, _)| *found != needed) {
            match found > needed {
                true => log::warn!("{path}: {count} of {all} arrays of parameters are {found:?} and are rounded to {needed:?}"),
                false => log::info!("{path}: {count} of {all} arrays of parameters are {found:?} and are widened to {needed:?}"),
            }
        }
        Ok(())
    }
}
