//! The checks shared by every way of obtaining a data set.

use super::{
    files, Answers, Boxes, BoxesError, DataError, DataSet, LabelSets, Split, Table, TargetKind,
    Targets,
};
use std::collections::HashSet;
use std::fmt;
use std::path::Path;

/// Headings of predictions beside the classes.
const HEADINGS: [&str; 5] = [
    "row",
    "predicted",
    "status",
    "evaluations",
    "relative_residual",
];

/// One of the two splits of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitName {
    /// Samples to learn from.
    Train,
    /// Samples for the final evaluation.
    Test,
}

impl SplitName {
    /// Both splits.
    pub const BOTH: [Self; 2] = [Self::Train, Self::Test];

    /// The file name of modality `k` (from 1) in a folder, without its ending.
    pub(super) fn table_stem(self, k: usize) -> String {
        format!("{k}_{}", self.suffix())
    }

    /// The file name of the targets in a folder, without its ending.
    pub(super) fn targets_stem(self, kind: TargetKind) -> String {
        format!("{}_{}", kind.stem(), self.suffix())
    }

    /// The array name of modality `k` (from 1) in a bundle.
    pub(super) fn table_array(self, k: usize) -> String {
        format!("{k}.{}", self.name())
    }

    /// The array name of the targets in a bundle.
    pub(super) fn targets_array(self, kind: TargetKind) -> String {
        format!("{}.{}", kind.stem(), self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }

    /// How the split is called in the file names of a folder.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Train => "tr",
            Self::Test => "te",
        }
    }
}

impl fmt::Display for SplitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
    pub(super) fn table(self, part: SplitName, k: usize) -> String {
        match self {
            Self::Memory(name) => format!("{name} [modality {k}, {}]", part.name()),
            Self::Folder(path) => files::shown(path, &part.table_stem(k)),
            Self::Bundle(origin) => format!("{origin} [{}]", part.table_array(k)),
        }
    }

    pub(super) fn targets(self, part: SplitName, kind: TargetKind) -> String {
        match self {
            Self::Memory(name) => format!("{name} [{}, {}]", kind.stem(), part.name()),
            Self::Folder(path) => files::shown(path, &part.targets_stem(kind)),
            Self::Bundle(origin) => format!("{origin} [{}]", part.targets_array(kind)),
        }
    }

    fn classes(self) -> String {
        match self {
            Self::Memory(name) | Self::Bundle(name) => format!("{name} [classes]"),
            Self::Folder(path) => match path.join("classes.csv") {
                file if file.exists() => file.display().to_string(),
                _ => path.display().to_string(),
            },
        }
    }

    fn split(self, part: SplitName) -> String {
        match self {
            Self::Memory(name) | Self::Bundle(name) => format!("{name} [{}]", part.name()),
            Self::Folder(path) => format!("{} [{}]", path.display(), part.name()),
        }
    }
}

/// Checks everything that [`DataSet::validate`] promises.
pub(super) fn check(set: &DataSet, source: Source<'_>) -> Result<(), DataError> {
    let kind = set.train.targets.kind();
    check_class_names(&set.classes, kind, source)?;
    let count = set.train.modalities.len().max(1);
    for part in SplitName::BOTH {
        let split = set.split(part);
        check_modality_count(split, count, part, source)?;
        check_split(split, (kind, set.classes.len()), part, source)?;
    }
    check_columns(set, source)
}

/// Checks the targets of a split, of a kind and with so many classes, and that its tables have a row for each.
pub(super) fn check_split(
    split: &Split,
    (kind, classes): (TargetKind, usize),
    part: SplitName,
    source: Source<'_>,
) -> Result<(), DataError> {
    check_targets(
        &split.targets,
        (kind, classes),
        source.targets(part, split.targets.kind()),
    )?;
    for (k, table) in (1..).zip(&split.modalities) {
        let reference = || source.targets(part, split.targets.kind());
        check_table(table, k, (split.len(), reference), part, source)?;
    }
    Ok(())
}

/// The names must differ from each other and, where they head columns of predictions, from the other headings.
pub(super) fn check_class_names(
    classes: &[String],
    kind: TargetKind,
    source: Source<'_>,
) -> Result<(), DataError> {
    let heads = !matches!(kind, TargetKind::Answers | TargetKind::Boxes);
    let mut earlier = HashSet::with_capacity(classes.len());
    for name in classes {
        let problem = match !earlier.insert(name) {
            true => "twice",
            false if heads && HEADINGS.contains(&name.as_str()) => {
                "which is the heading of another column of predictions"
            }
            false => continue,
        };
        return Err(DataError::ClassName {
            file: source.classes(),
            name: name.clone(),
            problem: problem.to_owned(),
        });
    }
    Ok(())
}

/// Checks the tables of a split whose labels are not known.
pub(super) fn check_features(
    modalities: &[Table],
    part: SplitName,
    source: Source<'_>,
) -> Result<(), DataError> {
    let rows = modalities.first().map_or(0, Table::rows);
    for (k, table) in (1..).zip(modalities) {
        let reference = || source.table(part, 1);
        check_table(table, k, (rows, reference), part, source)?;
    }
    Ok(())
}

fn check_modality_count(
    split: &Split,
    expected: usize,
    part: SplitName,
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

fn check_targets(
    targets: &Targets,
    (expected, classes): (TargetKind, usize),
    file: String,
) -> Result<(), DataError> {
    if targets.kind() != expected {
        return Err(DataError::MixedTargets {
            file,
            found: targets.kind(),
            expected,
        });
    }
    match targets {
        Targets::LabelSets(sets) => check_label_sets(sets, classes, file),
        _ if targets.is_empty() => Err(DataError::EmptyFile { file }),
        Targets::Classes(labels) => check_labels(labels, classes, file),
        Targets::Numbers(numbers) => check_numbers(numbers, file),
        Targets::Answers(answers) => check_answers(answers, classes, file),
        Targets::Boxes(boxes) => check_boxes(boxes, classes, file),
    }
}

fn check_label_sets(sets: &LabelSets, classes: usize, file: String) -> Result<(), DataError> {
    let (columns, values) = (sets.columns, sets.values.len());
    if columns == 0 || columns != classes || values % columns != 0 {
        return Err(DataError::TableShape {
            file,
            columns: classes,
            values,
        });
    }
    if values == 0 {
        return Err(DataError::EmptyFile { file });
    }
    Ok(())
}

fn check_numbers(numbers: &[f64], file: String) -> Result<(), DataError> {
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(()),
        Some(i) => Err(DataError::NotFinite {
            file,
            row: i + 1,
            column: 1,
            value: numbers[i],
        }),
    }
}

fn check_answers(answers: &Answers, classes: usize, file: String) -> Result<(), DataError> {
    if answers.known.len() != classes {
        return Err(DataError::LabelCount {
            file,
            columns: answers.known.len(),
            reference: "the classes of the data set".to_owned(),
            expected: classes,
        });
    }
    for (row, answered) in (1..).zip(&answers.rows) {
        if let Some(&(label, _)) = answered.counts.iter().find(|(known, _)| *known >= classes) {
            return Err(DataError::LabelOutOfRange {
                file,
                row,
                label,
                classes,
            });
        }
    }
    Ok(())
}

fn check_boxes(boxes: &Boxes, classes: usize, file: String) -> Result<(), DataError> {
    if boxes.classes.len() != classes {
        return Err(DataError::LabelCount {
            file,
            columns: boxes.classes.len(),
            reference: "the classes of the data set".to_owned(),
            expected: classes,
        });
    }
    for (row, own) in (1..).zip(&boxes.rows) {
        if let Some(&(_, label)) = own.iter().find(|(_, class)| *class >= classes) {
            return Err(DataError::LabelOutOfRange {
                file,
                row,
                label,
                classes,
            });
        }
        if own.len() > boxes.most {
            let (found, most) = (own.len(), boxes.most);
            return Err(DataError::from(BoxesError::TooMany {
                file,
                row,
                found,
                most,
            }));
        }
        let numbers = boxes.numbers(row - 1);
        if let Some(column) = numbers.iter().position(|number| !number.is_finite()) {
            return Err(DataError::NotFinite {
                file,
                row,
                column: column + 1,
                value: numbers[column],
            });
        }
    }
    Ok(())
}

fn check_labels(labels: &[usize], classes: usize, file: String) -> Result<(), DataError> {
    match (1..).zip(labels).find(|(_, &label)| label >= classes) {
        None => Ok(()),
        Some((row, &label)) => Err(DataError::LabelOutOfRange {
            file,
            row,
            label,
            classes,
        }),
    }
}

/// What is checked of a table.
pub(super) struct Measured {
    pub rows: usize,
    /// Row and column, from 0, of the first number that is none, and what it is.
    pub not_finite: Option<(usize, usize, f64)>,
}

/// `samples` is the number of rows called for, and the name of what calls for it.
fn check_table(
    table: &Table,
    k: usize,
    samples: (usize, impl FnOnce() -> String),
    part: SplitName,
    source: Source<'_>,
) -> Result<(), DataError> {
    let (columns, values) = (table.columns, table.values.len());
    if columns == 0 || values % columns != 0 {
        return Err(DataError::TableShape {
            file: source.table(part, k),
            columns,
            values,
        });
    }
    let stray = table.values.iter().position(|value| !value.is_finite());
    let measured = Measured {
        rows: table.rows(),
        not_finite: stray.map(|i| (i / columns, i % columns, table.values[i])),
    };
    check_measured(&measured, k, samples, part, source)
}

/// Checks the rows of a table, as many as `samples` calls for.
pub(super) fn check_measured(
    table: &Measured,
    k: usize,
    (expected, reference): (usize, impl FnOnce() -> String),
    part: SplitName,
    source: Source<'_>,
) -> Result<(), DataError> {
    let file = || source.table(part, k);
    if table.rows != expected {
        return Err(DataError::RowCount {
            file: file(),
            rows: table.rows,
            reference: reference(),
            expected,
        });
    }
    match table.not_finite {
        None => Ok(()),
        Some((row, column, value)) => Err(DataError::NotFinite {
            file: file(),
            row: row + 1,
            column: column + 1,
            value,
        }),
    }
}

fn check_columns(set: &DataSet, source: Source<'_>) -> Result<(), DataError> {
    let columns = |split: &Split| -> Vec<usize> {
        let tables = split.modalities.iter();
        tables.map(|table| table.columns).collect()
    };
    check_same_columns(&columns(&set.train), &columns(&set.test), source)
}

/// Checks that the test tables have the columns of the training tables.
pub(super) fn check_same_columns(
    train: &[usize],
    test: &[usize],
    source: Source<'_>,
) -> Result<(), DataError> {
    let mut pairs = (1..).zip(train.iter().zip(test));
    match pairs.find(|(_, (train, test))| train != test) {
        None => Ok(()),
        Some((k, (&expected, &columns))) => Err(DataError::ColumnCount {
            file: source.table(SplitName::Test, k),
            columns,
            reference: source.table(SplitName::Train, k),
            expected,
        }),
    }
}
