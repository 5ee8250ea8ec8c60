//! The files of a data folder that hold what is to be predicted.

use super::cell::whole;
use super::check::SplitName;
use super::endings::{self, Group};
use super::files::{self, read_cells, read_numbers, read_table};
use super::labels::{self, Known, LabelFile};
use super::text::{read_header, read_optional_list};
use super::{DataError, LabelSets, TargetKind, Targets};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The kind of targets a folder has, by its files; all of the given splits must have it.
pub(super) fn find_kind(path: &Path, parts: &[SplitName]) -> Result<TargetKind, DataError> {
    let mut found: Option<(TargetKind, PathBuf)> = None;
    for kind in TargetKind::ALL {
        for part in parts {
            let file = files::locate(path, &part.targets_stem(kind))?;
            match &found {
                _ if !files::there(&file) => {}
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
    for part in parts {
        let file = files::locate(path, &part.targets_stem(kind))?;
        if !files::there(&file) {
            endings::check(path, &[*part], Group::Targets)?;
            let suffix = part.suffix();
            return Err(DataError::MissingFile {
                file: file.display().to_string(),
                reason: format!(
                    "every split needs what is to be predicted, of the same kind: one class per line (labels_{suffix}.csv), \
                     columns of 0 and 1 under a header (multilabels_{suffix}.csv) or one number per line (targets_{suffix}.csv)"
                ),
            });
        }
    }
    Ok(kind)
}

/// The targets of the given splits, and the names of classes or labels. Those of a trained model, if they are given, are
/// the ones that count.
pub(super) fn read_targets(
    path: &Path,
    parts: &[SplitName],
    trained: Option<&[String]>,
) -> Result<(Vec<Targets>, Vec<String>), DataError> {
    let kind = find_kind(path, parts)?;
    endings::check(path, parts, Group::TargetIds)?;
    let located = |part: &SplitName| files::locate(path, &part.targets_stem(kind));
    let files: Vec<PathBuf> = parts.iter().map(located).collect::<Result<_, _>>()?;
    let listed = || classes(path, trained);
    match kind {
        TargetKind::Class => {
            let read = |path: &PathBuf| read_cells(path);
            let cells: Vec<_> = files.iter().map(read).collect::<Result<_, _>>()?;
            let label_files: Vec<_> = (files.iter().zip(cells))
                .map(|(path, cells)| LabelFile { path, cells })
                .collect();
            let (labels, names) = labels::resolve(&label_files, listed()?)?;
            if trained.is_none() {
                check_no_header(&path.join("classes.csv"), &names, &labels)?;
            }
            Ok((labels.into_iter().map(Targets::Classes).collect(), names))
        }
        TargetKind::LabelSet => read_all_label_sets(&files, listed()?),
        TargetKind::Number => {
            let numbers = files
                .iter()
                .map(|file| read_numbers(file).map(Targets::Numbers));
            Ok((numbers.collect::<Result<_, _>>()?, Vec::new()))
        }
        // No folder has such files, so they are never found.
        TargetKind::Answers | TargetKind::Boxes => Ok((Vec::new(), Vec::new())),
    }
}

/// What a list of classes is headed with, in lower case.
const HEADINGS: [&str; 15] = [
    "class",
    "classes",
    "class_name",
    "class_names",
    "classname",
    "name",
    "names",
    "label",
    "labels",
    "category",
    "target",
    "targets",
    "x",
    "y",
    "value",
];

/// Makes sure that the first of the classes, which a list may give, is no heading: it would be one class more, and the numbers
/// of all others would be shifted.
fn check_no_header(file: &Path, names: &[String], labels: &[Vec<usize>]) -> Result<(), DataError> {
    let (true, Some((first, others))) = (files::there(file), names.split_first()) else {
        return Ok(());
    };
    let is_number = |name: &String| name.parse::<f64>().is_ok();
    let numbered = first == "0" && !others.is_empty() && !others.iter().any(is_number);
    let used: BTreeSet<usize> = labels.iter().flatten().copied().collect();
    // By their names, no row has the heading; by their numbers, no row has the last one.
    let spare = used.len() == others.len() && !(used.contains(&0) && used.contains(&others.len()));
    let heading = HEADINGS.contains(&first.to_lowercase().as_str());
    if !(numbered || heading && spare) {
        return Ok(());
    }
    Err(DataError::List {
        file: file.display().to_string(),
        row: 1,
        problem: format!(
            "found {first:?}, which looks like a heading, and would be class 0; write the names of the classes alone, \
             `names.to_csv(index=False, header=False)` (if it is a class, call it otherwise)"
        ),
    })
}

/// The classes that `classes.csv` lists, or those of a trained model, which it may only repeat.
fn classes(path: &Path, trained: Option<&[String]>) -> Result<Option<Known>, DataError> {
    let file = path.join("classes.csv");
    let listed = read_optional_list(&file)?;
    let shown = file.display().to_string();
    let Some(trained) = trained else {
        return Ok(listed.map(|names| Known {
            names,
            reference: shown,
        }));
    };
    if let Some(listed) = listed.filter(|listed| listed != trained) {
        return Err(DataError::other_classes(shown, &listed, trained));
    }
    Ok(Some(Known {
        names: trained.to_vec(),
        reference: "the trained model".to_owned(),
    }))
}

/// The columns of 0 and 1 of all files, and their names: those of the headers, which agree with each other and with the
/// listed ones; without headers those listed, without either their numbers.
fn read_all_label_sets(
    files: &[PathBuf],
    listed: Option<Known>,
) -> Result<(Vec<Targets>, Vec<String>), DataError> {
    let mut agreed = listed.map(|known| (known.names, known.reference));
    let (mut all, mut width) = (Vec::new(), None);
    for path in files {
        let file = path.display().to_string();
        let (sets, header) = read_label_sets(path)?;
        let (expected, reference) = match (&width, &agreed) {
            (Some((columns, first)), _) => (*columns, first),
            (None, Some((names, reference))) => (names.len(), reference),
            (None, None) => (sets.columns, &file),
        };
        same_columns(&file, sets.columns, reference, expected)?;
        match (header, &agreed) {
            (Some(header), Some((names, reference))) => {
                same_names(&file, &header, reference, names)?
            }
            (Some(header), None) => agreed = Some((header, file.clone())),
            (None, _) => {}
        }
        width.get_or_insert((sets.columns, file));
        all.push(Targets::LabelSets(sets));
    }
    let columns = width.map_or(0, |(columns, _)| columns);
    let numbered = || (0..columns).map(|label| label.to_string()).collect();
    Ok((all, agreed.map_or_else(numbered, |(names, _)| names)))
}

fn same_columns(
    file: &str,
    columns: usize,
    reference: &str,
    expected: usize,
) -> Result<(), DataError> {
    if columns == expected {
        return Ok(());
    }
    Err(DataError::LabelCount {
        file: file.to_owned(),
        columns,
        reference: reference.to_owned(),
        expected,
    })
}

fn same_names(
    file: &str,
    names: &[String],
    reference: &str,
    expected: &[String],
) -> Result<(), DataError> {
    let pairs = names.iter().zip(expected);
    match (1..).zip(pairs).find(|(_, (name, other))| name != other) {
        None => Ok(()),
        Some((column, (name, other))) => Err(DataError::LabelName {
            file: file.to_owned(),
            column,
            name: name.clone(),
            reference: reference.to_owned(),
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
                values.push(match whole(cell) {
                    Some(0) => false,
                    Some(1) => true,
                    _ => return Err(bad(row, column, cell)),
                });
            }
        }
        let columns = names.len();
        return Ok((LabelSets { columns, values }, Some(names)));
    }
    let table = read_table(path)?;
    let columns = table.columns;
    let mut values = Vec::with_capacity(table.values.len());
    for (index, number) in table.values.into_iter().enumerate() {
        let (row, column) = (index / columns + 1, index % columns + 1);
        values.push(match number {
            0.0 => false,
            1.0 => true,
            other => return Err(bad(row, column, &other.to_string())),
        });
    }
    Ok((LabelSets { columns, values }, None))
}
