//! The data set itself: tables, splits and class names.

use super::cell::shown;
use super::check::{check, Source, SplitName};
use super::{DataError, Targets};
use std::collections::HashSet;

/// One modality of one split: a matrix of samples by features.
///
/// Values are in the units of the source until
/// [`MinMax::apply`](super::MinMax::apply) makes them dimensionless.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Name of the modality, for people.
    pub name: String,
    /// Number of features per sample.
    pub columns: usize,
    /// `rows() * columns` values, row after row.
    pub values: Vec<f64>,
}

impl Table {
    /// Number of samples (0 for a table without columns).
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// The `columns` features of sample `i`, counted from 0.
    ///
    /// # Panics
    ///
    /// Panics if `i` is not below [`rows`](Self::rows).
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.columns..(i + 1) * self.columns]
    }

    /// The given samples, in the given order; as [`Split::select`].
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.columns);
        rows.iter()
            .for_each(|&i| values.extend_from_slice(self.row(i)));
        Self {
            name: self.name.clone(),
            columns: self.columns,
            values,
        }
    }
}

/// A set of samples with what is to be predicted of them.
///
/// Row `i` of every modality and of the targets describe the same sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// One table per modality, each with [`len`](Self::len) rows.
    pub modalities: Vec<Table>,
    /// What is to be predicted of each sample.
    pub targets: Targets,
}

impl Split {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The given samples, in the given order; rows are counted from 0 and may
    /// repeat.
    ///
    /// # Panics
    ///
    /// Panics if a row is not below [`len`](Self::len).
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            modalities: self.modalities.iter().map(|t| t.select(rows)).collect(),
            targets: self.targets.select(rows),
        }
    }
}

/// A labeled multimodal data set with a fixed test split.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSet {
    /// Name of the data set.
    pub name: String,
    /// Names of the classes or, where samples have several, of the labels; none where a number is to be predicted.
    pub classes: Vec<String>,
    /// Samples to learn from; validation samples are taken from here.
    pub train: Split,
    /// Samples for the final evaluation only.
    pub test: Split,
}

impl DataSet {
    /// The same samples with some of the modalities only, numbered from 1, in the given order.
    ///
    /// # Errors
    ///
    /// [`DataError::Selection`] for a number that is not there or is given twice, or if there is none.
    pub fn with_modalities(mut self, selection: &[usize]) -> Result<Self, DataError> {
        for split in [&mut self.train, &mut self.test] {
            split.modalities = select_modalities(&split.modalities, selection)?;
        }
        Ok(self)
    }

    /// Checks that the parts fit together: both splits have at least one row
    /// and the same modalities with equal columns, targets of the same kind in
    /// both, every modality has one row per target, every value is finite,
    /// every label names a class, and the names of classes differ from each
    /// other and from the other headings of predictions.
    ///
    /// # Errors
    ///
    /// The first fault found, naming the modality and, where there is one, the
    /// row and column.
    pub fn validate(&self) -> Result<(), DataError> {
        check(self, Source::Memory(&self.name))
    }

    /// One of the two splits.
    pub fn split(&self, part: SplitName) -> &Split {
        match part {
            SplitName::Train => &self.train,
            SplitName::Test => &self.test,
        }
    }
}

/// Warns of classes that no training sample has, e.g. class 0 where labels run from 1, and of a single one.
pub(super) fn warn_of_unused_classes(data: &str, classes: &[String], used: &HashSet<usize>) {
    let unused: Vec<&str> = (classes.iter().enumerate())
        .filter(|(class, _)| !used.contains(class))
        .map(|(_, name)| name.as_str())
        .collect();
    if classes.len() - unused.len() == 1 {
        log::warn!("{data}: all training samples are of one class, so there is nothing to learn");
    } else if !unused.is_empty() {
        let unused = shown(&unused.join(", "));
        log::warn!(
            "{data}: no training sample is of the classes {unused}, which can never be predicted; class numbers begin with 0"
        );
    }
}

/// Some of the modalities, numbered from 1, in the given order.
///
/// # Errors
///
/// [`DataError::Selection`] for a number that is not there or is given twice, or if there is none.
pub fn select_modalities<M: Clone>(all: &[M], selection: &[usize]) -> Result<Vec<M>, DataError> {
    let refused = || DataError::Selection {
        selection: selection.to_vec(),
        count: all.len(),
    };
    let mut distinct = selection.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    if selection.is_empty() || distinct.len() < selection.len() {
        return Err(refused());
    }
    let modality = |&k: &usize| all.get(k.checked_sub(1)?).cloned();
    let chosen: Option<Vec<M>> = selection.iter().map(modality).collect();
    chosen.ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_order() {
        let table = Table {
            name: "a".into(),
            columns: 2,
            values: vec![1.0, 2.0, 3.0, 4.0],
        };
        assert_eq!(table.rows(), 2);
        assert_eq!(table.row(1), [3.0, 4.0]);
    }

    #[test]
    fn a_table_without_columns_has_no_rows() {
        let table = Table {
            name: String::new(),
            columns: 0,
            values: Vec::new(),
        };
        assert_eq!(table.rows(), 0);
    }

    #[test]
    fn modalities_are_chosen_by_number() {
        let table = |name: &str| Table {
            name: name.into(),
            columns: 1,
            values: vec![1.0],
        };
        let split = Split {
            modalities: vec![table("a"), table("b"), table("c")],
            targets: Targets::Classes(vec![0]),
        };
        let set = DataSet {
            name: "set".into(),
            classes: vec!["0".into()],
            train: split.clone(),
            test: split,
        };
        let chosen = set
            .clone()
            .with_modalities(&[3, 1])
            .expect("both are there");
        let names = |split: &Split| {
            split
                .modalities
                .iter()
                .map(|t| t.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&chosen.train), ["c", "a"]);
        assert_eq!(names(&chosen.test), ["c", "a"]);
        for wrong in [&[][..], &[0], &[4], &[2, 2]] {
            let error = set.clone().with_modalities(wrong).expect_err("refused");
            assert!(
                matches!(error, DataError::Selection { count: 3, .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn selection_keeps_order_and_repeats() {
        let split = Split {
            modalities: vec![Table {
                name: "a".into(),
                columns: 1,
                values: vec![10.0, 11.0, 12.0],
            }],
            targets: Targets::Classes(vec![0, 1, 2]),
        };
        let picked = split.select(&[2, 0, 2]);
        assert_eq!(picked.targets, Targets::Classes(vec![2, 0, 2]));
        assert_eq!(picked.modalities[0].values, [12.0, 10.0, 12.0]);
        assert!(split.select(&[]).is_empty());
    }
}
