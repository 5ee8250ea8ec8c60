//! Products of bf16 pairs by tiles of 16 rows of 64 bytes, as Intel's AMX multiplies them.

/// Rows of a tile, and 32-bit numbers in each.
pub const SIDE: usize = 16;

/// Numbers of a tile.
pub const SIZE: usize = SIDE * SIDE;

/// Eight tiles, by number: pairs of bf16 or sums in f32.
pub trait Tiles {
    /// Fills tile `T` with 0.
    fn clear<const T: usize>(&mut self);

    /// Loads tile `T` from rows that begin `stride` numbers apart.
    fn load<const T: usize>(&mut self, rows: &[u32], stride: usize);

    /// Adds to every sum of tile `C` the products of the pairs in a row of `A` with those in a column of `B`.
    fn add_product<const C: usize, const A: usize, const B: usize>(&mut self);

    /// Writes the sums of tile `T`.
    fn store<const T: usize>(&self, sums: &mut [f32; SIZE]);
}

/// A matrix of sums that tiles are multiplied into.
pub struct Sums<'y> {
    /// Row-major, `[rows, columns]`.
    pub values: &'y mut [f32],
    pub columns: usize,
}

impl Sums<'_> {
    /// Copies those of a tile that are inside.
    fn put(&mut self, (row, column): (usize, usize), last: usize, tile: &[f32; SIZE]) {
        let width = SIDE.min(last.saturating_sub(column));
        if width == 0 {
            return;
        }
        let rows = self.values.chunks_exact_mut(self.columns).skip(row);
        for (sums, tile) in rows.zip(tile.chunks_exact(SIDE)) {
            sums[column..][..width].copy_from_slice(&tile[..width]);
        }
    }
}

/// A panel of the right factor.
pub struct Panel<'b> {
    /// `[pairs, width]`, whole tiles.
    pub values: &'b [u32],
    pub width: usize,
    /// Of the result.
    pub first_column: usize,
    pub columns: usize,
}

/// `y = x B` in the columns of a panel; `x`, `[rows, pairs]`, has whole tiles, `y` the rows that are wanted.
///
/// Four tiles of sums, two of x and two of B are in use at once. The order of each sum follows from the number of pairs alone.
pub fn multiply(tiles: &mut impl Tiles, x: &[u32], pairs: usize, b: &Panel<'_>, y: &mut Sums<'_>) {
    let rows = x.len() / pairs;
    for row in (0..rows).step_by(2 * SIDE) {
        for column in (0..b.width).step_by(2 * SIDE) {
            let two_rows = row + SIDE < rows;
            let two_columns = column + SIDE < b.width;
            tiles.clear::<0>();
            tiles.clear::<1>();
            tiles.clear::<2>();
            tiles.clear::<3>();
            for pair in (0..pairs).step_by(SIDE) {
                let values = &b.values[pair * b.width + column..];
                tiles.load::<4>(&x[row * pairs + pair..], pairs);
                tiles.load::<6>(values, b.width);
                tiles.add_product::<0, 4, 6>();
                if two_columns {
                    tiles.load::<7>(&values[SIDE..], b.width);
                    tiles.add_product::<1, 4, 7>();
                }
                if two_rows {
                    tiles.load::<5>(&x[(row + SIDE) * pairs + pair..], pairs);
                    tiles.add_product::<2, 5, 6>();
                    if two_columns {
                        tiles.add_product::<3, 5, 7>();
                    }
                }
            }
            let (first, last) = (b.first_column + column, b.first_column + b.columns);
            let mut sums = [0.0; SIZE];
            tiles.store::<0>(&mut sums);
            y.put((row, first), last, &sums);
            if two_columns {
                tiles.store::<1>(&mut sums);
                y.put((row, first + SIDE), last, &sums);
            }
            if two_rows {
                tiles.store::<2>(&mut sums);
                y.put((row + SIDE, first), last, &sums);
                if two_columns {
                    tiles.store::<3>(&mut sums);
                    y.put((row + SIDE, first + SIDE), last, &sums);
                }
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::{has_instructions, x86, Packed, RoundedPacked};
    use super::{Tiles, SIDE, SIZE};
    use crate::random_values;

    fn random(count: usize, seed: u64) -> Vec<f32> {
        let numbers = random_values(count, seed).into_iter();
        numbers.map(|x| x as f32).collect()
    }

    /// Tiles in software: what an instruction of AMX-BF16 does, in f64.
    struct Software([[u32; SIZE]; 8]);

    impl Tiles for Software {
        fn clear<const T: usize>(&mut self) {
            self.0[T].fill(0);
        }

        fn load<const T: usize>(&mut self, rows: &[u32], stride: usize) {
            let side = SIDE;
            for (row, target) in self.0[T].chunks_exact_mut(side).enumerate() {
                target.copy_from_slice(&rows[row * stride..][..side]);
            }
        }

        fn add_product<const C: usize, const A: usize, const B: usize>(&mut self) {
            let half = |pair: u32| [pair << 16, pair & 0xFFFF_0000].map(f32::from_bits);
            for index in 0..SIZE {
                let (row, column) = (index / SIDE, index % SIDE);
                let mut sum = f32::from_bits(self.0[C][index]);
                for k in 0..SIDE {
                    let a = half(self.0[A][row * SIDE + k]);
                    let b = half(self.0[B][k * SIDE + column]);
                    sum += a[0] * b[0] + a[1] * b[1];
                }
                self.0[C][index] = sum.to_bits();
            }
        }

        fn store<const T: usize>(&self, sums: &mut [f32; SIZE]) {
            *sums = self.0[T].map(f32::from_bits);
        }
    }

    /// One row to three tiles of them, panels of one to four tiles: sums of the same products in another order differ by 2 k ε Σ |x b| at
    /// most, and what fills rows, pairs and columns up shows nowhere.
    #[test]
    fn tiles_give_what_registers_give() {
        for (inner, columns) in [(1, 1), (31, 16), (33, 33), (64, 70), (127, 200)] {
            let packed = Packed::new(&random(inner * columns, 1), inner, columns);
            let both = [1, SIDE].map(|whole| RoundedPacked::filled_up(&packed, whole));
            let [Some(registers), Some(tiled)] = both else {
                assert!(!has_instructions());
                continue;
            };
            for rows in [1, 2, 15, 16, 17, 33, 48] {
                let x = random(rows * inner, 2);
                let (mut expected, mut scratch) = (vec![0.0; rows * columns], Vec::new());
                registers.multiply(&x, &mut expected, &mut scratch);
                let mut pairs = vec![u32::MAX; rows.next_multiple_of(SIDE) * tiled.pairs];
                // SAFETY: the processor has the instructions, or there were no factors.
                unsafe { x86::round_rows(inner, tiled.pairs, &x, &mut pairs) };
                let mut product = vec![f32::NAN; rows * columns];
                let mut software = Software([[u32::MAX; SIZE]; 8]);
                tiled.multiply_by_tiles(&mut software, &pairs, &mut product);
                let largest = x.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                for (product, expected) in product.iter().zip(expected) {
                    // |b| is below 6 for these seeds.
                    let bound = 2.0 * (inner * inner) as f32 * f32::EPSILON * 6.0 * largest;
                    let error = (product - expected).abs();
                    assert!(error <= bound, "{rows}×{inner}×{columns}: {error:e}");
                }
            }
        }
    }
}
