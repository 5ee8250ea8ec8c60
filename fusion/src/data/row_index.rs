//! First columns that number or name the samples, which other tools write in front of the features.
//!
//! Such a column would become a feature, and where two modalities name their samples in different orders, rows would be
//! paired that do not belong together. A column that `K_featname.csv` names is a feature.

use super::check::SplitName;
use super::{files, DataError, Table};
use std::collections::HashSet;
use std::path::Path;

/// Rows from which on a coincidence is none, where all modalities agree.
const TELLING: usize = 3;

/// The same for one modality alone.
const TELLING_ALONE: usize = 10;

/// The tables of a folder, each split with its rows as they are in the files.
pub(super) struct Tables<'a> {
    pub folder: &'a Path,
    /// By split, those of modality 1, 2, ….
    pub splits: &'a [(SplitName, &'a [Table])],
}

impl Tables<'_> {
    /// Makes sure that no first column is an index.
    ///
    /// # Errors
    /// [`DataError::RowIndex`].
    pub fn check(&self) -> Result<(), DataError> {
        let modalities = self.splits.first().map_or(0, |(_, tables)| tables.len());
        let all = (1..=modalities).all(|k| self.counts_rows(k, TELLING));
        for &(part, tables) in self.splits {
            for (k, table) in (1..).zip(tables) {
                if all || self.counts_rows(k, TELLING_ALONE) {
                    let problem = "it counts the rows, of each file or of the training and test rows together";
                    return Err(self.refused(part, k, problem.to_owned()));
                }
                let Some(own) = identifiers(table).filter(|_| self.identifies(k)) else {
                    continue;
                };
                for (other, same) in (1..k).zip(tables) {
                    let alike = identifiers(same).is_some_and(|theirs| shared(&own, &theirs));
                    if alike && same.values != table.values && self.identifies(other) {
                        let file = files::shown(self.folder, &part.table_stem(other));
                        let problem =
                            format!("it identifies the samples as column 1 of {file} does, by whole numbers");
                        return Err(self.refused(part, k, problem));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the first columns of modality `k` could identify the samples of every split. A few rows alone tell nothing: they
    /// may differ by chance.
    fn identifies(&self, k: usize) -> bool {
        let tables = self
            .splits
            .iter()
            .filter_map(|(_, tables)| tables.get(k - 1));
        let distinct = tables.clone().all(|table| distinct(table).is_some());
        let enough = self.splits.len() > 1 || tables.clone().all(|t| t.rows() >= TELLING_ALONE);
        distinct && enough && !self.names(k).exists()
    }

    /// Whether the first columns of modality `k` count the rows of each split from 0 or 1, or those of both together in
    /// any order, and there are at least so many rows in a split.
    fn counts_rows(&self, k: usize, least: usize) -> bool {
        let tables = (self.splits.iter()).filter_map(|(_, tables)| tables.get(k - 1));
        let columns: Vec<Vec<f64>> = tables.filter_map(first_column).collect();
        let complete = columns.len() == self.splits.len() && !self.names(k).exists();
        if !complete || columns.iter().map(Vec::len).max().unwrap_or(0) < least {
            return false;
        }
        let counts = |column: &Vec<f64>, start: usize| {
            (start..)
                .zip(column)
                .all(|(row, &value)| value.to_bits() == (row as f64).to_bits())
        };
        let each = |start| columns.iter().all(|column| counts(column, start));
        let mut together = columns.concat();
        together.sort_by(f64::total_cmp);
        [0, 1]
            .into_iter()
            .any(|start| each(start) || counts(&together, start))
    }

    fn names(&self, k: usize) -> std::path::PathBuf {
        self.folder.join(format!("{k}_featname.csv"))
    }

    fn refused(&self, part: SplitName, k: usize, problem: String) -> DataError {
        DataError::RowIndex {
            file: files::shown(self.folder, &part.table_stem(k)),
            problem,
            names: format!("{k}_featname.csv"),
        }
    }
}

/// The first column of a table that has more. Ranks could identify samples, too, but the next column has the same ones:
/// they give `None`.
fn first_column(table: &Table) -> Option<Vec<f64>> {
    if table.columns < 2 {
        return None;
    }
    let column = |j: usize| (0..table.rows()).map(move |row| table.row(row)[j]);
    let numbers = |j: usize| column(j).map(f64::to_bits).collect::<HashSet<u64>>();
    let ranks = table.rows() >= TELLING && numbers(0) == numbers(1);
    (!ranks).then(|| column(0).collect())
}

/// The numbers of a first column if they are whole and each stands there once.
fn distinct(table: &Table) -> Option<HashSet<u64>> {
    let column = first_column(table)?;
    let whole = column.iter().all(|value| value.fract() == 0.0);
    let distinct: HashSet<u64> = column.iter().map(|value| value.to_bits()).collect();
    (whole && distinct.len() == column.len()).then_some(distinct)
}

/// The numbers of a first column that could identify samples.
fn identifiers(table: &Table) -> Option<HashSet<u64>> {
    distinct(table).filter(|numbers| numbers.len() >= TELLING)
}

/// Whether two columns identify the same samples, or most of them where there are many.
fn shared(own: &HashSet<u64>, theirs: &HashSet<u64>) -> bool {
    let common = own.intersection(theirs).count();
    own == theirs || own.len() >= TELLING_ALONE && 2 * common > own.len().max(theirs.len())
}
