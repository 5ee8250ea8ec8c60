//! Reading the plain text files of a data folder.
//!
//! The files hold bare numbers or one name per line, never quoted cells, so
//! splitting lines is all that is needed and row numbers stay those an editor
//! shows.

use super::DataError;
use std::fs;
use std::path::Path;

/// The trimmed lines of a file, without the blank ones at its end.
pub(super) fn read_lines(path: &Path) -> Result<Vec<String>, DataError> {
    let text = fs::read_to_string(path).map_err(|source| DataError::Unreadable {
        file: path.display().to_string(),
        source,
    })?;
    // Spreadsheets put a byte order mark in front of "CSV UTF-8".
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim_end();
    if text.is_empty() {
        return Err(DataError::EmptyFile {
            file: path.display().to_string(),
        });
    }
    let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    match lines.iter().position(String::is_empty) {
        None => Ok(lines),
        Some(i) => Err(DataError::BlankLine {
            file: path.display().to_string(),
            row: i + 1,
        }),
    }
}

/// The lines of a file that need not exist.
pub(super) fn read_optional_lines(path: &Path) -> Result<Option<Vec<String>>, DataError> {
    path.exists().then(|| read_lines(path)).transpose()
}

/// The class ids of a file with one per line.
pub(super) fn read_labels(path: &Path) -> Result<Vec<usize>, DataError> {
    let lines = read_lines(path)?;
    (1..)
        .zip(&lines)
        .map(|(row, line)| {
            line.parse().map_err(|_| DataError::NotALabel {
                file: path.display().to_string(),
                row,
                cell: line.clone(),
            })
        })
        .collect()
}

/// The columns and the row-major values of a file of comma-separated numbers.
///
/// NaN and infinities are read as such; the common checks refuse them.
pub(super) fn read_numbers(path: &Path) -> Result<(usize, Vec<f64>), DataError> {
    let lines = read_lines(path)?;
    let columns = lines.first().map_or(0, |line| line.split(',').count());
    let mut values = Vec::with_capacity(lines.len() * columns);
    for (row, line) in (1..).zip(&lines) {
        check_width(path, row, line, columns)?;
        for (column, cell) in (1..).zip(line.split(',')) {
            values.push(parse_number(path, row, column, cell.trim())?);
        }
    }
    Ok((columns, values))
}

/// The numbers of a file with one per line.
pub(super) fn read_column(path: &Path) -> Result<Vec<f64>, DataError> {
    let lines = read_lines(path)?;
    let number = |(row, line): (usize, &String)| match line.split(',').count() {
        1 => parse_number(path, row, 1, line),
        found => Err(DataError::NotOneNumber {
            file: path.display().to_string(),
            row,
            found,
        }),
    };
    (1..).zip(&lines).map(number).collect()
}

/// The names in the first line of a file, all different, and the cells of the others.
pub(super) fn read_header(path: &Path) -> Result<(Vec<String>, Vec<Vec<String>>), DataError> {
    let lines = read_lines(path)?;
    let cells = |line: &String| -> Vec<String> {
        let cells = line.split(',');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let names = lines.first().map(cells).unwrap_or_default();
    let refused = |column, problem: String| DataError::LabelHeader {
        file: path.display().to_string(),
        column,
        problem,
    };
    // The first sample of a file without a header would be lost without a word.
    if names.iter().all(|name| name == "0" || name == "1") {
        return Err(refused(1, format!("found {:?}, a value", names[0])));
    }
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || names[..index].contains(name) {
            let problem = match name.is_empty() {
                true => "found no name".to_owned(),
                false => format!("found {name:?} again"),
            };
            return Err(refused(index + 1, problem));
        }
    }
    for (row, line) in (1..).zip(&lines) {
        check_width(path, row, line, names.len())?;
    }
    Ok((names, lines[1..].iter().map(cells).collect()))
}

fn check_width(path: &Path, row: usize, line: &str, expected: usize) -> Result<(), DataError> {
    let found = line.split(',').count();
    if found == expected {
        return Ok(());
    }
    Err(DataError::RaggedRow {
        file: path.display().to_string(),
        row,
        expected,
        found,
    })
}

fn parse_number(path: &Path, row: usize, column: usize, cell: &str) -> Result<f64, DataError> {
    cell.parse().map_err(|_| DataError::NotANumber {
        file: path.display().to_string(),
        row,
        column,
        cell: cell.to_owned(),
    })
}
