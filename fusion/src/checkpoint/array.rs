//! Named arrays, and the file they make.

use std::collections::BTreeSet;

use dfdx::prelude::HasShape;
use equilibria_core::{to_host, Backend, Matrix, Parameters, Scalar};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::SafeTensors;

use super::{CheckpointError, Metadata};

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
///
/// # Errors
/// [`CheckpointError::Unwritable`] if two arrays have the same name, or the header is longer than a reader takes.
pub(crate) fn serialize(arrays: &[Array], metadata: Metadata) -> Result<Vec<u8>, CheckpointError> {
    let unwritable = |message: String| CheckpointError::Unwritable { message };
    let refused = |error: safetensors::SafeTensorError| unwritable(error.to_string());
    let mut names = BTreeSet::new();
    let mut views = Vec::with_capacity(arrays.len());
    for array in arrays {
        if !names.insert(&array.name) {
            return Err(unwritable(format!("two are called `{}`", array.name)));
        }
        let view = TensorView::new(array.dtype, array.shape.clone(), &array.bytes);
        views.push((array.name.as_str(), view.map_err(refused)?));
    }
    let mut bytes = safetensors::serialize(views, Some(metadata)).map_err(refused)?;
    sort_header(&mut bytes);
    SafeTensors::read_metadata(&bytes).map_err(refused)?;
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

/// The type of files for the element type `E`, which is f32 or f64: another one does not compile.
pub(super) fn dtype<E: Scalar>() -> Dtype {
    const {
        let size = std::mem::size_of::<E>();
        assert!(size == 4 || size == 8, "the type has no name in files yet");
    }
    match std::mem::size_of::<E>() {
        4 => Dtype::F32,
        _ => Dtype::F64,
    }
}

fn encode<E: Scalar>(values: &[E]) -> Vec<u8> {
    let wide = values.iter().map(|value| value.wide());
    match dtype::<E>() {
        Dtype::F32 => wide
            .flat_map(|value| (value as f32).to_le_bytes())
            .collect(),
        _ => wide.flat_map(f64::to_le_bytes).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(arrays: &[Array], metadata: Metadata) -> String {
        let error = serialize(arrays, metadata).expect_err("no file");
        assert!(matches!(error, CheckpointError::Unwritable { .. }));
        error.to_string()
    }

    #[test]
    fn what_makes_no_file_is_not_called_a_damaged_file() {
        let row = || Array::row("w".to_owned(), &[1.0f32, 2.0]);
        let twice = message(&[row(), row()], Metadata::new());
        assert_eq!(
            twice,
            "the parameters cannot be written as a safetensors file: two are called `w`"
        );
        let short = Array {
            shape: vec![3],
            ..row()
        };
        let short = message(&[short], Metadata::new());
        assert!(!short.contains("restore a copy"), "{short}");
        // No reader takes a header of more than 100 MB.
        let long = [("key".to_owned(), "x".repeat(100_000_001))].into();
        let long = message(&[row()], long);
        assert!(
            long.starts_with("the parameters cannot be written"),
            "{long}"
        );
    }
}
