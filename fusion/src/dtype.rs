//! Numbers in the bytes of arrays, widened to f64.

use half::{bf16, f16};
use safetensors::Dtype;

/// The numbers of little-endian `bytes`, none of them changed; true is 1, false 0. `None` for other types: those of whole
/// numbers, which quantized weights have beside a scale that is not here, of 8 bits or fewer, and complex ones.
pub(crate) fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    Some(match dtype {
        Dtype::BOOL => bytes.iter().map(|&b| f64::from(u8::from(b != 0))).collect(),
        Dtype::F16 => words(bytes, |word| f16::from_le_bytes(word).to_f64()),
        Dtype::BF16 => words(bytes, |word| bf16::from_le_bytes(word).to_f64()),
        Dtype::F32 => words(bytes, |word| f32::from_le_bytes(word).into()),
        Dtype::F64 => words(bytes, f64::from_le_bytes),
        _ => return None,
    })
}

/// [`floats`], and whole numbers, which are widened without loss up to 53 binary digits. `None` for types that hold no plain
/// numbers.
pub(crate) fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    Some(match dtype {
        Dtype::U8 => bytes.iter().copied().map(f64::from).collect(),
        Dtype::U16 => words(bytes, |word| u16::from_le_bytes(word).into()),
        Dtype::U32 => words(bytes, |word| u32::from_le_bytes(word).into()),
        Dtype::U64 => words(bytes, |word| u64::from_le_bytes(word) as f64),
        Dtype::I8 => words(bytes, |word| i8::from_le_bytes(word).into()),
        Dtype::I16 => words(bytes, |word| i16::from_le_bytes(word).into()),
        Dtype::I32 => words(bytes, |word| i32::from_le_bytes(word).into()),
        Dtype::I64 => words(bytes, |word| i64::from_le_bytes(word) as f64),
        _ => return floats(dtype, bytes),
    })
}

fn words<const N: usize>(bytes: &[u8], widen: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let words = bytes.chunks_exact(N);
    // Every chunk has length N, so none is dropped here.
    words
        .filter_map(|word| word.try_into().ok())
        .map(widen)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sign, exponent and fraction by hand: F16 has 5 bits of exponent with bias 15, BF16 the upper half of an F32.
    #[test]
    fn every_width_is_read_as_it_is() {
        let read = |dtype, words: &[u16]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            floats(dtype, &bytes).expect("floating point")
        };
        // 1, −2, the largest, the smallest above 0.
        let half = read(Dtype::F16, &[0x3C00, 0xC000, 0x7BFF, 0x0001]);
        assert_eq!(half, [1.0, -2.0, 65504.0, 2f64.powi(-24)]);
        let brain = read(Dtype::BF16, &[0x3F80, 0xC000, 0x3FC0, 0x4049]);
        assert_eq!(brain, [1.0, -2.0, 1.5, 3.140625]);
        assert!(read(Dtype::F16, &[0x7E00])[0].is_nan());
        let bits = floats(Dtype::BOOL, &[0, 1, 1]).expect("bits");
        assert_eq!(bits, [0.0, 1.0, 1.0]);
        let single = floats(Dtype::F32, &0.1f32.to_le_bytes()).expect("a number");
        assert_eq!(single, [f64::from(0.1f32)]);
        let double = floats(Dtype::F64, &0.1f64.to_le_bytes()).expect("a number");
        assert_eq!(double, [0.1]);
        assert!(floats(Dtype::I8, &[1]).is_none());
    }
}
