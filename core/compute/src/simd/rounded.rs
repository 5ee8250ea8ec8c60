//! Products of factors rounded to bf16, where the processor multiplies them faster than f32.

#![allow(unsafe_code)] // the instructions and their registers; each use says why it is sound

#[cfg(all(feature = "amx", target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(any(test, feature = "amx"))]
mod tiles;

use std::marker::PhantomData;
use std::sync::OnceLock;

use super::product::{first_in_line, Panel};
use super::{Lanes, Packed};

/// Lanes of an AVX-512 register.
const LANES: usize = 16;

/// A right factor rounded to bf16, packed in the panels of the [`Packed`] it was made from.
///
/// `y = x B` with every entry of x and B rounded to 8 binary digits; products are exact and their sums are in f32, in an
/// order that does not depend on the other rows of x. Subnormal numbers count as 0. The processor adds two products per
/// lane and instruction, so that panels hold pairs of consecutive rows of B.
#[derive(Debug)]
pub struct RoundedPacked<E> {
    /// Panels `[pairs of inner indices, width]`, the first at `offset`; the lower half of a number is the even index.
    values: Vec<u32>,
    offset: usize,
    inner: usize,
    columns: usize,
    /// Pairs in a panel and in a row of the left factor, both filled up with 0.
    pairs: usize,
    /// Multiple that the rows of the left factor are filled up to.
    whole: usize,
    panels: Vec<Panel>,
    /// f32: no others are rounded.
    numbers: PhantomData<E>,
}

impl<E: Lanes> RoundedPacked<E> {
    /// Whether factors of this type can be rounded here, and their products are faster for it.
    pub fn pays() -> bool {
        Self::available() && (is_of_amd() || has_tiles())
    }

    /// Whether this processor rounds factors of this type.
    fn available() -> bool {
        E::as_f32(&[]).is_some() && has_instructions()
    }

    /// Rounds and packs `b`; `None` where `b` is not in f32 or the processor lacks AVX512-BF16.
    pub fn new(b: &Packed<E>) -> Option<Self> {
        Self::filled_up(b, if has_tiles() { LANES } else { 1 })
    }

    /// With as many pairs, and rows of the left factor, as are a multiple of `whole`.
    fn filled_up(b: &Packed<E>, whole: usize) -> Option<Self> {
        if !Self::available() || b.lanes() != LANES {
            return None;
        }
        let (inner, columns) = (b.inner(), b.columns());
        let pairs = inner.div_ceil(2).next_multiple_of(whole);
        let size = |panel: &Panel| pairs * panel.registers * LANES;
        let panels: Vec<Panel> = (b.panels())
            .map(|panel| Panel {
                start: panel.start / inner.max(1) * pairs,
                ..panel
            })
            .collect();
        let mut values = vec![0; panels.iter().map(size).sum::<usize>() + LANES];
        let offset = first_in_line(&values);
        for (source, target) in b.panels().zip(&panels) {
            let width = target.registers * LANES;
            let source = E::as_f32(b.panel_values(&source))?;
            let target = &mut values[offset + target.start..][..size(target)];
            for (rows, target) in source.chunks(2 * width).zip(target.chunks_exact_mut(width)) {
                let (even, odd) = rows.split_at(width);
                for (pair, &value) in target.iter_mut().zip(even) {
                    *pair = u32::from(rounded(value));
                }
                for (pair, &value) in target.iter_mut().zip(odd) {
                    *pair |= u32::from(rounded(value)) << 16;
                }
            }
        }
        Some(Self {
            values,
            offset,
            inner,
            columns,
            pairs,
            whole,
            panels,
            numbers: PhantomData,
        })
    }

    /// Rows of this factor.
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// Columns of this factor and of the result.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// `y = x B`, `x` `[rows, inner]`, `y` `[rows, columns]`, both row-major. `scratch` is overwritten; it grows with the largest
    /// `x` so far.
    pub fn multiply(&self, x: &[E], y: &mut [E], scratch: &mut Vec<u32>) {
        let (Some(x), Some(y)) = (E::as_f32(x), E::as_f32_mut(y)) else {
            unreachable!("there is no value of this type but for f32");
        };
        assert_eq!(
            x.len() * self.columns,
            y.len() * self.inner,
            "as many rows in the left factor as in the result"
        );
        if x.is_empty() || y.is_empty() {
            y.fill(0.0);
            return;
        }
        let rows = x.len() / self.inner;
        let needed = rows.next_multiple_of(self.whole) * self.pairs;
        if scratch.len() < needed {
            scratch.resize(needed, 0);
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: there is no value of this type where the processor lacks the instructions.
        unsafe {
            x86::round_rows(self.inner, self.pairs, x, &mut scratch[..needed]);
        }
        let pairs = &scratch[..needed];
        #[cfg(all(feature = "amx", target_arch = "x86_64", target_os = "linux"))]
        if self.whole == tiles::SIDE {
            if let Some(mut tiles) = amx::Amx::new() {
                return self.multiply_by_tiles(&mut tiles, pairs, y);
            }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        unsafe {
            x86::multiply(self, &pairs[..rows * self.pairs], y);
        }
    }

    /// `y = x B` with `x` rounded and filled up.
    #[cfg(any(test, feature = "amx"))]
    fn multiply_by_tiles(&self, tiles: &mut impl tiles::Tiles, x: &[u32], y: &mut [f32]) {
        let mut sums = tiles::Sums {
            values: y,
            columns: self.columns,
        };
        for panel in &self.panels {
            let width = panel.registers * LANES;
            let panel = tiles::Panel {
                values: &self.values[self.offset + panel.start..][..self.pairs * width],
                width,
                first_column: panel.first_column,
                columns: panel.columns,
            };
            tiles::multiply(tiles, x, self.pairs, &panel, &mut sums);
        }
    }
}

/// How products are rounded here, where a solve may: by which instructions, or why they are not.
pub fn rounded_products() -> &'static str {
    match (RoundedPacked::<f32>::pays(), has_instructions()) {
        (true, _) if has_tiles() => "bf16 by AMX tiles",
        (true, _) => "bf16 by AVX512-BF16",
        (false, true) => "none: bf16 is no faster than f32 on this processor",
        (false, false) => "none: this processor does not multiply bf16",
    }
}

/// Whether products are by tiles, whose multiplications are eight times as many a cycle as those of f32.
fn has_tiles() -> bool {
    #[cfg(all(feature = "amx", target_arch = "x86_64", target_os = "linux"))]
    {
        amx::is_there()
    }
    #[cfg(not(all(feature = "amx", target_arch = "x86_64", target_os = "linux")))]
    {
        false
    }
}

/// Whether the processor has the instructions.
fn has_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Whether the processor is one of AMD's, whose `vdpbf16ps` multiplies twice as many numbers a cycle as f32 (Zen 4 and 5). On
/// Intel's (Sapphire Rapids and later) it is no faster than f32, so that rounding costs its own work: 20 to 47 % of a solve.
///
/// By the name of the maker, not by a timing: a solve must not round in one run and not in the next. Asked for once: under a hypervisor the
/// instruction costs a microsecond or more.
fn is_of_amd() -> bool {
    static IS_OF_AMD: OnceLock<bool> = OnceLock::new();
    *IS_OF_AMD.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: every x86-64 processor has the instruction and this leaf. Later compilers ask for no such block.
            #[allow(unused_unsafe)]
            let leaf = unsafe { std::arch::x86_64::__cpuid(0) };
            let maker = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
            maker.as_flattened() == b"AuthenticAMD"
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            false
        }
    })
}

/// The bf16 nearest to `x`, ties to even; NaN stays NaN.
#[inline]
fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    // A quiet NaN, so that the lost digits cannot turn it into an infinity; both results, so that loops have no branches.
    let nan = (bits >> 16) as u16 | 0x40;
    let nearest = (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16;
    match x.is_nan() {
        true => nan,
        false => nearest,
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::product::TILE;
    use super::{Panel, RoundedPacked, LANES};

    /// Rounds rows of `inner` numbers to `pairs` pairs each; what is filled up is 0.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn round_rows(inner: usize, pairs: usize, x: &[f32], scratch: &mut [u32]) {
        let (rounded, rest) = scratch.split_at_mut(x.len() / inner * pairs);
        for (x, pairs) in x.chunks_exact(inner).zip(rounded.chunks_exact_mut(pairs)) {
            let (pairs, rest) = pairs.split_at_mut(inner.div_ceil(2));
            round(x, pairs);
            rest.fill(0);
        }
        rest.fill(0);
    }

    /// `y = x B`, `x` rounded, see [`RoundedPacked::multiply`].
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn multiply<E>(b: &RoundedPacked<E>, x: &[u32], y: &mut [f32]) {
        let pairs = b.pairs;
        let rows = x.len() / pairs;
        let whole = rows - rows % TILE;
        let (x, few_x) = x.split_at(whole * pairs);
        let (y, few_y) = y.split_at_mut(whole * b.columns);
        for panel in &b.panels {
            let tiles = x.chunks_exact(TILE * pairs);
            for (x, y) in tiles.zip(y.chunks_exact_mut(TILE * b.columns)) {
                panel_tile::<E, TILE>(b, panel, x, y);
            }
            match rows - whole {
                1 => panel_tile::<E, 1>(b, panel, few_x, few_y),
                2 => panel_tile::<E, 2>(b, panel, few_x, few_y),
                3 => panel_tile::<E, 3>(b, panel, few_x, few_y),
                4 => panel_tile::<E, 4>(b, panel, few_x, few_y),
                5 => panel_tile::<E, 5>(b, panel, few_x, few_y),
                _ => {}
            }
        }
    }

    /// Rounds one row to pairs; the last one is filled up with 0.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn round(x: &[f32], pairs: &mut [u32]) {
        for (x, pairs) in x.chunks(2 * LANES).zip(pairs.chunks_mut(LANES)) {
            let mut full = [0.0; 2 * LANES];
            let x = match x.try_into() {
                Ok(x) => x,
                Err(_) => {
                    full[..x.len()].copy_from_slice(x);
                    &full
                }
            };
            let x: &[f32; 2 * LANES] = x;
            // SAFETY: both registers are read from an array of twice their length; the result has as many bits as an
            // integer register.
            let both: [u32; LANES] = unsafe {
                let low = _mm512_loadu_ps(x.as_ptr());
                let high = _mm512_loadu_ps(x.as_ptr().add(LANES));
                std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
            };
            pairs.copy_from_slice(&both[..pairs.len()]);
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn panel_tile<E, const N: usize>(
        b: &RoundedPacked<E>,
        panel: &Panel,
        x: &[u32],
        y: &mut [f32],
    ) {
        match panel.registers {
            1 => tile::<E, 1, N>(b, panel, x, y),
            2 => tile::<E, 2, N>(b, panel, x, y),
            _ => tile::<E, 4, N>(b, panel, x, y),
        }
    }

    /// `N` rows times a panel of `R` registers. Not inlined, so that its sums stay in registers.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[allow(clippy::needless_range_loop)] // counted loops over fixed sizes are unrolled early enough
    fn tile<E, const R: usize, const N: usize>(
        b: &RoundedPacked<E>,
        panel: &Panel,
        x: &[u32],
        y: &mut [f32],
    ) {
        let pairs = b.pairs;
        let x = &x[..N * pairs];
        let values = &b.values[b.offset + panel.start..][..pairs * R * LANES];
        let (values, _) = values.as_chunks::<LANES>();
        let (values, _) = values.as_chunks::<R>();
        let mut sums = [[_mm512_setzero_ps(); R]; N];
        for (k, values) in values.iter().enumerate() {
            let mut b = [_mm512_setzero_si512(); R];
            for register in 0..R {
                // SAFETY: an array as long as the register.
                b[register] = unsafe { _mm512_loadu_si512(values[register].as_ptr().cast()) };
            }
            for row in 0..N {
                // SAFETY: row < N, k < pairs, and x has N * pairs numbers. With a check the sums leave their registers.
                let x = unsafe { *x.get_unchecked(row * pairs + k) };
                let x = _mm512_set1_epi32(x as i32);
                for register in 0..R {
                    let sum = &mut sums[row][register];
                    *sum = _mm512_dpbf16_ps(*sum, pairs_of(x), pairs_of(b[register]));
                }
            }
        }
        for row in 0..N {
            let y = &mut y[row * b.columns + panel.first_column..][..panel.columns];
            for register in 0..R {
                let first = (register * LANES).min(y.len());
                let y = &mut y[first..];
                let mask = ((1u32 << y.len().min(LANES)) - 1) as u16;
                // SAFETY: the mask leaves out what is behind the end of `y`.
                unsafe { _mm512_mask_storeu_ps(y.as_mut_ptr(), mask, sums[row][register]) };
            }
        }
    }

    /// A register of pairs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn pairs_of(bits: __m512i) -> __m512bh {
        // SAFETY: registers of the same size, in which every bit pattern is valid.
        unsafe { std::mem::transmute(bits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random_values;

    fn random(count: usize, seed: u64) -> Vec<f32> {
        let numbers = random_values(count, seed).into_iter();
        numbers.map(|x| x as f32).collect()
    }

    fn widened(x: f32) -> f64 {
        f64::from(f32::from_bits(u32::from(rounded(x)) << 16))
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        // The last of 8 binary digits of 1 is worth 2^-7.
        let (unit, tiny) = (2_f32.powi(-7), 2_f32.powi(-23));
        let cases = [
            (1.0, 1.0),
            (1.0 + 0.5 * unit, 1.0), // a tie
            (1.0 + 0.5 * unit + tiny, 1.0 + unit),
            (1.0 + 1.5 * unit, 1.0 + 2.0 * unit), // a tie
            (-1.0 - 0.75 * unit, -1.0 - unit),
            (2.0 - tiny, 2.0),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ];
        for (x, expected) in cases {
            assert_eq!(widened(x).to_bits(), f64::from(expected).to_bits(), "{x}");
        }
        // The digits of this NaN are all cut off.
        assert!(widened(f32::from_bits(0x7F80_0001)).is_nan());
    }

    /// Full and partial panels, odd and even sums, 1 to 13 rows. A sum of k terms in f32 errs by at most k ε Σ |x b|: the
    /// products of rounded factors are exact. Where the processor lacks the instructions, this tests that it says so.
    #[test]
    fn products_are_those_of_rounded_factors() {
        for (inner, columns) in [(1, 1), (3, 5), (16, 33), (33, 64), (70, 71), (127, 200)] {
            let b = random(inner * columns, 1);
            let packed = Packed::new(&b, inner, columns);
            let Some(right) = RoundedPacked::new(&packed) else {
                assert!(!has_instructions());
                continue;
            };
            let mut scratch = Vec::new();
            for rows in 1..=13 {
                let x = random(rows * inner, 2);
                let mut product = vec![f32::NAN; rows * columns];
                right.multiply(&x, &mut product, &mut scratch);
                for (index, product) in product.into_iter().enumerate() {
                    let (row, column) = (index / columns, index % columns);
                    let factors = |k: usize| [x[row * inner + k], b[k * columns + column]];
                    let terms = (0..inner).map(|k| factors(k).map(widened).iter().product());
                    let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term: f64| {
                        (sum + term, size + term.abs())
                    });
                    let bound = inner as f64 * f64::from(f32::EPSILON) * size;
                    let error = (f64::from(product) - sum).abs();
                    assert!(error <= bound, "{rows}×{inner}×{columns}: {error:e}");
                }
            }
        }
    }

    /// NaN and infinities stay in their row, too.
    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let (inner, columns) = (37, 150);
        let packed = Packed::new(&random(inner * columns, 1), inner, columns);
        let Some(right) = RoundedPacked::new(&packed) else {
            return assert!(!has_instructions());
        };
        let (mut x, mut scratch) = (random(11 * inner, 2), Vec::new());
        x[4 * inner] = f32::NAN;
        x[8 * inner] = f32::INFINITY;
        let mut all = vec![0.0; 11 * columns];
        right.multiply(&x, &mut all, &mut scratch);
        for (x, row) in x.chunks_exact(inner).zip(all.chunks_exact(columns)) {
            let mut alone = vec![0.0; columns];
            right.multiply(x, &mut alone, &mut scratch);
            let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&alone), bits(row));
            let finite = x.iter().all(|x| x.is_finite());
            assert_eq!(row.iter().all(|y| y.is_finite()), finite);
        }
    }

    /// The system's name of the maker, where it tells one.
    #[test]
    fn the_maker_is_that_of_the_system() {
        let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if let Some(line) = told.lines().find(|line| line.starts_with("vendor_id")) {
            assert_eq!(is_of_amd(), line.ends_with("AuthenticAMD"), "{line}");
        }
        assert!(has_instructions() || !RoundedPacked::<f32>::pays());
    }

    #[test]
    fn only_f32_is_rounded() {
        let packed = Packed::new(&[1.0_f64; 4], 2, 2);
        assert!(RoundedPacked::new(&packed).is_none());
        assert!(!RoundedPacked::<f64>::pays());
    }
}
