//! First lines that look like the names of columns, and are none as they stand.

use super::cell::{self, Oddity};
use super::DataError;
use csv::StringRecord;
use std::collections::HashSet;
use std::path::Path;

/// What is wrong with a first line that holds neither names alone nor numbers alone, above the second line; `None` if it looks
/// like a sample with a faulty cell.
pub(super) fn of_cells(
    path: &Path,
    first: &StringRecord,
    second: &StringRecord,
) -> Option<DataError> {
    let reads = |cell: Option<&str>| cell.is_some_and(|cell| cell.parse::<f64>().is_ok());
    let is_name = |cell: &str| cell.parse::<f64>().is_err() && Oddity::of(cell, false).is_name();
    let named: Vec<usize> = (first.iter().enumerate())
        .filter(|(_, cell)| is_name(cell))
        .map(|(column, _)| column)
        .collect();
    // A sample with a name has one in the next line as well.
    if named.is_empty() || !named.iter().all(|&column| reads(second.get(column))) {
        return None;
    }
    let separator = of_separator(path, first.get(0).unwrap_or_default());
    if separator.is_some() {
        return separator;
    }
    let mut numbers = HashSet::new();
    let whole = |cell: &str| cell.bytes().all(|byte| byte.is_ascii_digit());
    let others = first.iter().filter(|cell| !is_name(cell));
    let headings = others
        .clone()
        .all(|cell| whole(cell) && numbers.insert(cell.to_owned()));
    if named.len() == 1 && !(named[0] == 0 && headings) {
        return None;
    }
    let (column, cell) = first.iter().enumerate().find(|(_, cell)| !is_name(cell))?;
    let last = column + 1 == first.len();
    let problem = match cell {
        "" if last => "is empty: there is a comma at the end of the line; remove it, in all lines where it is".to_owned(),
        "" => "is empty; give each column a name".to_owned(),
        cell if cell.parse::<f64>().is_ok() => format!(
            "reads as the number {}; put letters in front of it, `df.add_prefix(\"x\")`, or remove the line",
            cell::shown(cell)
        ),
        cell => format!(
            "reads as {}; call it otherwise, or remove the line",
            match Oddity::of(cell, false) {
                Oddity::Truth => "a truth value",
                Oddity::Missing => "a missing value",
                _ => "a value",
            }
        ),
    };
    Some(fault(
        path,
        column + 1,
        format!("the line looks like a header, but its cell {cell:?} {problem}"),
    ))
}

/// What is wrong with a first line of so many cells above lines of `found` cells; `None` if nothing is known of it.
pub(super) fn of_width(path: &Path, first: &StringRecord, found: usize) -> Option<DataError> {
    let cells = first.len();
    let beginning = first.get(0).unwrap_or_default();
    let separator = of_separator(path, beginning);
    if separator.is_some() {
        return separator;
    }
    let problem = match () {
        () if beginning.starts_with('#') => "the line is a comment, and no row of the table; delete it",
        () if cells + 1 == found => {
            "the header has one name less than the rows below have cells: R writes the names of rows without one; write the \
             table without them, `write.table(row.names=FALSE, sep=\",\")`"
        }
        () if cells == found + 1 && first.get(cells - 1) == Some("") => {
            "the header ends in a comma, after which there is an empty name; remove it"
        }
        () => return None,
    };
    let column = if beginning.starts_with('#') { 1 } else { cells };
    Some(fault(path, column, problem.to_owned()))
}

fn of_separator(path: &Path, beginning: &str) -> Option<DataError> {
    let problem =
        "the line tells Excel which separator there is, and is no row of the table; delete it";
    let tells = beginning.to_lowercase().starts_with("sep=");
    tells.then(|| fault(path, 1, problem.to_owned()))
}

fn fault(path: &Path, column: usize, problem: String) -> DataError {
    DataError::Header {
        file: path.display().to_string(),
        column,
        problem,
    }
}
