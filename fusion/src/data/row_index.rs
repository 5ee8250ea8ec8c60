//! Columns that number or name the samples, which other tools write beside the features.
//!
//! Such a column would become a feature, and where two modalities name their samples in different orders, rows would be
//! paired that do not belong together. A column that `K_featname.csv` names is a feature, unless its name is that of an index.

use super::check::SplitName;
use super::column_facts::ColumnFacts;
use super::{files, index_names, DataError};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Rows from which on a coincidence is none, where all modalities agree.
const TELLING: usize = 3;

/// The same for one modality alone.
const TELLING_ALONE: usize = 10;

/// The tables of a folder, each split with its rows as they are in the files.
pub(super) struct Tables<'a> {
    pub folder: &'a Path,
    /// By split, what is known of modality 1, 2, ….
    pub splits: &'a [(SplitName, Vec<ColumnFacts>)],
    /// The names of columns, by modality, where they are known.
    pub names: &'a BTreeMap<usize, Vec<String>>,
}

/// The columns, from 0, that may be an index by their names.
pub(super) fn named(names: &[String]) -> Vec<usize> {
    let columns = names.iter().enumerate();
    columns
        .filter(|(_, name)| index_names::kind(name).is_some())
        .map(|(column, _)| column)
        .collect()
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
        for (part, tables) in self.splits {
            let part = *part;
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
    fn tables(&self, k: usize) -> impl Iterator<Item = (SplitName, &ColumnFacts)> + Clone + '_ {
        let splits = self.splits.iter();
        splits.filter_map(move |(part, tables)| Some((*part, tables.get(k - 1)?)))
    }

    /// Refuses columns that are called as an index is.
    fn check_names(&self, k: usize) -> Result<(), DataError> {
        for (column, name) in self.names.get(&k).into_iter().flatten().enumerate() {
            let Some(kind) = index_names::kind(name) else {
                continue;
            };
            let mut tables = self.tables(k).map(|(_, table)| table);
            let index = match kind {
                index_names::Kind::Unnamed => true,
                index_names::Kind::Index => tables.all(|table| table.whole(column)),
                index_names::Kind::Identifier => {
                    tables.all(|table| table.distinct(column).is_some())
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
        let few = |(_, table): (_, &ColumnFacts)| table.rows < TELLING_ALONE;
        if self.names.contains_key(&k) || self.tables(k).all(few) {
            return false;
        }
        (0..2).any(|width| {
            let leading = |direction: Option<usize>| {
                self.tables(k).all(|(_, table)| {
                    let own = &table.leading[width];
                    match direction {
                        Some(direction) => own.ascends[direction],
                        None => {
                            table.columns > width + 1
                                && own.whole
                                && own.decimal_rows * 2 > table.rows
                        }
                    }
                })
            };
            leading(None) && (leading(Some(0)) || leading(Some(1)))
        })
    }

    /// Whether two columns, each of a modality, identify the same samples, in tables that differ.
    fn identify(
        &self,
        (k, column, table): (usize, usize, &ColumnFacts),
        (other, theirs, same): (usize, usize, &ColumnFacts),
    ) -> bool {
        let (Some(own), Some(numbers)) = (distinct(table, column), distinct(same, theirs)) else {
            return false;
        };
        // In front a few rows tell; elsewhere many.
        let front = column == 0 && theirs == 0;
        let least = if front { TELLING } else { TELLING_ALONE };
        own.len().min(numbers.len()) >= least
            && shared(own, numbers)
            && !same.same(table)
            && self.identifies(k, column)
            && self.identifies(other, theirs)
    }

    /// Whether a column of modality `k` could identify the samples of every split. A few rows alone tell nothing: they may
    /// differ by chance.
    fn identifies(&self, k: usize, column: usize) -> bool {
        let mut tables = self.tables(k).map(|(_, table)| table);
        let enough =
            self.splits.len() > 1 || tables.clone().all(|table| table.rows >= TELLING_ALONE);
        let named = self.listed(k) || column > 0 && self.names.contains_key(&k);
        enough && !named && tables.all(|table| distinct(table, column).is_some())
    }

    /// Whether a column of modality `k` counts the rows of each split from 0 or 1, or those of both together in any order, and
    /// there are at least so many rows in a split.
    fn counts_rows(&self, k: usize, column: usize, least: usize) -> bool {
        let tables = || self.tables(k).map(|(_, table)| table);
        let columns: Vec<&HashSet<u64>> = tables()
            .filter_map(|table| distinct(table, column))
            .collect();
        let complete = columns.len() == self.splits.len() && !self.listed(k);
        if !complete || columns.iter().map(|own| own.len()).max().unwrap_or(0) < least {
            return false;
        }
        let each = |start| tables().all(|table| table.counts(column, start));
        let total: usize = columns.iter().map(|own| own.len()).sum();
        let together: HashSet<u64> = columns.iter().flat_map(|own| own.iter().copied()).collect();
        let all = |start: usize| {
            let mut numbers = (start..start + total).map(|number| (number as f64).to_bits());
            together.len() == total && numbers.all(|number| together.contains(&number))
        };
        [0, 1].into_iter().any(|start| each(start) || all(start))
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

/// The columns in which an index stands: the first, the second, and the last.
fn columns(table: &ColumnFacts) -> impl Iterator<Item = usize> {
    let last = table.columns.saturating_sub(1);
    let columns = if last > 1 {
        vec![0, 1, last]
    } else {
        vec![0, 1]
    };
    columns.into_iter().filter(move |&column| column <= last)
}

/// The numbers of a column of a table that has more, if they are whole and each stands there once. Ranks could identify samples, too,
/// but the next column has the same ones: they give `None`.
fn distinct(table: &ColumnFacts, column: usize) -> Option<&HashSet<u64>> {
    if table.columns < 2 || column >= table.columns {
        return None;
    }
    let beside = if column == 0 { 1 } else { column - 1 };
    let own = table.distinct(column)?;
    let ranks = table.rows >= TELLING && table.distinct(beside) == Some(own);
    (!ranks).then_some(own)
}

/// Whether two columns identify the same samples, or most of them where there are many.
fn shared(own: &HashSet<u64>, theirs: &HashSet<u64>) -> bool {
    let common = own.intersection(theirs).count();
    own == theirs || own.len() >= TELLING_ALONE && 2 * common > own.len().max(theirs.len())
}
