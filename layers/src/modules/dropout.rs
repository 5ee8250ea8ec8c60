//! Dropout.

use dfdx::prelude::*;
use equilibria_core::seed::random_bits;
use equilibria_core::{from_host, vectorized, AnyTape, Backend, Error, Matrix, Result, Scalar};

use super::pointwise::times_values;

/// `x ⊙ m` with m a [`dropout_mask`] of the shape of x.
///
/// # Errors
/// [`Error::Config`] unless `p` is in [0, 1), [`Error::Device`] if memory runs out.
///
/// Reference: N. Srivastava et al., Dropout, JMLR 15, 2014.
pub fn dropout<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    p: f64,
    seed: u64,
) -> Result<Matrix<E, D, T>> {
    let shape = *x.shape();
    if !D::ON_HOST {
        let mask = dropout_mask(x.device(), shape, p, seed)?;
        return x.try_mul(mask).map_err(Error::device);
    }
    times_values(x, mask_values(shape, (0, shape.0), p, seed)?)
}

/// A mask of inverted dropout: 0 with probability `p`, rounded to a multiple of 2⁻³² below 1, else 1 / (1 − `p`), so that its
/// mean is 1. The same seed gives the same mask.
///
/// # Errors
/// [`Error::Config`] unless `p` is in [0, 1).
pub fn dropout_mask<E: Scalar, D: Backend<E>>(
    device: &D,
    shape: (usize, usize),
    p: f64,
    seed: u64,
) -> Result<Matrix<E, D>> {
    match D::on_device() {
        Some(on_device) => on_device.mask(device, shape, seed, choices(p)?),
        None => from_host(device, mask_values(shape, (0, shape.0), p, seed)?, shape),
    }
}

/// Some rows, as many as `shape` has, of the [`dropout_mask`] of a matrix of `all` rows: those from number `first` on.
///
/// # Errors
/// Those of [`dropout_mask`].
pub fn dropout_mask_rows<E: Scalar, D: Backend<E>>(
    device: &D,
    shape: (usize, usize),
    (first, all): (usize, usize),
    p: f64,
    seed: u64,
) -> Result<Matrix<E, D>> {
    from_host(device, mask_values(shape, (first, all), p, seed)?, shape)
}

fn mask_values<E: Scalar>(
    shape: (usize, usize),
    (first, all): (usize, usize),
    p: f64,
    seed: u64,
) -> Result<Vec<E>> {
    let mut mask = vec![E::zero(); shape.0 * shape.1];
    let (dropped, kept) = choices(p)?;
    let half = (all * shape.1).div_ceil(2);
    draw(&mut mask, (first * shape.1, half), seed, dropped, kept);
    Ok(mask)
}

/// How many of the 2³² numbers that half of the random bits are drop an entry, and what the others make it.
fn choices<E: Scalar>(p: f64) -> Result<(u64, E)> {
    Error::require_fraction("dropout", "p", p)?;
    let dropped = ((p * (1u64 << 32) as f64).round() as u64).min(u64::from(u32::MAX));
    Ok((dropped, E::of(1.0 / (1.0 - p))))
}

vectorized! {
    /// Sets each number to 0 where 32 random bits are less than `dropped`, else to `kept`. Without a branch, which would be
    /// predicted wrongly every other time. The numbers are those from `start` on of a mask whose first `half` take the upper
    /// bits, and the others the lower ones.
    fn draw<'a, E, S>(_simd: S, mask: &'a mut [E], place: (usize, usize), stream: u64, dropped: u64, kept: E) {
        let choose = |bits: u64| if bits < dropped { E::zero() } else { kept };
        let (start, half) = place;
        let (first, second) = mask.split_at_mut(half.saturating_sub(start).min(mask.len()));
        for (index, mask) in first.iter_mut().enumerate() {
            *mask = choose(random_bits(stream, (start + index) as u64) >> 32);
        }
        let start = start.saturating_sub(half);
        for (index, mask) in second.iter_mut().enumerate() {
            *mask = choose(random_bits(stream, (start + index) as u64) & u64::from(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use equilibria_core::to_host;
    use equilibria_testing::random_matrix;

    fn mask(p: f64, seed: u64) -> Vec<f64> {
        let mask = dropout_mask::<f64, _>(&Cpu::default(), (100, 101), p, seed);
        to_host(&mask.expect("a mask"))
    }

    #[test]
    fn a_mask_is_inverted_dropout() {
        let quarter = mask(0.25, 1);
        let kept = quarter.iter().filter(|&&entry| entry > 0.0);
        assert!(kept.clone().all(|entry| (entry - 4.0 / 3.0).abs() < 1e-15));
        // 10100 independent entries kept with probability 3/4: six standard deviations are 0.026.
        assert!((kept.count() as f64 / 10_100.0 - 0.75).abs() < 0.026);
        assert_eq!(quarter, mask(0.25, 1));
        assert_ne!(quarter, mask(0.25, 2));
        assert!(mask(0.0, 1)
            .iter()
            .all(|m| m.to_bits() == 1.0_f64.to_bits()));
        let refused = dropout_mask::<f64, _>(&Cpu::default(), (1, 1), 1.0, 1);
        let error = refused.expect_err("nothing would be left").to_string();
        assert_eq!(error, "`dropout`: `p` must be in [0, 1), got 1");
    }

    /// In the middle of a row as well the lower bits take over from the upper ones.
    #[test]
    fn rows_of_a_mask_are_those_of_the_whole() {
        let device = Cpu::default();
        for (rows, columns) in [(7, 5), (8, 4), (1, 3)] {
            let whole = dropout_mask::<f64, _>(&device, (rows, columns), 0.5, 9).expect("a mask");
            for first in 0..rows {
                for end in first + 1..=rows {
                    let shape = (end - first, columns);
                    let part = dropout_mask_rows::<f64, _>(&device, shape, (first, rows), 0.5, 9);
                    let expected = &to_host(&whole)[first * columns..end * columns];
                    assert_eq!(to_host(&part.expect("a mask")), expected, "{first}..{end}");
                }
            }
        }
    }

    /// Neighbors, both halves of the same bits, and neighboring seeds: centered products of kept-or-not of n pairs, each of
    /// variance 1/16 at p = 1/2, have a mean within five standard errors of 0.
    #[test]
    fn entries_are_independent() {
        let (mask, next) = (mask(0.5, 1), mask(0.5, 2));
        let centered = |entry: &f64| entry / 2.0 - 0.5;
        let half = mask.len() / 2;
        for others in [&mask[1..], &mask[half..], &next[..]] {
            let products = mask
                .iter()
                .zip(others)
                .map(|(a, b)| centered(a) * centered(b));
            let mean = products.sum::<f64>() / others.len() as f64;
            assert!(mean.abs() < 5.0 * 0.25 / (others.len() as f64).sqrt());
        }
    }

    #[test]
    fn values_and_gradients_take_the_mask() {
        let device = Cpu::default();
        let x: Matrix<f64, Cpu> = random_matrix(&device, (7, 9), 1).expect("memory");
        let mask: Matrix<f64, Cpu> = dropout_mask(&device, (7, 9), 0.4, 3).expect("a mask");
        let traced = x.clone().put_tape(OwnedTape::default());
        let (y, tape) = dropout(traced, 0.4, 3).expect("memory").split_tape();
        assert_eq!(y.as_vec(), (x.clone() * mask.clone()).as_vec());
        let gradients = y.put_tape(tape).sum::<Rank0, _>().backward();
        assert_eq!(gradients.get(&x).as_vec(), mask.as_vec());
    }
}
