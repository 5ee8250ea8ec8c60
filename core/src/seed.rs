//! Seeds from seeds, and random bits from a seed.

/// A seed for use number `index` of `seed`. Sums of small numbers would meet: use 1 of seed 0 is not use 0 of seed 1.
///
/// Reference: G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014 (SplitMix64).
pub fn mix(seed: u64, index: u64) -> u64 {
    stir(stir(seed.wrapping_add(GAMMA)) ^ index.wrapping_add(1))
}

/// Number `index` of the SplitMix64 sequence that begins at `stream`: 64 random bits, without a state that would have to be
/// carried from one to the next.
#[inline(always)]
pub fn random_bits(stream: u64, index: u64) -> u64 {
    stir(stream.wrapping_add((index + 1).wrapping_mul(GAMMA)))
}

/// Fills `numbers` with standard normal numbers that depend on `stream` alone, and are the same on every device.
pub fn fill_normal(stream: u64, numbers: &mut [f64]) {
    crate::plumbing::fill_row(numbers, stream);
}

/// From one number of a SplitMix64 sequence, before it is stirred, to the next: 2⁶⁴ over the golden ratio, odd.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of SplitMix64, one to one.
#[inline(always)]
fn stir(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::mix;

    #[test]
    fn neighboring_seeds_do_not_meet() {
        let pairs = (0..100).flat_map(|seed| (0..100).map(move |index| mix(seed, index)));
        assert_eq!(pairs.collect::<HashSet<_>>().len(), 10_000);
    }
}
