//! What is to be known of the columns of a table to tell whether one numbers or names the samples, gathered row by row.
//!
//! Memory: for each column that may be an index its numbers, as long as they are whole and none is there twice; nothing else grows with
//! the rows.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The columns of a table, of which an index may be one.
#[derive(Debug)]
pub(super) struct ColumnFacts {
    pub columns: usize,
    pub rows: usize,
    /// By number, from 0: the first two, the last two, and those that are named as an index is.
    watched: BTreeMap<usize, Watched>,
    /// The first column, and the first two.
    pub leading: [Leading; 2],
    /// Of all numbers, as long as some column could be an index.
    hash: DefaultHasher,
    /// Row and column, from 0, of the first number that is none, and what it is.
    pub not_finite: Option<(usize, usize, f64)>,
}

/// A column that may be an index.
#[derive(Debug)]
struct Watched {
    /// Whether all numbers are whole.
    whole: bool,
    /// Whether they count the rows from 0, and from 1.
    counts: [bool; 2],
    /// Their bits, where they are whole, and each is there once.
    distinct: Option<HashSet<u64>>,
}

/// Some first columns.
#[derive(Debug)]
pub(super) struct Leading {
    width: usize,
    /// Whether all numbers are whole.
    pub whole: bool,
    /// Whether they go up, and down, from row to row.
    pub ascends: [bool; 2],
    /// Rows with a number behind them that is not whole.
    pub decimal_rows: usize,
    previous: Vec<f64>,
}

impl ColumnFacts {
    /// Those of a table without rows; `named` are columns that are called as an index is.
    pub fn new(columns: usize, named: &[usize]) -> Self {
        let ends = [0, 1, columns.saturating_sub(2), columns.saturating_sub(1)];
        let watched: BTreeSet<usize> = ends.into_iter().chain(named.iter().copied()).collect();
        let watched = watched.into_iter().filter(|&column| column < columns);
        let new = || Watched {
            whole: true,
            counts: [true; 2],
            distinct: Some(HashSet::new()),
        };
        Self {
            columns,
            rows: 0,
            watched: watched.map(|column| (column, new())).collect(),
            leading: [1, 2].map(|width| Leading {
                width,
                whole: true,
                ascends: [true; 2],
                decimal_rows: 0,
                previous: Vec::new(),
            }),
            hash: DefaultHasher::new(),
            not_finite: None,
        }
    }

    /// Takes the next row into account.
    pub fn see(&mut self, row: &[f64]) {
        let mut open = false;
        for (&column, watched) in &mut self.watched {
            watched.see(self.rows, row[column]);
            open |= watched.distinct.is_some();
        }
        if open {
            // −0 is 0.
            let bits = row.iter().map(|value| (value + 0.0).to_bits());
            bits.for_each(|bits| bits.hash(&mut self.hash));
        }
        self.leading.iter_mut().for_each(|leading| leading.see(row));
        if self.not_finite.is_none() {
            let found = row.iter().position(|value| !value.is_finite());
            self.not_finite = found.map(|column| (self.rows, column, row[column]));
        }
        self.rows += 1;
    }

    /// Whether all numbers of a column are whole.
    pub fn whole(&self, column: usize) -> bool {
        self.watched.get(&column).is_some_and(|own| own.whole)
    }

    /// Whether a column counts the rows from 0 or from 1.
    pub fn counts(&self, column: usize, start: usize) -> bool {
        let own = self.watched.get(&column);
        own.is_some_and(|own| own.counts[start])
    }

    /// The numbers of a column if they are whole and each is there once.
    pub fn distinct(&self, column: usize) -> Option<&HashSet<u64>> {
        self.watched.get(&column)?.distinct.as_ref()
    }

    /// Whether two tables are the same, as far as there are columns that could be an index.
    pub fn same(&self, other: &Self) -> bool {
        self.rows == other.rows
            && self.columns == other.columns
            && self.hash.finish() == other.hash.finish()
    }
}

impl Watched {
    fn see(&mut self, row: usize, value: f64) {
        for (start, counts) in self.counts.iter_mut().enumerate() {
            *counts &= value.to_bits() == ((start + row) as f64).to_bits();
        }
        self.whole &= is_whole(value);
        let distinct = self.distinct.as_mut();
        if distinct.is_some_and(|known| !self.whole || !known.insert(value.to_bits())) {
            self.distinct = None;
        }
    }
}

impl Leading {
    fn see(&mut self, row: &[f64]) {
        let Some((own, behind)) = row.split_at_checked(self.width) else {
            self.whole = false;
            return;
        };
        self.whole &= own.iter().copied().all(is_whole);
        if !self.whole {
            return;
        }
        self.decimal_rows += usize::from(!behind.iter().copied().all(is_whole));
        if !self.previous.is_empty() {
            let mut pairs = self.previous.iter().zip(own);
            let differing = pairs.find(|(a, b)| a.to_bits() != b.to_bits());
            for (ascends, before) in self.ascends.iter_mut().zip([f64::lt, f64::gt]) {
                *ascends &= differing.is_some_and(|(a, b)| before(a, b));
            }
        }
        self.previous.clear();
        self.previous.extend_from_slice(own);
    }
}

fn is_whole(value: f64) -> bool {
    value.fract() == 0.0
}
