//! Parameters in a `.safetensors` file, with text metadata.

use std::collections::HashMap;
use std::path::Path;

use dfdx::prelude::HasShape;
use equilibria_core::{to_host, Backend, Parameters, Scalar};
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

/// The bytes of a file with all parameters by name and the given metadata.
pub fn to_bytes<E: Scalar, D: Backend<E>>(
    parameters: &impl Parameters<E, D>,
    metadata: Metadata,
) -> Result<Vec<u8>, CheckpointError> {
    let arrays: Vec<(String, Vec<usize>, Vec<u8>)> = (parameters.named().into_iter())
        .map(|(name, tensor)| {
            let (rows, columns) = *tensor.shape();
            let values = to_host(&tensor);
            (name, vec![rows, columns], encode(&values))
        })
        .collect();
    let damaged = |error: safetensors::SafeTensorError| CheckpointError::Damaged {
        path: "model".to_owned(),
        message: error.to_string(),
    };
    let mut views = Vec::with_capacity(arrays.len());
    for (name, shape, bytes) in &arrays {
        let view = TensorView::new(dtype::<E>(), shape.clone(), bytes).map_err(damaged)?;
        views.push((name.as_str(), view));
    }
    safetensors::serialize(views, Some(metadata)).map_err(damaged)
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

    /// Gives every parameter the value stored under its name.
    pub fn load<E: Scalar, D: Backend<E>>(
        &self,
        parameters: &mut impl Parameters<E, D>,
    ) -> Result<(), CheckpointError> {
        let file =
            SafeTensors::deserialize(&self.bytes).map_err(|error| CheckpointError::Damaged {
                path: self.path.clone(),
                message: error.to_string(),
            })?;
        let mut values = Vec::new();
        for (name, tensor) in parameters.named() {
            values.push(self.value::<E>(&file, &name, *tensor.shape())?);
        }
        parameters.assign(values);
        Ok(())
    }

    fn value<E: Scalar>(
        &self,
        file: &SafeTensors<'_>,
        name: &str,
        shape: (usize, usize),
    ) -> Result<Vec<E>, CheckpointError> {
        let view = file.tensor(name).map_err(|_| CheckpointError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
        })?;
        let fits = view.shape() == [shape.0, shape.1] && view.dtype() == dtype::<E>();
        if !fits {
            return Err(CheckpointError::Mismatch {
                path: self.path.clone(),
                name: name.to_owned(),
                expected: format!("{:?} {:?}", dtype::<E>(), [shape.0, shape.1]),
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
    let mut bytes = Vec::with_capacity(std::mem::size_of_val(values));
    for value in values {
        match dtype::<E>() {
            Dtype::F32 => bytes.extend((value.wide() as f32).to_le_bytes()),
            _ => bytes.extend(value.wide().to_le_bytes()),
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
