//! Reproducible choices of rows.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::SeedableRng;
use std::collections::BTreeMap;
use std::ops::Range;

/// Divides rows into `(kept, held_out)`, class by class; both are sorted.
///
/// Of a class with n rows, `fraction * n` rows are held out, rounded to the
/// nearest whole number, with two exceptions: one row of every class stays in
/// training, and a class with two rows or more always gives at least one when
/// `fraction > 0`. A fraction above 1 counts as 1; one that is negative or
/// NaN counts as 0. The result depends on `labels`, `fraction` and `seed` only.
pub fn stratified_holdout(labels: &[usize], fraction: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let held_out = held_out(labels.iter().copied(), fraction, seed);
    (all_but(labels.len(), &held_out).collect(), held_out)
}

/// The first so many rows but some, which ascend.
pub(super) fn all_but(rows: usize, without: &[usize]) -> impl Iterator<Item = usize> + '_ {
    let mut without = without.iter().copied().peekable();
    (0..rows).filter(move |row| without.next_if_eq(row).is_none())
}

/// The rows that [`stratified_holdout`] holds out, for labels that need not be in memory. While it is at work it takes 4 bytes for each
/// row, 8 beyond 2³².
pub fn held_out(labels: impl Iterator<Item = usize>, fraction: f64, seed: u64) -> Vec<usize> {
    if fraction.is_nan() || fraction <= 0.0 {
        return Vec::new();
    }
    let mut by_class: BTreeMap<usize, RowNumbers> = BTreeMap::new();
    for (row, label) in labels.enumerate() {
        by_class.entry(label).or_default().push(row);
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut held_out = Vec::new();
    for mut rows in by_class.into_values() {
        rows.shuffle(&mut rng);
        held_out.extend(rows.range(0..holdout_size(rows.len(), fraction)));
    }
    held_out.sort_unstable();
    held_out
}

/// Numbers of rows, in half the memory where they allow it.
#[derive(Debug, Clone)]
enum RowNumbers {
    Narrow(Vec<u32>),
    Wide(Vec<usize>),
}

impl Default for RowNumbers {
    fn default() -> Self {
        Self::Narrow(Vec::new())
    }
}

impl RowNumbers {
    /// Those below `rows`.
    fn below(rows: usize) -> Self {
        match u32::try_from(rows) {
            Ok(rows) => Self::Narrow((0..rows).collect()),
            Err(_) => Self::Wide((0..rows).collect()),
        }
    }

    fn push(&mut self, row: usize) {
        match (&mut *self, u32::try_from(row)) {
            (Self::Narrow(rows), Ok(row)) => rows.push(row),
            (Self::Narrow(rows), Err(_)) => {
                let earlier = rows.iter().map(|&row| row as usize);
                *self = Self::Wide(earlier.chain([row]).collect());
            }
            (Self::Wide(rows), _) => rows.push(row),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Narrow(rows) => rows.len(),
            Self::Wide(rows) => rows.len(),
        }
    }

    /// The order does not depend on how the numbers are kept.
    fn shuffle(&mut self, rng: &mut StdRng) {
        match self {
            Self::Narrow(rows) => rows.shuffle(rng),
            Self::Wide(rows) => rows.shuffle(rng),
        }
    }

    fn range(&self, places: Range<usize>) -> Vec<usize> {
        match self {
            Self::Narrow(rows) => rows[places].iter().map(|&row| row as usize).collect(),
            Self::Wide(rows) => rows[places].to_vec(),
        }
    }
}

fn holdout_size(rows: usize, fraction: f64) -> usize {
    if rows < 2 || fraction.is_nan() || fraction <= 0.0 {
        return 0;
    }
    ((fraction * rows as f64).round() as usize).clamp(1, rows - 1)
}

/// Shuffles the rows `0..rows` and divides them into batches of `batch` rows.
///
/// The last batch holds what is left. A single row left over joins the batch
/// before it, because batch statistics need two rows; a `batch` of 1 asks for
/// single rows and gets them. A `batch` of 0 counts as 1. The result depends on
/// the arguments only, and each `epoch` has its own order.
pub fn batches(rows: usize, batch: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    Batches::new(rows, batch, seed, epoch).iter().collect()
}

/// The batches of an epoch as of [`batches`], each made when it is asked for: 4 bytes of memory for each row, 8 beyond 2³².
#[derive(Debug, Clone)]
pub struct Batches {
    order: RowNumbers,
    batch: usize,
    len: usize,
}

impl Batches {
    /// Those of an epoch.
    pub fn new(rows: usize, batch: usize, seed: u64, epoch: u64) -> Self {
        let mut order = RowNumbers::below(rows);
        order.shuffle(&mut epoch_rng(seed, epoch));
        let batch = batch.max(1);
        let len = rows.div_ceil(batch);
        // A single row joins the batch before it.
        let joined = batch > 1 && len > 1 && rows % batch == 1;
        Self {
            order,
            batch,
            len: len - usize::from(joined),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The rows of one, counted from 0; `None` where there is none.
    pub fn get(&self, index: usize) -> Option<Vec<usize>> {
        let start = index * self.batch;
        let end = match index + 1 == self.len {
            true => self.order.len(),
            false => start + self.batch,
        };
        (index < self.len).then(|| self.order.range(start..end))
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = Vec<usize>> + '_ {
        (0..self.len).filter_map(|index| self.get(index))
    }
}

/// Both numbers go into the key unmixed, so that no two pairs can collide.
fn epoch_rng(seed: u64, epoch: u64) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    StdRng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted_union(parts: &[&[usize]]) -> Vec<usize> {
        let mut all = parts.concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn holdout_is_a_stratified_partition() {
        // 40 rows of class 0, 10 of class 1, 2 of class 2 and 1 of class 3.
        let labels: Vec<usize> = [(0, 40), (1, 10), (2, 2), (3, 1)]
            .into_iter()
            .flat_map(|(class, rows)| vec![class; rows])
            .collect();
        let (kept, held_out) = stratified_holdout(&labels, 0.25, 3);
        assert!(kept.is_sorted() && held_out.is_sorted());
        let all: Vec<usize> = (0..labels.len()).collect();
        assert_eq!(sorted_union(&[&kept, &held_out]), all);
        // round(10) = 10, round(2.5) = 3, round(0.5) = 1 and a lone row stays.
        let held = |class| held_out.iter().filter(|&&row| labels[row] == class).count();
        assert_eq!([held(0), held(1), held(2), held(3)], [10, 3, 1, 0]);

        assert_eq!(
            stratified_holdout(&labels, 0.25, 3),
            (kept, held_out.clone())
        );
        assert_ne!(stratified_holdout(&labels, 0.25, 4).1, held_out);
    }

    #[test]
    fn numbers_of_rows_are_the_same_in_half_the_memory() {
        let mut narrow = RowNumbers::below(1000);
        let mut wide = RowNumbers::Wide((0..1000).collect());
        assert!(matches!(narrow, RowNumbers::Narrow(_)));
        narrow.shuffle(&mut epoch_rng(3, 1));
        wide.shuffle(&mut epoch_rng(3, 1));
        assert_eq!(narrow.range(0..1000), wide.range(0..1000));
        let mut grown = RowNumbers::Narrow(vec![7]);
        grown.push(1 << 40);
        assert!(matches!(grown, RowNumbers::Wide(_)));
        assert_eq!(grown.range(0..2), [7, 1 << 40]);
    }

    #[test]
    fn holdout_sizes_keep_their_limits() {
        assert_eq!(holdout_size(100, 0.001), 1);
        assert_eq!(holdout_size(2, 0.01), 1);
        assert_eq!(holdout_size(5, 1.0), 4);
        assert_eq!(holdout_size(5, f64::INFINITY), 4);
        assert_eq!(holdout_size(1, 0.9), 0);
        for nothing in [0.0, -1.0, f64::NAN] {
            assert_eq!(holdout_size(5, nothing), 0);
        }
    }

    #[test]
    fn batches_partition_the_rows() {
        let sizes = |rows, batch| -> Vec<usize> {
            let batches = batches(rows, batch, 1, 0);
            let all: Vec<usize> = (0..rows).collect();
            let parts: Vec<&[usize]> = batches.iter().map(Vec::as_slice).collect();
            assert_eq!(sorted_union(&parts), all);
            batches.iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(10, 4), [4, 4, 2]);
        assert_eq!(sizes(9, 4), [4, 5]);
        assert_eq!(sizes(8, 4), [4, 4]);
        assert_eq!(sizes(3, 1), [1, 1, 1]);
        assert_eq!(sizes(2, 0), [1, 1]);
        assert_eq!(sizes(1, 4), [1]);
        assert!(sizes(0, 4).is_empty());
    }

    #[test]
    fn batches_depend_on_seed_and_epoch_only() {
        assert_eq!(batches(50, 8, 1, 2), batches(50, 8, 1, 2));
        assert_ne!(batches(50, 8, 1, 2), batches(50, 8, 1, 3));
        assert_ne!(batches(50, 8, 1, 2), batches(50, 8, 2, 1));
    }
}
