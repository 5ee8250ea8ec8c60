//! The files of a data folder that hold what is to be predicted.

use super::check::Part;
use super::files::{self, read_labels, read_numbers, read_table};
use super::lines::{read_header, read_optional_lines};
use super::{DataError, LabelSets, TargetKind, Targets};
use std::path::{Path, PathBuf};

/// Without `classes.csv`, a label at or above this is taken for a mistake (a
/// sample number, say) rather than for a class to make room for.
const MOST_UNNAMED_CLASSES: usize = 1 << 16;

/// The kind of targets a folder has, by its files; both splits must have it.
pub(super) fn find_kind(path: &Path) -> Result<TargetKind, DataError> {
    let mut found: Option<(TargetKind, PathBuf)> = None;
    for kind in TargetKind::ALL {
        for part in Part::BOTH {
            let file = files::locate(path, &part.targets_stem(kind))?;
            match &found {
                _ if !file.exists() => {}
                Some((other, first)) if *other != kind => {
                    return Err(DataError::TwoFiles {
                        first: first.display().to_string(),
                        second: file.display().to_string(),
                    })
                }
                Some(_) => {}
                None => found = Some((kind, file)),
            }
        }
    }
    let kind = found.map_or(TargetKind::Class, |(kind, _)| kind);
    for part in Part::BOTH {
        let file = files::locate(path, &part.targets_stem(kind))?;
        if !file.exists() {
            let suffix = part.suffix();
            return Err(DataError::MissingFile {
                file: file.display().to_string(),
                reason: format!(
                    "both splits need what is to be predicted, of the same kind: one class id per line (labels_{suffix}.csv), \
                     columns of 0 and 1 under a header (multilabels_{suffix}.csv) or one number per line (targets_{suffix}.csv)"
                ),
            });
        }
    }
    Ok(kind)
}

/// The targets of both splits, and the names of classes or labels.
pub(super) fn read_targets(path: &Path) -> Result<([Targets; 2], Vec<String>), DataError> {
    let kind = find_kind(path)?;
    let file = |part: Part| files::locate(path, &part.targets_stem(kind));
    let (train, test) = (file(Part::Train)?, file(Part::Test)?);
    match kind {
        TargetKind::Class => {
            let [train, test] = [read_labels(&train)?, read_labels(&test)?];
            let names = class_names(path, &train)?;
            Ok(([train, test].map(Targets::Classes), names))
        }
        TargetKind::LabelSet => {
            let (sets, names) = read_label_sets(&train)?;
            let (more, test_names) = read_label_sets(&test)?;
            same_columns(&test, more.columns, &train, sets.columns)?;
            if let (Some(names), Some(test_names)) = (&names, &test_names) {
                same_names(&test, test_names, &train, names)?;
            }
            let (file, names) = match names {
                Some(_) => (&train, names),
                None => (&test, test_names),
            };
            let names = label_names(path, file, sets.columns, names)?;
            Ok(([sets, more].map(Targets::LabelSets), names))
        }
        TargetKind::Number => {
            let numbers = [read_numbers(&train)?, read_numbers(&test)?];
            Ok((numbers.map(Targets::Numbers), Vec::new()))
        }
    }
}

fn class_names(path: &Path, train_labels: &[usize]) -> Result<Vec<String>, DataError> {
    if let Some(names) = read_optional_lines(&path.join("classes.csv"))? {
        return Ok(names);
    }
    let too_large = |&(_, &label): &(usize, &usize)| label >= MOST_UNNAMED_CLASSES;
    if let Some((row, &label)) = (1..).zip(train_labels).find(too_large) {
        return Err(DataError::LabelOutOfRange {
            file: files::shown(path, &Part::Train.targets_stem(TargetKind::Class)),
            row,
            label,
            classes: MOST_UNNAMED_CLASSES,
        });
    }
    let count = train_labels.iter().max().map_or(0, |largest| largest + 1);
    Ok((0..count).map(|class| class.to_string()).collect())
}

/// The names of labels: those of the header of `file`, which `classes.csv` must repeat if it is there; without a header
/// those of `classes.csv`; without either their numbers.
fn label_names(
    path: &Path,
    file: &Path,
    columns: usize,
    header: Option<Vec<String>>,
) -> Result<Vec<String>, DataError> {
    let classes = path.join("classes.csv");
    let listed = read_optional_lines(&classes)?;
    if let Some(listed) = &listed {
        same_columns(file, columns, &classes, listed.len())?;
        if let Some(header) = &header {
            same_names(file, header, &classes, listed)?;
        }
    }
    let numbered = || (0..columns).map(|label| label.to_string()).collect();
    Ok(header.or(listed).unwrap_or_else(numbered))
}

fn same_columns(
    file: &Path,
    columns: usize,
    reference: &Path,
    expected: usize,
) -> Result<(), DataError> {
    if columns == expected {
        return Ok(());
    }
    Err(DataError::LabelCount {
        file: file.display().to_string(),
        columns,
        reference: reference.display().to_string(),
        expected,
    })
}

fn same_names(
    file: &Path,
    names: &[String],
    reference: &Path,
    expected: &[String],
) -> Result<(), DataError> {
    let pairs = names.iter().zip(expected);
    match (1..).zip(pairs).find(|(_, (name, other))| name != other) {
        None => Ok(()),
        Some((column, (name, other))) => Err(DataError::LabelName {
            file: file.display().to_string(),
            column,
            name: name.clone(),
            reference: reference.display().to_string(),
            expected: other.clone(),
        }),
    }
}

/// The columns of 0 and 1 of a file, with their names where it is a CSV file.
fn read_label_sets(path: &Path) -> Result<(LabelSets, Option<Vec<String>>), DataError> {
    let bad = |row, column, cell: &str| DataError::NotABit {
        file: path.display().to_string(),
        row,
        column,
        cell: cell.to_owned(),
    };
    if files::is_text(path) {
        let (names, rows) = read_header(path)?;
        let mut values = Vec::with_capacity(rows.len() * names.len());
        // Row 1 is the header.
        for (row, cells) in (2..).zip(&rows) {
            for (column, cell) in (1..).zip(cells) {
                values.push(match cell.as_str() {
                    "0" => false,
                    "1" => true,
                    other => return Err(bad(row, column, other)),
                });
            }
        }
        let columns = names.len();
        return Ok((LabelSets { columns, values }, Some(names)));
    }
    let (columns, numbers) = read_table(path)?;
    let mut values = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.into_iter().enumerate() {
        let (row, column) = (index / columns + 1, index % columns + 1);
        values.push(match number {
            0.0 => false,
            1.0 => true,
            other => return Err(bad(row, column, &other.to_string())),
        });
    }
    Ok((LabelSets { columns, values }, None))
}
