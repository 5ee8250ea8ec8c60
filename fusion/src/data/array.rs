//! Numbers as typed little-endian arrays.

use safetensors::tensor::{Dtype, View};
use std::borrow::Cow;

use crate::dtype::numbers;

/// Largest relative error accepted for storing a value in single precision:
/// a little above its rounding error, so only values outside its range fail.
const SINGLE_PRECISION: f64 = 1e-7;

/// An array on its way into a bundle.
#[derive(Debug)]
pub(super) struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    /// Stores values in the smallest type that keeps them: U8 or U16 for small
    /// whole numbers, else F32 where its rounding will do, else F64.
    pub(super) fn numbers(shape: Vec<usize>, values: &[f64]) -> Self {
        let whole = |limit: f64| {
            values
                .iter()
                .all(|v| v.fract() == 0.0 && (0.0..=limit).contains(v))
        };
        let (dtype, bytes) = if whole(f64::from(u8::MAX)) {
            (Dtype::U8, values.iter().map(|&v| v as u8).collect())
        } else if whole(f64::from(u16::MAX)) {
            (Dtype::U16, to_bytes(values, |v| (v as u16).to_le_bytes()))
        } else if values.iter().all(|&v| fits_single(v)) {
            (Dtype::F32, to_bytes(values, |v| (v as f32).to_le_bytes()))
        } else {
            (Dtype::F64, to_bytes(values, f64::to_le_bytes))
        };
        Self {
            dtype,
            shape,
            bytes,
        }
    }

    /// Stores labels in the smallest of U8, U16 and U32; `None` if one is
    /// larger still.
    pub(super) fn labels(labels: &[usize]) -> Option<Self> {
        let largest = labels.iter().copied().max().unwrap_or(0);
        let largest = u32::try_from(largest).ok()?;
        let (dtype, bytes) = if u8::try_from(largest).is_ok() {
            (Dtype::U8, labels.iter().map(|&l| l as u8).collect())
        } else if u16::try_from(largest).is_ok() {
            (Dtype::U16, to_bytes(labels, |l| (l as u16).to_le_bytes()))
        } else {
            (Dtype::U32, to_bytes(labels, |l| (l as u32).to_le_bytes()))
        };
        Some(Self {
            dtype,
            shape: vec![labels.len()],
            bytes,
        })
    }
}

impl View for &Array {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The labels of an array; `None` unless all are whole numbers of at least 0, whatever their type.
pub(super) fn read_labels(dtype: Dtype, bytes: &[u8]) -> Option<Vec<usize>> {
    let numbers = numbers(dtype, bytes)?.into_iter();
    let label = |number: f64| (number >= 0.0 && number.fract() == 0.0).then_some(number as usize);
    numbers.map(label).collect()
}

fn fits_single(value: f64) -> bool {
    let change = (f64::from(value as f32) - value).abs();
    change == 0.0 || change < SINGLE_PRECISION * value.abs()
}

fn to_bytes<T: Copy, const N: usize>(values: &[T], encode: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&v| encode(v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(values: &[f64]) -> Dtype {
        Array::numbers(vec![values.len()], values).dtype
    }

    #[test]
    fn the_smallest_type_that_fits_is_used() {
        assert_eq!(stored(&[0.0, 255.0]), Dtype::U8);
        assert_eq!(stored(&[0.0, 256.0, 65535.0]), Dtype::U16);
        assert_eq!(stored(&[65536.0]), Dtype::F32);
        assert_eq!(stored(&[-1.0]), Dtype::F32);
        assert_eq!(stored(&[0.1]), Dtype::F32);
        assert_eq!(stored(&[1e300]), Dtype::F64);
        assert_eq!(stored(&[1e-44]), Dtype::F64);
    }

    #[test]
    fn labels_are_never_rounded() {
        let dtype = |label| Array::labels(&[0, label]).map(|array| array.dtype);
        assert_eq!(dtype(255), Some(Dtype::U8));
        assert_eq!(dtype(256), Some(Dtype::U16));
        assert_eq!(dtype((1 << 24) + 1), Some(Dtype::U32));
    }
}
