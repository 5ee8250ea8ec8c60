//! The files of a data folder that hold what is to be predicted.

use super::cell::whole;
use super::check::SplitName;
use super::endings::{self, Group};
use super::files::{self, Reading};
use super::labels::{self, Cells, Known, LabelFile, Labels};
use super::text::{read_optional_list, scan_below_header, SeeRow};
use super::{DataError, TargetKind, Targets};
use std::collections::{BTreeSet, HashSet};
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

/// What is done with each row of targets, in order: the place of its split among those that are read, and its
/// [numbers](Targets::of_rows).
pub(super) type SeeTargets<'a> = dyn FnMut(usize, &[f64]) -> Result<(), DataError> + 'a;

/// What is known of targets beside their rows.
pub(super) struct TargetsScan {
    pub kind: TargetKind,
    /// Numbers of a row.
    pub columns: usize,
    /// The names of classes or labels.
    pub names: Vec<String>,
    /// The classes that there are in the first split.
    pub used: HashSet<usize>,
}

/// The targets of the given splits, and the names of classes or labels. Those of a trained model, if they are given, are
/// the ones that count.
pub(super) fn read_targets(
    path: &Path,
    parts: &[SplitName],
    trained: Option<&[String]>,
) -> Result<(Vec<Targets>, Vec<String>), DataError> {
    let mut all = vec![Vec::new(); parts.len()];
    let scan = scan_targets(path, parts, trained, Reading::Whole, &mut |part, row| {
        all[part].extend_from_slice(row);
        Ok(())
    })?;
    let targets = all.iter();
    let targets = targets.filter_map(|rows| Targets::of_rows(scan.kind, scan.columns, rows));
    Ok((targets.collect(), scan.names))
}

/// Shows the targets of the given splits, one split after the other, as [`read_targets`] reads them.
pub(super) fn scan_targets(
    path: &Path,
    parts: &[SplitName],
    trained: Option<&[String]>,
    reading: Reading,
    see: &mut SeeTargets<'_>,
) -> Result<TargetsScan, DataError> {
    let kind = find_kind(path, parts)?;
    endings::check(path, parts, Group::TargetIds)?;
    let located = |part: &SplitName| files::locate(path, &part.targets_stem(kind));
    let files: Vec<PathBuf> = parts.iter().map(located).collect::<Result<_, _>>()?;
    let listed = || classes(path, trained);
    let mut used = HashSet::new();
    let (columns, names) = match kind {
        TargetKind::Class => {
            let read = |path: &PathBuf| {
                let mut cells = Cells::default();
                files::scan_cells(path, reading, &mut |cell| {
                    cells.push(cell);
                    Ok(())
                })?;
                Ok::<_, DataError>(cells)
            };
            let cells: Vec<_> = files.iter().map(read).collect::<Result<_, _>>()?;
            let label_files: Vec<_> = (files.iter().zip(cells))
                .map(|(path, cells)| LabelFile { path, cells })
                .collect();
            let (labels, names) = labels::resolve(&label_files, listed()?)?;
            if trained.is_none() {
                check_no_header(&path.join("classes.csv"), &names, &labels)?;
            }
            used.extend(labels.iter().take(1).flat_map(Labels::iter));
            for (part, labels) in labels.iter().enumerate() {
                (labels.iter()).try_for_each(|label| see(part, &[label as f64]))?;
            }
            (1, names)
        }
        TargetKind::LabelSet => scan_all_label_sets(&files, listed()?, reading, see)?,
        TargetKind::Number => {
            for (part, file) in files.iter().enumerate() {
                files::scan_list(file, reading, &mut |row| see(part, row))?;
            }
            (1, Vec::new())
        }
        // No folder has such files, so they are never found.
        TargetKind::Answers | TargetKind::Boxes => (0, Vec::new()),
    };
    Ok(TargetsScan {
        kind,
        columns,
        names,
        used,
    })
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
fn check_no_header(file: &Path, names: &[String], labels: &[Labels<'_>]) -> Result<(), DataError> {
    let (true, Some((first, others))) = (files::there(file), names.split_first()) else {
        return Ok(());
    };
    let is_number = |name: &String| name.parse::<f64>().is_ok();
    let numbered = first == "0" && !others.is_empty() && !others.iter().any(is_number);
    let used: BTreeSet<usize> = labels.iter().flat_map(Labels::iter).collect();
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

/// Shows the rows of 0 and 1 of all files; returns how many columns they have, and their names: those of the headers, which agree with
/// each other and with the listed ones; without headers those listed, without either their numbers.
fn scan_all_label_sets(
    files: &[PathBuf],
    listed: Option<Known>,
    reading: Reading,
    see: &mut SeeTargets<'_>,
) -> Result<(usize, Vec<String>), DataError> {
    let mut agreed = listed.map(|known| (known.names, known.reference));
    let mut width = None;
    for (part, path) in files.iter().enumerate() {
        let file = path.display().to_string();
        let (own, header) = scan_label_sets(path, reading, &mut |row| see(part, row))?;
        let (expected, reference) = match (&width, &agreed) {
            (Some((columns, first)), _) => (*columns, first),
            (None, Some((names, reference))) => (names.len(), reference),
            (None, None) => (own, &file),
        };
        same_columns(&file, own, reference, expected)?;
        match (header, &agreed) {
            (Some(header), Some((names, reference))) => {
                same_names(&file, &header, reference, names)?
            }
            (Some(header), None) => agreed = Some((header, file.clone())),
            (None, _) => {}
        }
        width.get_or_insert((own, file));
    }
    let columns = width.map_or(0, |(columns, _)| columns);
    let numbered = || (0..columns).map(|label| label.to_string()).collect();
    let names = agreed.map_or_else(numbered, |(names, _)| names);
    Ok((columns, names))
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

/// Shows the rows of 0 and 1 of a file; returns how many columns they have, and their names where it is a CSV file.
fn scan_label_sets(
    path: &Path,
    reading: Reading,
    see: &mut SeeRow<'_>,
) -> Result<(usize, Option<Vec<String>>), DataError> {
    let bad = |row, column, cell: &str| DataError::NotABit {
        file: path.display().to_string(),
        row,
        column,
        cell: cell.to_owned(),
    };
    if files::is_text(path) {
        let mut bits = Vec::new();
        let names = scan_below_header(path, &mut |row, cells| {
            bits.clear();
            for (column, cell) in (1..).zip(cells) {
                bits.push(match whole(cell) {
                    Some(0) => 0.0,
                    Some(1) => 1.0,
                    _ => return Err(bad(row, column, cell)),
                });
            }
            see(&bits)
        })?;
        return Ok((names.len(), Some(names)));
    }
    let mut row = 0;
    let scan = files::scan_table(path, reading, &mut |numbers| {
        row += 1;
        match (1..)
            .zip(numbers)
            .find(|(_, bit)| !matches!(bit, 0.0 | 1.0))
        {
            Some((column, other)) => Err(bad(row, column, &other.to_string())),
            None => see(numbers),
        }
    })?;
    Ok((scan.columns, None))
}
