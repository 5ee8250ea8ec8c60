//! Parameters in a `.safetensors` file, with text metadata: a state dict of PyTorch, as `safetensors.torch` has it.

use std::collections::HashMap;
use std::path::Path;

use dfdx::prelude::HasShape;
use equilibria_core::{to_host, Backend, Matrix, Parameters, Scalar};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::SafeTensors;

/// Why a file of parameters cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is damaged or no safetensors file.
    #[error("{path}: not a complete safetensors file ({message}); train again or restore a copy")]
    Damaged {
        /// The file.
        path: String,
        /// The parser's message.
        message: String,
    },
    /// A parameter of the model is not in the file.
    #[error("{path}: no parameter `{name}`; was it saved from another configuration?")]
    Missing {
        /// The file.
        path: String,
        /// The parameter.
        name: String,
    },
    /// The device cannot hold the parameters.
    #[error(transparent)]
    Parameters(#[from] equilibria_core::Error),
    /// A parameter has another size or element type.
    #[error("{path}: parameter `{name}` is {got}, the model needs {expected}; does the data fit the model?")]
    Mismatch {
        /// The file.
        path: String,
        /// The parameter.
        name: String,
        /// Shape and type of the model's parameter.
        expected: String,
        /// Shape and type in the file.
        got: String,
    },
}

/// Text beside the parameters, e.g. the configuration.
pub type Metadata = HashMap<String, String>;

/// One named array of a file.
pub(crate) struct Array {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    /// A vector.
    pub fn row<E: Scalar>(name: String, values: &[E]) -> Self {
        Self {
            name,
            dtype: dtype::<E>(),
            shape: vec![values.len()],
            bytes: encode(values),
        }
    }
}

/// All parameters, under their names with a prefix and in the shapes PyTorch gives them: a parameter of one row is a vector,
/// except for the weight of a linear map with one output.
pub(crate) fn parameters<E: Scalar, D: Backend<E>>(
    prefix: &str,
    parameters: &impl Parameters<E, D>,
) -> Vec<Array> {
    let named = parameters.named();
    let shape_of = |name: &str| {
        named
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, t)| *t.shape())
    };
    let array = |(name, tensor): &(String, Matrix<E, D>)| {
        let (rows, columns) = *tensor.shape();
        let is_vector = rows == 1
            && name.strip_suffix("weight").is_none_or(|module| {
                // A normalization has as many biases as weights, a linear map as many as outputs.
                columns > 1 && shape_of(&format!("{module}bias")) == Some((1, columns))
            });
        let array = Array::row(format!("{prefix}{name}"), &to_host(tensor));
        match is_vector {
            true => array,
            false => Array {
                shape: vec![rows, columns],
                ..array
            },
        }
    };
    named.iter().map(array).collect()
}

/// The bytes of a file with the given arrays and metadata.
pub(crate) fn serialize(arrays: &[Array], metadata: Metadata) -> Result<Vec<u8>, CheckpointError> {
    let damaged = |error: safetensors::SafeTensorError| CheckpointError::Damaged {
        path: "model".to_owned(),
        message: error.to_string(),
    };
    let mut views = Vec::with_capacity(arrays.len());
    for array in arrays {
        let view = TensorView::new(array.dtype, array.shape.clone(), &array.bytes);
        views.push((array.name.as_str(), view.map_err(damaged)?));
    }
    let mut bytes = safetensors::serialize(views, Some(metadata)).map_err(damaged)?;
    sort_header(&mut bytes);
    Ok(bytes)
}

/// Puts the header of a file in the order of its keys. The library writes metadata in that of a hash map, which is another
/// one each time, and equal runs are to have equal files. A header that cannot be put in order is as good as it was.
fn sort_header(bytes: &mut [u8]) -> Option<()> {
    let (size, rest) = bytes.split_first_chunk_mut()?;
    let size = u64::from_le_bytes(*size).try_into().ok()?;
    let header = rest.get_mut(..size)?;
    let keys: serde_json::Value = serde_json::from_slice(header).ok()?;
    let mut text = serde_json::to_vec(&keys).ok()?;
    text.resize(size.max(text.len()), b' ');
    if text.len() == size {
        header.copy_from_slice(&text);
    }
    Some(())
}

/// The bytes of a file with all parameters by name and the given metadata.
pub fn to_bytes<E: Scalar, D: Backend<E>>(
    model: &impl Parameters<E, D>,
    metadata: Metadata,
) -> Result<Vec<u8>, CheckpointError> {
    serialize(&parameters("", model), metadata)
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
        let shown = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Io {
            path: shown.clone(),
            source,
        })?;
        let damaged = |error: safetensors::SafeTensorError| CheckpointError::Damaged {
            path: shown.clone(),
            message: error.to_string(),
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

    /// Gives every parameter the value stored under its name. A parameter of one row may be stored as a vector or as a matrix.
    pub fn load<E: Scalar, D: Backend<E>>(
        &self,
        parameters: &mut impl Parameters<E, D>,
    ) -> Result<(), CheckpointError> {
        self.load_from("", parameters)
    }

    /// [`load`](Self::load) where the names have a prefix.
    pub(crate) fn load_from<E: Scalar, D: Backend<E>>(
        &self,
        prefix: &str,
        parameters: &mut impl Parameters<E, D>,
    ) -> Result<(), CheckpointError> {
        let mut values = Vec::new();
        for (name, tensor) in parameters.named() {
            let (rows, columns) = *tensor.shape();
            values.push(self.array::<E>(&format!("{prefix}{name}"), Some(&[rows, columns]))?);
        }
        parameters.assign(values)?;
        Ok(())
    }

    /// The numbers of an array of any shape.
    pub(crate) fn numbers<E: Scalar>(&self, name: &str) -> Result<Vec<E>, CheckpointError> {
        self.array(name, None)
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
        for (name, view) in file.iter() {
            if let Some(rest) = name.strip_prefix(prefix) {
                entries.push((rest.to_owned(), self.decode(name, &view, view.shape())?));
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

    fn array<E: Scalar>(
        &self,
        name: &str,
        shape: Option<&[usize]>,
    ) -> Result<Vec<E>, CheckpointError> {
        let file = self.file()?;
        let view = file.tensor(name).map_err(|_| CheckpointError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
        })?;
        self.decode(name, &view, shape.unwrap_or(view.shape()))
    }

    fn decode<E: Scalar>(
        &self,
        name: &str,
        view: &TensorView<'_>,
        expected: &[usize],
    ) -> Result<Vec<E>, CheckpointError> {
        let fits = match (expected, view.shape()) {
            ([1, columns], [length]) => length == columns,
            (expected, shape) => shape == expected,
        };
        if !fits || view.dtype() != dtype::<E>() {
            return Err(CheckpointError::Mismatch {
                path: self.path.clone(),
                name: name.to_owned(),
                expected: format!("{:?} {expected:?}", dtype::<E>()),
                got: format!("{:?} {:?}", view.dtype(), view.shape()),
            });
        }
        Ok(decode(view.data()))
    }
}

fn dtype<E>() -> Dtype {
    if std::mem::size_of::<E>() == 4 {
        Dtype::F32
    } else {
        Dtype::F64
    }
}

fn encode<E: Scalar>(values: &[E]) -> Vec<u8> {
    let mut bytes = vec![0; std::mem::size_of_val(values)];
    match dtype::<E>() {
        Dtype::F32 => {
            for (bytes, value) in bytes.chunks_exact_mut(4).zip(values) {
                bytes.copy_from_slice(&(value.wide() as f32).to_le_bytes());
            }
        }
        _ => {
            for (bytes, value) in bytes.chunks_exact_mut(8).zip(values) {
                bytes.copy_from_slice(&value.wide().to_le_bytes());
            }
        }
    }
    bytes
}

/// The numbers in bytes of the element type `E`, as safetensors files hold them.
pub fn decode<E: Scalar>(bytes: &[u8]) -> Vec<E> {
    let single = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let double = |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
    match dtype::<E>() {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| E::of(single(b))).collect(),
        _ => bytes.chunks_exact(8).map(|b| E::of(double(b))).collect(),
    }
}
