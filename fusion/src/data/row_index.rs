//! Columns that number or name the samples, which other tools write beside the features.
//!
//! Such a column would become a feature, and where two modalities name their samples in different orders, rows would be
//! paired that do not belong together. A column that `K_featname.csv` names is a feature, unless its name is that of an index.

use super::check::SplitName;
use super::{files, index_names, DataError, Table};
use std::collections::{BTreeMap, HashSet};
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
    /// The names of columns, by modality, where they are known.
    pub names: &'a BTreeMap<usize, Vec<String>>,
}

impl Tables<'_> {
    /// Makes sure that no column is an index.
    ///
    /// # Errors
    /// [`DataError::RowIndex`].
    pub fn check(&self) -> Result<(), DataError> {
        let modalities = self.splits.first().map_or(0, |(_, tables)| tables.len());
        (1..=modalities).try_for_each(|k| self.check_names(k))?;
        let all = (1..=modalities).all(|k| self.counts_rows(k, 0, TELLING));
        for &(part, tables) in self.splits {
            for (k, table) in (1..).zip(tables) {
                let counting = [0, 1, table.columns.saturating_sub(1)];
                let mut counting = counting
                    .into_iter()
                    .filter(|&column| column < table.columns);
                let counts = |&column: &usize| {
                    all && column == 0
                        || self.counts_rows(k, column, TELLING_ALONE)
                            && (column == 0 || !self.names.contains_key(&k))
                };
                if let Some(column) = counting.find(counts) {
                    let problem = "it counts the rows, of each file or of the training and test rows together";
                    return Err(self.refused((part, k), column, problem.to_owned()));
                }
                for (other, same) in (1..k).zip(tables) {
                    for column in columns(table) {
                        let theirs = columns(same).find(|&theirs| {
                            self.identify((k, column, table), (other, theirs, same))
                        });
                        if let Some(theirs) = theirs {
                            let file = files::shown(self.folder, &part.table_stem(other));
                            let problem = format!(
                                "it identifies the samples as column {} of {file} does, by whole numbers",
                                theirs + 1
                            );
                            return Err(self.refused((part, k), column, problem));
                        }
                    }
                }
            }
        }
        let Some((part, _)) = self.splits.first() else {
            return Ok(());
        };
        match (1..=modalities).find(|&k| self.ascends(k)) {
            None => Ok(()),
            Some(k) => {
                let problem = "its whole numbers go up or down from row to row, beside decimals in the other columns, as a row \
                               index does";
                Err(self.refused((*part, k), 0, problem.to_owned()))
            }
        }
    }

    /// The tables of modality `k`.
    fn tables(&self, k: usize) -> impl Iterator<Item = (SplitName, &Table)> + Clone + '_ {
        let splits = self.splits.iter();
        splits.filter_map(move |&(part, tables)| Some((part, tables.get(k - 1)?)))
    }

    /// Refuses columns that are called as an index is.
    fn check_names(&self, k: usize) -> Result<(), DataError> {
        for (column, name) in self.names.get(&k).into_iter().flatten().enumerate() {
            let Some(kind) = index_names::kind(name) else {
                continue;
            };
            let has = |test: fn(&[f64]) -> bool| {
                (self.tables(k))
                    .all(|(_, table)| column < table.columns && test(&values(table, column)))
            };
            let index = match kind {
                index_names::Kind::Unnamed => true,
                index_names::Kind::Index => has(whole),
                index_names::Kind::Identifier => {
                    has(|values| whole(values) && all_different(values))
                }
            };
            let Some((part, _)) = self.tables(k).next().filter(|_| index) else {
                continue;
            };
            return Err(DataError::RowIndex {
                file: files::shown(self.folder, &part.table_stem(k)),
                column: column + 1,
                problem: format!("it is called {name:?}, as what numbers or names the samples is"),
                otherwise: "give it another name".to_owned(),
            });
        }
        Ok(())
    }

    /// Whether the first column of modality `k`, or the first two as they stand, hold whole numbers that go up, or down, in
    /// all rows of each split, beside columns of decimals.
    fn ascends(&self, k: usize) -> bool {
        if self.names.contains_key(&k)
            || self
                .tables(k)
                .all(|(_, table)| table.rows() < TELLING_ALONE)
        {
            return false;
        }
        (1..=2).any(|width| {
            self.tables(k).all(|(_, table)| {
                let rows = || (0..table.rows()).map(|row| table.row(row));
                table.columns > width
                    && rows().all(|row| whole(&row[..width]))
                    && rows().filter(|row| !whole(&row[width..])).count() * 2 > table.rows()
            }) && [f64::lt, f64::gt].iter().any(|before| {
                self.tables(k).all(|(_, table)| {
                    (1..table.rows()).all(|row| {
                        let (row, next) = (&table.row(row - 1)[..width], &table.row(row)[..width]);
                        let differing = row
                            .iter()
                            .zip(next)
                            .find(|(a, b)| a.to_bits() != b.to_bits());
                        differing.is_some_and(|(a, b)| before(a, b))
                    })
                })
            })
        })
    }

    /// Whether two columns, each of a modality, identify the same samples, in tables that differ.
    fn identify(
        &self,
        (k, column, table): (usize, usize, &Table),
        (other, theirs, same): (usize, usize, &Table),
    ) -> bool {
        let (Some(own), Some(numbers)) = (distinct(table, column), distinct(same, theirs)) else {
            return false;
        };
        // In front a few rows tell; elsewhere many.
        let front = column == 0 && theirs == 0;
        let least = if front { TELLING } else { TELLING_ALONE };
        own.len().min(numbers.len()) >= least
            && shared(&own, &numbers)
            && same.values != table.values
            && self.identifies(k, column)
            && self.identifies(other, theirs)
    }

    /// Whether a column of modality `k` could identify the samples of every split. A few rows alone tell nothing: they may
    /// differ by chance.
    fn identifies(&self, k: usize, column: usize) -> bool {
        let mut tables = self.tables(k).map(|(_, table)| table);
        let enough =
            self.splits.len() > 1 || tables.clone().all(|table| table.rows() >= TELLING_ALONE);
        let named = self.listed(k) || column > 0 && self.names.contains_key(&k);
        enough && !named && tables.all(|table| distinct(table, column).is_some())
    }

    /// Whether a column of modality `k` counts the rows of each split from 0 or 1, or those of both together in any order, and
    /// there are at least so many rows in a split.
    fn counts_rows(&self, k: usize, column: usize, least: usize) -> bool {
        let columns = self
            .tables(k)
            .filter_map(|(_, table)| column_of(table, column));
        let columns: Vec<Vec<f64>> = columns.collect();
        let complete = columns.len() == self.splits.len() && !self.listed(k);
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

    /// Whether `K_featname.csv` names the columns.
    fn listed(&self, k: usize) -> bool {
        files::there(&self.folder.join(format!("{k}_featname.csv")))
    }

    fn refused(&self, (part, k): (SplitName, usize), column: usize, problem: String) -> DataError {
        refused(self.folder, part, k, column, problem)
    }
}

/// The error for a column, from 0, of modality `k`, from 1.
pub(super) fn refused(
    folder: &Path,
    part: SplitName,
    k: usize,
    column: usize,
    problem: String,
) -> DataError {
    DataError::RowIndex {
        file: files::shown(folder, &part.table_stem(k)),
        column: column + 1,
        problem,
        otherwise: format!("name it in {k}_featname.csv"),
    }
}

/// A column of a table that has more. Ranks could identify samples, too, but the next column has the same ones: they give
/// `None`.
fn column_of(table: &Table, column: usize) -> Option<Vec<f64>> {
    if table.columns < 2 || column >= table.columns {
        return None;
    }
    let beside = if column == 0 { 1 } else { column - 1 };
    let numbers = |column| bits(&values(table, column));
    let ranks = table.rows() >= TELLING && numbers(column) == numbers(beside);
    (!ranks).then(|| values(table, column))
}

fn values(table: &Table, column: usize) -> Vec<f64> {
    (0..table.rows())
        .map(|row| table.row(row)[column])
        .collect()
}

fn bits(values: &[f64]) -> HashSet<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn whole(values: &[f64]) -> bool {
    values.iter().all(|value| value.fract() == 0.0)
}

fn all_different(values: &[f64]) -> bool {
    bits(values).len() == values.len()
}

/// The columns in which an index stands: the first, the second, and the last.
fn columns(table: &Table) -> impl Iterator<Item = usize> {
    let last = table.columns.saturating_sub(1);
    let columns = if last > 1 {
        vec![0, 1, last]
    } else {
        vec![0, 1]
    };
    columns.into_iter().filter(move |&column| column <= last)
}

/// The numbers of a column if they are whole and each stands there once.
fn distinct(table: &Table, column: usize) -> Option<HashSet<u64>> {
    let column = column_of(table, column)?;
    (whole(&column) && all_different(&column)).then(|| bits(&column))
}

/// Whether two columns identify the same samples, or most of them where there are many.
fn shared(own: &HashSet<u64>, theirs: &HashSet<u64>) -> bool {
    let common = own.intersection(theirs).count();
    own == theirs || own.len() >= TELLING_ALONE && 2 * common > own.len().max(theirs.len())
}
