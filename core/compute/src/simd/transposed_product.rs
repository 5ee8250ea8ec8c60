//! Products of a transposed matrix, which gradients of weights are.

use pulp::{NullaryFnOnce, Simd, WithSimd};

use super::product::{has_wide_panels, store, Packed, Panel, TILE};
use super::{run, Lanes};
use crate::{parallel, Element};

/// Rows of the result that one thread works on at a time.
const STRIP: usize = 8 * TILE;

/// `out = out + Σ_i a_iᵀ b_i` with `[a_i, b_i]` `[inner_i, rows]` and `[inner_i, columns]`, `out` `[rows, columns]`, all
/// row-major. Shares the rows of the result among the threads.
pub fn add_transposed_product<E: Element>(
    factors: &[[impl AsRef<[E]> + Sync; 2]],
    out: &mut [E],
    columns: usize,
) {
    let rows = out.len() / columns;
    let left = || {
        factors
            .iter()
            .flat_map(|[a, _]| a.as_ref().chunks_exact(rows))
    };
    let right = || (factors.iter()).flat_map(|[_, b]| b.as_ref().chunks_exact(columns));
    let inner = right().count();
    assert_eq!(inner, left().count(), "rows of the two factors");
    let b = &Packed::of_rows(right(), inner, columns);
    let strip = |(index, out): (usize, &mut [E])| {
        let own = index * STRIP..index * STRIP + out.len() / columns;
        let a = &tiles(left().map(|row| &row[own.clone()]), inner, own.len());
        E::add_strip(a, b, out);
    };
    parallel::map(out.chunks_mut(STRIP * columns).enumerate(), strip);
}

/// A matrix, `[inner, columns]`, in tiles of a few columns, each `[inner, TILE]`; the last one is filled up with 0. Where rows
/// lie a power of two apart, the columns of a tile would share few places of the cache.
fn tiles<'a, E: Lanes>(
    rows: impl Iterator<Item = &'a [E]>,
    inner: usize,
    columns: usize,
) -> Vec<[E; TILE]> {
    let mut tiles = vec![[E::default(); TILE]; columns.div_ceil(TILE) * inner];
    for (k, row) in rows.enumerate() {
        let (whole, part) = row.as_chunks();
        let mut places = tiles[k..].iter_mut().step_by(inner);
        for (part, place) in whole.iter().zip(places.by_ref()) {
            *place = *part;
        }
        if let (Some(place), false) = (places.next(), part.is_empty()) {
            place[..part.len()].copy_from_slice(part);
        }
    }
    tiles
}

pub(crate) fn strip<E: Lanes>(a: &[[E; TILE]], b: &Packed<E>, out: &mut [E]) {
    run(Strip { a, b, out });
}

/// Some rows of the result.
struct Strip<'a, E> {
    /// The left factor, a tile for every few rows.
    a: &'a [[E; TILE]],
    b: &'a Packed<E>,
    out: &'a mut [E],
}

impl<E: Lanes> WithSimd for Strip<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, out } = self;
        for panel in b.panels() {
            let tiles = a.chunks_exact(b.inner());
            for (a, out) in tiles.zip(out.chunks_mut(TILE * b.columns())) {
                let tile = Tile {
                    simd,
                    a,
                    b,
                    panel: &panel,
                    out,
                };
                match panel.registers {
                    1 => tile.of_width::<1>(),
                    2 => tile.of_width::<2>(),
                    _ if const { has_wide_panels(S::REGISTER_COUNT) } => tile.of_width::<4>(),
                    registers => {
                        unreachable!("{registers} registers in a panel of this processor")
                    }
                }
            }
        }
    }
}

/// A few rows of the result, and the columns of one panel.
struct Tile<'a, S: Simd, E> {
    simd: S,
    a: &'a [[E; TILE]],
    b: &'a Packed<E>,
    panel: &'a Panel,
    out: &'a mut [E],
}

impl<S: Simd, E: Lanes> Tile<'_, S, E> {
    #[inline(always)]
    fn of_width<const R: usize>(self) {
        match self.out.len() / self.b.columns() {
            1 => self.simd.vectorize(Sums::<'_, S, E, R, 1>(self)),
            2 => self.simd.vectorize(Sums::<'_, S, E, R, 2>(self)),
            3 => self.simd.vectorize(Sums::<'_, S, E, R, 3>(self)),
            4 => self.simd.vectorize(Sums::<'_, S, E, R, 4>(self)),
            5 => self.simd.vectorize(Sums::<'_, S, E, R, 5>(self)),
            _ => self.simd.vectorize(Sums::<'_, S, E, R, TILE>(self)),
        }
    }
}

/// A tile of `N` rows and `R` registers of columns. `vectorize` makes a function of it, so that the compiler keeps its sums
/// in registers.
struct Sums<'a, S: Simd, E, const R: usize, const N: usize>(Tile<'a, S, E>);

impl<S: Simd, E: Lanes, const R: usize, const N: usize> NullaryFnOnce for Sums<'_, S, E, R, N> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Only counted loops over fixed sizes are unrolled early enough.
    fn call(self) {
        let Tile {
            simd,
            a,
            b,
            panel,
            out,
        } = self.0;
        let values = E::vectors::<S>(b.panel_values(panel)).0.as_chunks::<R>().0;
        let mut sums = [[E::splat(simd, E::default()); R]; N];
        for (a, b) in a.iter().zip(values) {
            for row in 0..N {
                let a = E::splat(simd, a[row]);
                for register in 0..R {
                    sums[row][register] = E::fused(simd, b[register], a, sums[row][register]);
                }
            }
        }
        store(simd, &sums, panel, b.columns(), out, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More rows than one thread takes, in f32: small integers are exact.
    #[test]
    fn transposed_products_are_right() {
        let (inner, rows, columns) = (3, 2 * STRIP + 5, 21);
        let numbers = |count: usize| (0..count).map(|i| (i * 7 % 11) as f32).collect::<Vec<_>>();
        let (a, b) = (numbers(inner * rows), numbers(inner * columns));
        let mut out = vec![1.0; rows * columns];
        let factors = [0..1, 1..inner].map(|part| {
            let own = |matrix: &[f32], width| matrix[part.start * width..part.end * width].to_vec();
            [own(&a, rows), own(&b, columns)]
        });
        add_transposed_product(&factors, &mut out, columns);
        for (index, out) in out.iter().enumerate() {
            let (row, column) = (index / columns, index % columns);
            let terms = (0..inner).map(|k| a[k * rows + row] * b[k * columns + column]);
            assert!(
                (out - 1.0 - terms.sum::<f32>()).abs() < 0.5,
                "{row}, {column}"
            );
        }
    }
}
