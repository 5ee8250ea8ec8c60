//! Reproducible choices of rows.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::SeedableRng;
use std::collections::BTreeMap;

/// Divides rows into `(kept, held_out)`, class by class; both are sorted.
///
/// Of a class with n rows, `fraction * n` rows are held out, rounded to the
/// nearest whole number, with two exceptions: one row of every class stays in
/// training, and a class with two rows or more always gives at least one when
/// `fraction > 0`. A fraction above 1 counts as 1; one that is negative or
/// NaN counts as 0. The result depends on `labels`, `fraction` and `seed` only.
pub fn stratified_holdout(labels: &[usize], fraction: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut by_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (row, &label) in labels.iter().enumerate() {
        by_class.entry(label).or_default().push(row);
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut kept, mut held_out) = (Vec::new(), Vec::new());
    for mut rows in by_class.into_values() {
        rows.shuffle(&mut rng);
        let (out, stay) = rows.split_at(holdout_size(rows.len(), fraction));
        held_out.extend_from_slice(out);
        kept.extend_from_slice(stay);
    }
    kept.sort_unstable();
    held_out.sort_unstable();
    (kept, held_out)
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
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut epoch_rng(seed, epoch));
    let mut batches: Vec<Vec<usize>> = order.chunks(batch.max(1)).map(<[_]>::to_vec).collect();
    if batch > 1 && batches.len() > 1 && rows % batch == 1 {
        let single = batches.pop().unwrap_or_default();
        if let Some(last) = batches.last_mut() {
            last.extend(single);
        }
    }
    batches
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
