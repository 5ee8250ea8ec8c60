//! Matrix products with one factor packed beforehand.

use std::ops::Range;

use super::{run, Lanes};
use crate::{parallel, Element};
use pulp::{NullaryFnOnce, Simd, WithSimd};

/// Rows of the left factor that one tile covers: what is split into blocks of rows is split between tiles.
pub const TILE: usize = 6;

/// Those of `rows` rows that make up block number `index` of `count`: whole tiles, in blocks as even as these allow.
pub fn whole_tiles(rows: usize, index: usize, count: usize) -> Range<usize> {
    let tiles = rows.div_ceil(TILE);
    let edge = |index: usize| (index * tiles / count * TILE).min(rows);
    edge(index)..edge(index + 1)
}

/// Multiplications that keep one thread busy for longer than it takes to hand them over.
const SHARED: usize = 1 << 18;

/// Bytes of a cache line, where panels begin.
const LINE: usize = 64;

/// The right factor of a product, `[inner, columns]`, in the order in which the product reads it.
///
/// Columns are grouped into panels as wide as a few vector registers; a panel stores its rows one after the other. A tile
/// of the result, six rows times one panel, then stays in registers while it runs down the panel, which it reads in order,
/// at any number of rows. Each entry of a result sums over `inner` in order,
/// so that a row of it does not depend on the other rows of the left factor.
///
/// Reference: K. Goto, R. van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34, 2008.
#[derive(Debug)]
pub struct Packed<E> {
    /// Panels, the first at `offset`.
    values: Vec<E>,
    offset: usize,
    inner: usize,
    columns: usize,
    /// Elements in one register of the processor it was packed on.
    lanes: usize,
    /// Registers in the width of a full panel.
    registers: usize,
}

/// The first number that begins a cache line, where panels are to begin: loads that straddle two lines cost twice.
pub(super) fn first_in_line<T>(values: &[T]) -> usize {
    let aligned = values.as_ptr().align_offset(LINE);
    aligned.min(LINE / std::mem::size_of::<T>())
}

/// Where a panel lies.
#[derive(Debug)]
pub(super) struct Panel {
    pub first_column: usize,
    pub columns: usize,
    /// Registers in its width: 1, 2 or 4.
    pub registers: usize,
    /// First element, from `offset`.
    pub start: usize,
}

impl<E: Lanes> Packed<E> {
    /// Packs the row-major matrix `b`, `[inner, columns]`.
    pub fn new(b: &[E], inner: usize, columns: usize) -> Self {
        assert_eq!(b.len(), inner * columns, "the matrix to be packed");
        Self::of_rows(b.chunks_exact(columns), inner, columns)
    }

    /// Packs the matrix that has these rows.
    pub(super) fn of_rows<'b>(
        rows: impl Iterator<Item = &'b [E]> + Clone + Sync,
        inner: usize,
        columns: usize,
    ) -> Self {
        Self::filled(inner, columns, |panel, width, target| {
            for (target, row) in target.chunks_exact_mut(width).zip(rows.clone()) {
                target[..panel.columns]
                    .copy_from_slice(&row[panel.first_column..][..panel.columns]);
            }
        })
    }

    /// Packs the transpose of the row-major matrix `b`, `[columns, inner]`.
    pub fn transposed(b: &[E], inner: usize, columns: usize) -> Self {
        assert_eq!(b.len(), inner * columns, "the matrix to be packed");
        Self::filled(inner, columns, |panel, width, target| {
            let b = &b[panel.first_column * inner..][..panel.columns * inner];
            for (row, target) in target.chunks_exact_mut(width).enumerate() {
                for (target, b) in target.iter_mut().zip(b.chunks_exact(inner)) {
                    *target = b[row];
                }
            }
        })
    }

    /// A matrix whose panels, `[inner, width]`, are filled by `fill`, all threads taking part.
    fn filled(inner: usize, columns: usize, fill: impl Fn(&Panel, usize, &mut [E]) + Sync) -> Self {
        let mut packed = Self::zeros(inner, columns);
        let (lanes, panels) = (packed.lanes, packed.panels());
        let size = inner * lanes * packed.registers;
        let targets = packed.values[packed.offset..].chunks_mut(size.max(1));
        parallel::map(panels.zip(targets), |(panel, target)| {
            let width = panel.registers * lanes;
            fill(&panel, width, &mut target[..inner * width]);
        });
        packed
    }

    /// The transposed matrix, packed as well.
    pub fn transpose(&self) -> Self {
        let mut turned = Self::zeros(self.columns, self.inner);
        let (lanes, offset) = (self.lanes, turned.offset);
        for target in turned.panels() {
            let stride = target.registers * lanes;
            for column in 0..target.columns {
                let first = offset + target.start + column;
                for source in self.panels() {
                    let width = source.registers * lanes;
                    let start = self.offset + source.start;
                    let row = (target.first_column + column) * width;
                    let row = &self.values[start + row..][..source.columns];
                    let places = turned.values[first + source.first_column * stride..]
                        .iter_mut()
                        .step_by(stride);
                    places.zip(row).for_each(|(place, &value)| *place = value);
                }
            }
        }
        turned
    }

    fn zeros(inner: usize, columns: usize) -> Self {
        let (lanes, registers) = run(Shape::<E>::default());
        let mut packed = Self {
            values: Vec::new(),
            offset: 0,
            inner,
            columns,
            lanes,
            registers,
        };
        let size = packed.panels().last().map_or(0, |last| {
            last.start + inner * last.registers * lanes + LINE / std::mem::size_of::<E>()
        });
        packed.values = vec![E::default(); size];
        packed.offset = first_in_line(&packed.values);
        packed
    }

    pub(super) fn panels(&self) -> impl ExactSizeIterator<Item = Panel> + use<E> {
        let (lanes, registers) = (self.lanes, self.registers);
        let (inner, columns, width) = (self.inner, self.columns, lanes * registers);
        (0..columns.div_ceil(width)).map(move |index| {
            let first_column = index * width;
            let own = width.min(columns - first_column);
            Panel {
                first_column,
                columns: own,
                registers: own.div_ceil(lanes).next_power_of_two(),
                start: index * width * inner,
            }
        })
    }

    /// The numbers of a panel, row by row.
    pub(super) fn panel_values(&self, panel: &Panel) -> &[E] {
        &self.values[self.offset + panel.start..][..self.inner * panel.registers * self.lanes]
    }

    /// Elements in one register.
    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    /// Panels as wide as all but the last one are.
    fn full_panels(&self) -> usize {
        self.columns / (self.lanes * self.registers)
    }

    /// Rows of this factor.
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// Columns of this factor and of the result.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

impl<E: Element> Packed<E> {
    /// `y = x B`, `x` `[rows, inner]`, `y` `[rows, columns]`, both row-major.
    pub fn multiply(&self, x: &[E], y: &mut [E]) {
        self.product(x, y, false);
    }

    /// `y = y + x B`; see [`multiply`](Self::multiply).
    pub fn multiply_add(&self, x: &[E], y: &mut [E]) {
        self.product(x, y, true);
    }

    /// [`multiply`](Self::multiply) with its rows shared among the threads, if there is work for more than one.
    pub fn multiply_shared(&self, x: &[E], y: &mut [E]) {
        let rows = x.len().checked_div(self.inner).unwrap_or(0);
        let threads = rayon::current_num_threads().min(x.len() * self.columns / SHARED);
        let block = rows.div_ceil(threads.max(1)).next_multiple_of(TILE);
        if block >= rows {
            return self.multiply(x, y);
        }
        let x = x.chunks(block * self.inner);
        let blocks = x.zip(y.chunks_mut(block * self.columns));
        parallel::map(blocks, |(x, y)| self.multiply(x, y));
    }

    fn product(&self, x: &[E], y: &mut [E], add: bool) {
        assert_eq!(
            x.len() * self.columns,
            y.len() * self.inner,
            "as many rows in the left factor as in the result"
        );
        E::multiply(x, self, y, add);
    }
}

pub(crate) fn product<E: Lanes>(x: &[E], b: &Packed<E>, y: &mut [E], add: bool) {
    run(Product { x, b, y, add });
}

/// Whether a full panel is four registers wide, rather than two. Asked in a `const` block, it keeps widths that a processor never
/// meets from being compiled for it.
pub(super) const fn has_wide_panels(registers: usize) -> bool {
    registers >= 32
}

/// Asks for the lanes of a register and the registers of a panel.
struct Shape<E>(std::marker::PhantomData<E>);

impl<E> Default for Shape<E> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<E: Lanes> WithSimd for Shape<E> {
    type Output = (usize, usize);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
        // A tile takes six accumulators per register of width: 24 of 32 registers, or 12 of 16.
        let registers = match has_wide_panels(S::REGISTER_COUNT) {
            true => 4,
            false => 2,
        };
        (E::count::<S>(), registers)
    }
}

struct Product<'a, E> {
    x: &'a [E],
    b: &'a Packed<E>,
    y: &'a mut [E],
    add: bool,
}

impl<E: Lanes> WithSimd for Product<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, b, y, add } = self;
        let rows = x.len().checked_div(b.inner).unwrap_or(0);
        let whole = rows - rows % TILE;
        let (x, few_x) = x.split_at(whole * b.inner);
        let (y, few_y) = y.split_at_mut(whole * b.columns);
        let sweep = Sweep { simd, b, add };
        for panel in b.panels() {
            let tiles = x.chunks_exact(TILE * b.inner);
            for (x, y) in tiles.zip(y.chunks_exact_mut(TILE * b.columns)) {
                sweep.panel::<TILE>(&panel, x, y);
            }
        }
        match rows - whole {
            1 => sweep.few_rows::<1>(few_x, few_y),
            2 => sweep.few_rows::<2>(few_x, few_y),
            3 => sweep.few_rows::<3>(few_x, few_y),
            4 => sweep.few_rows::<4>(few_x, few_y),
            5 => sweep.few_rows::<5>(few_x, few_y),
            _ => {}
        }
    }
}

/// A product with its instruction set.
struct Sweep<'a, S: Simd, E> {
    simd: S,
    b: &'a Packed<E>,
    add: bool,
}

impl<S: Simd, E: Lanes> Sweep<'_, S, E> {
    /// `N` rows times all panels, several of them at a time as far as they are full: with few rows, the sums of one panel
    /// are too few to keep the multipliers busy, each of which waits for its last result.
    #[inline(always)]
    fn few_rows<const N: usize>(&self, x: &[E], y: &mut [E]) {
        let (mut panels, mut full) = (self.b.panels(), self.b.full_panels());
        if N == 1 {
            full -= self.groups::<N, 4>(&mut panels, full, x, y);
        }
        if N <= 2 {
            self.groups::<N, 2>(&mut panels, full, x, y);
        }
        for panel in panels {
            self.panel::<N>(&panel, x, y);
        }
    }

    /// `N` rows times one panel.
    #[inline(always)]
    fn panel<const N: usize>(&self, panel: &Panel, x: &[E], y: &mut [E]) {
        match panel.registers {
            1 => self.tile::<1, N, 1>([panel], x, y),
            2 => self.tile::<2, N, 1>([panel], x, y),
            _ if const { has_wide_panels(S::REGISTER_COUNT) } => {
                self.tile::<4, N, 1>([panel], x, y)
            }
            registers => unreachable!("{registers} registers in a panel of this processor"),
        }
    }

    /// `N` rows times the next panels, of which `full` are full, `P` at a time; returns how many those were.
    #[inline(always)]
    fn groups<const N: usize, const P: usize>(
        &self,
        panels: &mut impl Iterator<Item = Panel>,
        full: usize,
        x: &[E],
        y: &mut [E],
    ) -> usize {
        for _ in 0..full / P {
            // There are as many.
            let group: [Option<Panel>; P] = std::array::from_fn(|_| panels.next());
            let Some(group) = all(&group) else { break };
            if const { has_wide_panels(S::REGISTER_COUNT) } {
                self.tile::<4, N, P>(group, x, y);
            } else {
                self.tile::<2, N, P>(group, x, y);
            }
        }
        full - full % P
    }

    /// `N` rows times `P` panels of `R` registers. `vectorize` makes a function of it, so that the compiler keeps its sums in
    /// registers.
    #[inline(always)]
    fn tile<const R: usize, const N: usize, const P: usize>(
        &self,
        panels: [&Panel; P],
        x: &[E],
        y: &mut [E],
    ) {
        let sweep = self;
        self.simd.vectorize(Tile::<'_, S, E, R, N, P> {
            sweep,
            panels,
            x,
            y,
        });
    }
}

fn all<const P: usize>(panels: &[Option<Panel>; P]) -> Option<[&Panel; P]> {
    let mut whole = [panels[0].as_ref()?; P];
    for (place, panel) in whole.iter_mut().zip(panels) {
        *place = panel.as_ref()?;
    }
    Some(whole)
}

struct Tile<'a, S: Simd, E: Lanes, const R: usize, const N: usize, const P: usize> {
    sweep: &'a Sweep<'a, S, E>,
    panels: [&'a Panel; P],
    x: &'a [E],
    y: &'a mut [E],
}

impl<S: Simd, E: Lanes, const R: usize, const N: usize, const P: usize> NullaryFnOnce
    for Tile<'_, S, E, R, N, P>
{
    type Output = ();

    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // see below
    fn call(self) {
        let Self {
            sweep: Sweep { simd, b, add },
            panels,
            x,
            y,
        } = self;
        let (simd, inner) = (*simd, b.inner);
        let x: [&[E]; N] = std::array::from_fn(|row| &x[row * inner..][..inner]);
        let values: [&[[E::Vector<S>; R]]; P] = std::array::from_fn(|index| {
            let values = &b.values[b.offset + panels[index].start..][..inner * R * b.lanes];
            &E::vectors::<S>(values).0.as_chunks().0[..inner]
        });
        let mut sums = [[[E::splat(simd, E::default()); R]; N]; P];
        for k in 0..inner {
            // Counted loops over fixed sizes: only these does the compiler unroll early enough to keep `sums` in registers.
            let b: [[E::Vector<S>; R]; P] = std::array::from_fn(|panel| values[panel][k]);
            for row in 0..N {
                let x = E::splat(simd, x[row][k]);
                for panel in 0..P {
                    for register in 0..R {
                        let sum = &mut sums[panel][row][register];
                        *sum = E::fused(simd, b[panel][register], x, *sum);
                    }
                }
            }
        }
        for (panel, sums) in panels.iter().zip(&sums) {
            store(simd, sums, panel, b.columns, y, *add);
        }
    }
}

/// Writes the sums of a tile to its place in `y`, whose first row is that of the tile, or adds them to what is there.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // see below
pub(super) fn store<S: Simd, E: Lanes, const R: usize, const N: usize>(
    simd: S,
    sums: &[[E::Vector<S>; R]; N],
    panel: &Panel,
    columns: usize,
    y: &mut [E],
    add: bool,
) {
    for (row, sums) in sums.iter().enumerate() {
        let y = &mut y[row * columns + panel.first_column..][..panel.columns];
        let (full, part) = E::vectors_mut::<S>(y);
        let update = |y: E::Vector<S>, sum| match add {
            true => E::plus(simd, y, sum),
            false => sum,
        };
        // Nearly always all of them. Counted, so that the sums need not leave their registers to be counted off.
        if let Some(full) = full.first_chunk_mut::<R>() {
            for register in 0..R {
                full[register] = update(full[register], sums[register]);
            }
            continue;
        }
        let (whole, rest) = sums.split_at(full.len());
        for (y, &sum) in full.iter_mut().zip(whole) {
            *y = update(*y, sum);
        }
        if let (Some(&sum), false) = (rest.first(), part.is_empty()) {
            let old = E::load_part(simd, part);
            E::store_part(simd, part, update(old, sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random_values;

    /// `out += x B`, one number after the other.
    fn plain(x: &[f64], b: &[f64], out: &mut [f64], inner: usize, columns: usize) {
        for (x, out) in x.chunks_exact(inner).zip(out.chunks_exact_mut(columns)) {
            for (x, b) in x.iter().zip(b.chunks_exact(columns)) {
                out.iter_mut().zip(b).for_each(|(out, b)| *out += x * b);
            }
        }
    }

    #[test]
    fn blocks_of_whole_tiles_make_up_all_rows() {
        for rows in [1, TILE - 1, TILE, TILE + 1, 100, 6 * TILE] {
            for count in 1..=rows.div_ceil(TILE) {
                let blocks = (0..count).map(|index| whole_tiles(rows, index, count));
                let blocks: Vec<Range<usize>> = blocks.collect();
                let edges = blocks.windows(2).all(|pair| pair[0].end == pair[1].start);
                assert!(edges && blocks[0].start == 0 && blocks[count - 1].end == rows);
                let sizes = blocks.iter().map(|block| block.len().div_ceil(TILE));
                let (few, many) = (sizes.clone().min(), sizes.max());
                assert!(few >= Some(1) && many.zip(few).is_some_and(|(m, f)| m - f <= 1));
                let last = count - 1;
                let whole = |block: &Range<usize>| block.end.is_multiple_of(TILE);
                assert!(blocks[..last].iter().all(whole), "{rows} rows, {blocks:?}");
            }
        }
    }

    /// Full and partial panels, and 1 to 13 rows. A sum of k products of numbers below
    /// 5 errs by at most 25 k² ε.
    #[test]
    fn products_of_every_shape_are_right() {
        for (inner, columns) in [
            (1, 1),
            (3, 5),
            (7, 8),
            (16, 33),
            (20, 64),
            (9, 71),
            (40, 130),
        ] {
            let b = random_values(inner * columns, 1);
            let packed = Packed::new(&b, inner, columns);
            let mut turned = vec![0.0; b.len()];
            for (index, value) in turned.iter_mut().enumerate() {
                *value = b[index % inner * columns + index / inner];
            }
            let transposed = Packed::transposed(&turned, inner, columns);
            for rows in 1..=13 {
                let x = random_values(rows * inner, 2);
                let mut expected = random_values(rows * columns, 3);
                let mut sum = expected.clone();
                plain(&x, &b, &mut expected, inner, columns);
                packed.multiply_add(&x, &mut sum);
                let bound = 25.0 * (inner * inner + 1) as f64 * f64::EPSILON;
                for (sum, expected) in sum.iter().zip(&expected) {
                    assert!((sum - expected).abs() <= bound, "{rows}×{inner}×{columns}");
                }
                let mut product = vec![f64::NAN; rows * columns];
                let mut other = product.clone();
                packed.multiply(&x, &mut product);
                transposed.multiply(&x, &mut other);
                assert_eq!(product, other);
                packed.transpose().transpose().multiply(&x, &mut other);
                assert_eq!(product, other);
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let (inner, columns) = (37, 70);
        let packed = Packed::new(&random_values(inner * columns, 1), inner, columns);
        let x = random_values(11 * inner, 2);
        let mut all = vec![0.0; 11 * columns];
        packed.multiply(&x, &mut all);
        for (x, row) in x.chunks_exact(inner).zip(all.chunks_exact(columns)) {
            let mut alone = vec![0.0; columns];
            packed.multiply(x, &mut alone);
            assert_eq!(alone, row);
        }
    }
}
