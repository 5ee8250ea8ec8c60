//! How rows are divided among ranks, and into parts that do not depend on how many ranks there are.

use std::ops::Range;

use super::{Alone, Ranks};
use crate::part::Part;

/// Rows of a chunk of a batch, at least, and chunks of a full batch, at most. Fewer rows would read weights more often than they use them;
/// more chunks than ranks cost time, and ranks more than chunks have nothing to do.
const CHUNK_ROWS: usize = 8;
const CHUNKS: usize = 8;

/// Rows that are evaluated at a time where results must not depend on the number of ranks.
const PIECE_ROWS: usize = 32;

/// The way in which ranks share rows.
#[derive(Clone, Copy)]
pub struct Division<'r> {
    /// The ranks.
    pub ranks: &'r dyn Ranks,
    /// Whether rows are put together in the same parts on any number of ranks: then results have the same bits.
    pub reproducible: bool,
}

/// A part of a batch that a rank works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Its number among the parts of the batch.
    pub number: usize,
    /// Its rows, by their places in the batch.
    pub rows: Range<usize>,
    /// What a pass is told of it; `None` of a batch that is not divided.
    pub part: Option<Part>,
}

impl Division<'static> {
    /// All rows for one process, at once.
    pub fn none() -> Self {
        Self {
            ranks: &Alone,
            reproducible: false,
        }
    }
}

impl Division<'_> {
    /// Whether batches go through a model in parts.
    pub(crate) fn divides(&self) -> bool {
        self.reproducible || self.ranks.are_several()
    }

    /// The parts of a batch of so many rows that this rank works on, where full batches have `batch` rows; and how many parts all ranks have.
    pub(crate) fn chunks(&self, rows: usize, batch: usize) -> (Vec<Chunk>, usize) {
        let chunk = |number, rows: Range<usize>, of| Chunk {
            number,
            part: Some(Part::new(rows.clone(), of)),
            rows,
        };
        if self.reproducible {
            let length = batch.div_ceil(CHUNKS).max(CHUNK_ROWS);
            let all = rows.div_ceil(length);
            let own = self.ranks.share(all);
            let own = own.map(|k| chunk(k, k * length..rows.min((k + 1) * length), rows));
            return (own.collect(), all);
        }
        if !self.ranks.are_several() {
            let whole = Chunk {
                number: 0,
                rows: 0..rows,
                part: None,
            };
            return (vec![whole], 1);
        }
        let own = self.ranks.share(rows);
        let own = (!own.is_empty()).then(|| chunk(self.ranks.rank(), own, rows));
        (own.into_iter().collect(), self.ranks.size())
    }

    /// The rows that this rank evaluates, `at_once` at a time at most.
    pub(crate) fn pieces(&self, rows: usize, at_once: usize) -> Vec<Range<usize>> {
        let split = |all: Range<usize>, length: usize| {
            let (starts, end) = (all.clone().step_by(length), all.end);
            starts.map(move |start| start..end.min(start + length))
        };
        if self.reproducible {
            let all: Vec<_> = split(0..rows, at_once.min(PIECE_ROWS)).collect();
            return all[self.ranks.share(all.len())].to_vec();
        }
        split(self.ranks.share(rows), at_once).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::threads::run;
    use equilibria_core::Error;

    /// What all ranks together work on.
    fn of_all<T: Send>(
        size: usize,
        reproducible: bool,
        own: impl Fn(&Division<'_>) -> Vec<T> + Sync,
    ) -> Vec<T> {
        let each = run::<_, Error>(size, |ranks| {
            Ok(own(&Division {
                ranks,
                reproducible,
            }))
        });
        let each = each.into_iter().map(|own| own.expect("no rank fails"));
        each.flatten().collect()
    }

    #[test]
    fn ranks_have_all_rows_of_a_batch_once_and_in_order() {
        for rows in [1, 2, 7, 8, 64, 65] {
            for size in 1..=5 {
                for reproducible in [false, true] {
                    let chunks = of_all(size, reproducible, |d| d.chunks(rows, 64).0);
                    let places: Vec<usize> =
                        chunks.iter().flat_map(|chunk| chunk.rows.clone()).collect();
                    assert_eq!(places, (0..rows).collect::<Vec<_>>());
                    let pieces = of_all(size, reproducible, |d| d.pieces(rows, 20));
                    assert!(pieces.iter().all(|piece| (1..=20).contains(&piece.len())));
                    let places: Vec<usize> = pieces.into_iter().flatten().collect();
                    assert_eq!(places, (0..rows).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn reproducible_parts_do_not_depend_on_the_number_of_ranks() {
        let chunks = |size| of_all(size, true, |d| d.chunks(65, 64).0);
        let pieces = |size| of_all(size, true, |d| d.pieces(600, 256));
        assert_eq!((chunks(1).len(), pieces(1).len()), (9, 19));
        for size in 2..=9 {
            assert_eq!(chunks(size), chunks(1));
            assert_eq!(pieces(size), pieces(1));
        }
    }

    #[test]
    fn a_batch_that_is_not_divided_is_a_pass_like_any_other() {
        let (chunks, all) = Division::none().chunks(64, 64);
        assert_eq!((chunks[0].part, all), (None, 1));
        assert!(!Division::none().divides());
    }
}
