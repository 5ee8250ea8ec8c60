//! Euclidean norms that neither underflow nor overflow.

use crate::{Coef, Result, Slot, Vectors};

/// Squares below this one have lost digits; those above its inverse may have overflowed.
const SAFE: f64 = 1e-280;

/// What a vector is scaled by when its square is not safe: a power of two, so that no digit changes.
const SCALE: f64 = f64::from_bits((1023 + 500) << 52);

/// Turns the squared norms of the active samples of `v` into norms. `scratch` and `scaled` are overwritten.
pub(super) fn norms(
    vectors: &mut dyn Vectors,
    v: Slot,
    scratch: Slot,
    norms: &mut [f64],
    scaled: &mut [f64],
) -> Result<()> {
    let safe = |square: f64| (SAFE..1.0 / SAFE).contains(&square);
    // Nearly always all are; where one is not, its norm costs two more passes over the vectors.
    let all_safe = norms.iter().all(|&square| safe(square));
    norms.iter_mut().for_each(|square| *square = square.sqrt());
    if all_safe {
        return Ok(());
    }
    for scale in [SCALE, 1.0 / SCALE] {
        vectors.combine(scratch, &[(Coef::Same(scale), v)])?;
        vectors.dots(scratch, &[scratch], scaled)?;
        for (norm, &square) in norms.iter_mut().zip(&*scaled) {
            if safe(square) && !safe(*norm * *norm) {
                *norm = square.sqrt() / scale;
            }
        }
    }
    Ok(())
}
