//! The checks shared by every way of obtaining a data set.

use super::{DataError, DataSet, Split, Table};
use std::path::Path;

/// One of the two splits of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Train,
    Test,
}

impl Part {
    pub(super) const BOTH: [Self; 2] = [Self::Train, Self::Test];

    /// The file name of modality `k` (from 1) in a folder.
    pub(super) fn table_file(self, k: usize) -> String {
        format!("{k}_{}.csv", self.suffix())
    }

    /// The file name of the labels in a folder.
    pub(super) fn labels_file(self) -> String {
        format!("labels_{}.csv", self.suffix())
    }

    /// The array name of modality `k` (from 1) in a bundle.
    pub(super) fn table_array(self, k: usize) -> String {
        format!("{k}.{}", self.name())
    }

    /// The array name of the labels in a bundle.
    pub(super) fn labels_array(self) -> String {
        format!("labels.{}", self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Train => "tr",
            Self::Test => "te",
        }
    }
}

/// Where a data set came from, so that a fault can be reported under the name
/// by which its author knows it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Memory(&'a str),
    Folder(&'a Path),
    Bundle(&'a str),
}

impl Source<'_> {
    fn table(self, part: Part, k: usize) -> String {
        match self {
            Self::Memory(name) => format!("{name} [modality {k}, {}]", part.name()),
            Self::Folder(path) => path.join(part.table_file(k)).display().to_string(),
            Self::Bundle(origin) => format!("{origin} [{}]", part.table_array(k)),
        }
    }

    fn labels(self, part: Part) -> String {
        match self {
            Self::Memory(name) => format!("{name} [labels, {}]", part.name()),
            Self::Folder(path) => path.join(part.labels_file()).display().to_string(),
            Self::Bundle(origin) => format!("{origin} [{}]", part.labels_array()),
        }
    }

    fn split(self, part: Part) -> String {
        match self {
            Self::Memory(name) | Self::Bundle(name) => format!("{name} [{}]", part.name()),
            Self::Folder(path) => format!("{} [{}]", path.display(), part.name()),
        }
    }
}

/// Checks everything that [`DataSet::validate`] promises.
pub(super) fn check(set: &DataSet, source: Source<'_>) -> Result<(), DataError> {
    let count = set.train.modalities.len().max(1);
    for part in Part::BOTH {
        let split = match part {
            Part::Train => &set.train,
            Part::Test => &set.test,
        };
        check_modality_count(split, count, part, source)?;
        check_labels(&split.labels, set.classes.len(), part, source)?;
        for (k, table) in (1..).zip(&split.modalities) {
            check_table(table, k, split.len(), part, source)?;
        }
    }
    check_columns(set, source)
}

fn check_modality_count(
    split: &Split,
    expected: usize,
    part: Part,
    source: Source<'_>,
) -> Result<(), DataError> {
    let found = split.modalities.len();
    if found == expected {
        return Ok(());
    }
    Err(DataError::ModalityCount {
        file: source.split(part),
        found,
        expected,
    })
}

fn check_labels(
    labels: &[usize],
    classes: usize,
    part: Part,
    source: Source<'_>,
) -> Result<(), DataError> {
    if labels.is_empty() {
        return Err(DataError::EmptyFile {
            file: source.labels(part),
        });
    }
    match (1..).zip(labels).find(|(_, &label)| label >= classes) {
        None => Ok(()),
        Some((row, &label)) => Err(DataError::LabelOutOfRange {
            file: source.labels(part),
            row,
            label,
            classes,
        }),
    }
}

fn check_table(
    table: &Table,
    k: usize,
    samples: usize,
    part: Part,
    source: Source<'_>,
) -> Result<(), DataError> {
    let file = || source.table(part, k);
    let (columns, values) = (table.columns, table.values.len());
    if columns == 0 || values % columns != 0 {
        return Err(DataError::TableShape {
            file: file(),
            columns,
            values,
        });
    }
    if table.rows() != samples {
        return Err(DataError::RowCount {
            file: file(),
            rows: table.rows(),
            reference: source.labels(part),
            expected: samples,
        });
    }
    match table.values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(i) => Err(DataError::NotFinite {
            file: file(),
            row: i / columns + 1,
            column: i % columns + 1,
            value: table.values[i],
        }),
    }
}

fn check_columns(set: &DataSet, source: Source<'_>) -> Result<(), DataError> {
    let pairs = set.train.modalities.iter().zip(&set.test.modalities);
    match (1..)
        .zip(pairs)
        .find(|(_, (train, test))| train.columns != test.columns)
    {
        None => Ok(()),
        Some((k, (train, test))) => Err(DataError::ColumnCount {
            file: source.table(Part::Test, k),
            columns: test.columns,
            reference: source.table(Part::Train, k),
            expected: train.columns,
        }),
    }
}
