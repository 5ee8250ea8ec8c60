//! Numbers as typed little-endian arrays.

use half::{bf16, f16};
use safetensors::tensor::{Dtype, View};
use std::borrow::Cow;

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

/// The numbers of an array of little-endian elements, widened without loss up to 53 binary digits; truth values are 0 and 1.
/// `None` for a type that holds no plain numbers.
pub(crate) fn read_numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    Some(match dtype {
        Dtype::BOOL => bytes
            .iter()
            .map(|&byte| f64::from(u8::from(byte != 0)))
            .collect(),
        Dtype::F16 => from_bytes(bytes, |b| f16::from_le_bytes(b).into()),
        Dtype::BF16 => from_bytes(bytes, |b| bf16::from_le_bytes(b).into()),
        Dtype::F32 => from_bytes(bytes, |b| f32::from_le_bytes(b).into()),
        Dtype::F64 => from_bytes(bytes, f64::from_le_bytes),
        Dtype::U8 => bytes.iter().copied().map(f64::from).collect(),
        Dtype::U16 => from_bytes(bytes, |b| u16::from_le_bytes(b).into()),
        Dtype::U32 => from_bytes(bytes, |b| u32::from_le_bytes(b).into()),
        Dtype::U64 => from_bytes(bytes, |b| u64::from_le_bytes(b) as f64),
        Dtype::I8 => from_bytes(bytes, |b| i8::from_le_bytes(b).into()),
        Dtype::I16 => from_bytes(bytes, |b| i16::from_le_bytes(b).into()),
        Dtype::I32 => from_bytes(bytes, |b| i32::from_le_bytes(b).into()),
        Dtype::I64 => from_bytes(bytes, |b| i64::from_le_bytes(b) as f64),
        _ => return None,
    })
}

/// The labels of an array; `None` unless all are whole numbers of at least 0, whatever their type.
pub(super) fn read_labels(dtype: Dtype, bytes: &[u8]) -> Option<Vec<usize>> {
    let numbers = read_numbers(dtype, bytes)?.into_iter();
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

fn from_bytes<T, const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    let words = bytes.chunks_exact(N);
    // Every chunk has length N, so none is dropped here.
    words
        .filter_map(|word| word.try_into().ok())
        .map(decode)
        .collect()
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
    fn short_numbers_are_widened() {
        // 1.5 and −2 in halves: sign, 5 or 8 bits of exponent, the rest of the mantissa.
        let halves = [0x00, 0x3e, 0x00, 0xc0];
        assert_eq!(read_numbers(Dtype::F16, &halves), Some(vec![1.5, -2.0]));
        let brains = [0xc0, 0x3f, 0x00, 0xc0];
        assert_eq!(read_numbers(Dtype::BF16, &brains), Some(vec![1.5, -2.0]));
        assert_eq!(read_numbers(Dtype::BOOL, &[0, 1]), Some(vec![0.0, 1.0]));
        assert_eq!(read_numbers(Dtype::C64, &[0; 8]), None);
        assert_eq!(read_labels(Dtype::F16, &halves), None);
    }

    #[test]
    fn labels_are_never_rounded() {
        let dtype = |label| Array::labels(&[0, label]).map(|array| array.dtype);
        assert_eq!(dtype(255), Some(Dtype::U8));
        assert_eq!(dtype(256), Some(Dtype::U16));
        assert_eq!(dtype((1 << 24) + 1), Some(Dtype::U32));
    }
}
