//! Reading the text files of a data folder: comma-separated values (RFC 4180), or one name per line.
//!
//! Rows are counted by the lines of the file, a header among them, as an editor shows them.

use super::cell::{self, Oddity};
use super::header::{self, Header};
use super::DataError;
use csv::{ReaderBuilder, StringRecord, Trim};
use std::fs;
use std::path::Path;

/// A table of numbers, or a list with one per line.
#[derive(Debug)]
pub(super) struct TextTable {
    /// What its first line tells.
    pub header: Header,
    pub columns: usize,
    /// Row after row.
    pub values: Vec<f64>,
}

/// The trimmed lines of a file, without the blank ones at its end; a line that is quoted as a whole loses its quotes.
pub(super) fn read_lines(path: &Path) -> Result<Vec<String>, DataError> {
    let text = read(path)?;
    let lines: Vec<String> = text.lines().map(|line| unquoted(line.trim())).collect();
    match lines.iter().position(String::is_empty) {
        None => Ok(lines),
        Some(i) => Err(blank_line(path, i + 1)),
    }
}

/// The lines of a file that need not exist.
pub(super) fn read_optional_lines(path: &Path) -> Result<Option<Vec<String>>, DataError> {
    path.exists().then(|| read_lines(path)).transpose()
}

/// The finite numbers of a table, whose first line may name the columns.
pub(super) fn read_numbers(path: &Path) -> Result<TextTable, DataError> {
    let (mut names, mut columns) = (None, 0);
    let mut first_lines = header::FirstLines::default();
    let mut values = Vec::new();
    read_records(path, |row, record| {
        if row == 1 {
            columns = record.len();
            names = header::names(path, record)?;
            if names.is_some() {
                return Ok(());
            }
        }
        check_width(path, row, record.len(), columns)?;
        first_lines.see(record);
        for (column, cell) in (1..).zip(record) {
            values.push(parse_number(path, (row, column), cell, record.len() == 1)?);
        }
        Ok(())
    })?;
    if values.is_empty() {
        return Err(empty(path));
    }
    let header = match names {
        Some(names) => Header::Names(names),
        None => first_lines.judge(path)?,
    };
    Ok(TextTable {
        header,
        columns,
        values,
    })
}

/// Whether the first line names the columns.
pub(super) fn has_names(path: &Path) -> Result<bool, DataError> {
    let mut named = false;
    read_records(path, |row, record| {
        named |= row == 1 && header::names(path, record)?.is_some();
        Ok(())
    })?;
    Ok(named)
}

/// The finite numbers of a file with one per line, which a name may precede.
pub(super) fn read_column(path: &Path) -> Result<Vec<f64>, DataError> {
    read_records(path, |row, record| match record.len() {
        1 => Ok(()),
        found => Err(DataError::NotOneNumber {
            file: path.display().to_string(),
            row,
            found,
        }),
    })?;
    Ok(read_numbers(path)?.values)
}

/// The cells of a file with one per line.
pub(super) fn read_cells(path: &Path) -> Result<Vec<String>, DataError> {
    let mut cells = Vec::new();
    read_records(path, |row, record| {
        cells.push(match record.len() {
            1 => record[0].to_owned(),
            _ => {
                return Err(DataError::NotALabel {
                    file: path.display().to_string(),
                    row,
                    cell: cell::shown(&record.iter().collect::<Vec<_>>().join(",")),
                    remedy:
                        "there are several columns; write one class per line, without a row index: \
                         `y.to_csv(index=False, header=False)`"
                            .to_owned(),
                })
            }
        });
        Ok(())
    })?;
    Ok(cells)
}

/// The names in the first line of a file, all different, and the cells of the others.
pub(super) fn read_header(path: &Path) -> Result<(Vec<String>, Vec<Vec<String>>), DataError> {
    let mut names: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    read_records(path, |row, record| {
        let cells: Vec<String> = record.iter().map(str::to_owned).collect();
        if row > 1 {
            check_width(path, row, cells.len(), names.len())?;
            rows.push(cells);
            return Ok(());
        }
        names = cells;
        let refused = |column, problem: String| DataError::LabelHeader {
            file: path.display().to_string(),
            column,
            problem,
        };
        // The first sample of a file without a header would be lost without a word.
        let is_value = |name: &String| matches!(name.parse(), Ok(0.0 | 1.0));
        if names.iter().all(is_value) {
            return Err(refused(1, format!("found {:?}, a value", names[0])));
        }
        match header::first_fault(&names) {
            Some((column, problem)) => Err(refused(column, problem)),
            None => Ok(()),
        }
    })?;
    Ok((names, rows))
}

/// The text of a file, without the blank lines at its end.
pub(super) fn read(path: &Path) -> Result<String, DataError> {
    let text = fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
    // Spreadsheets put a byte order mark in front of "CSV UTF-8".
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim_end();
    if text.is_empty() {
        return Err(empty(path));
    }
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Shows all records of a file, each with the number of the line it begins in; cells are trimmed.
fn read_records(
    path: &Path,
    mut each: impl FnMut(usize, &StringRecord) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let text = read(path)?;
    let mut reader = ReaderBuilder::new();
    reader.has_headers(false).flexible(true).trim(Trim::All);
    let mut reader = reader.from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    loop {
        let (start, row) = (reader.position().byte(), reader.position().line());
        let more = reader.read_record(&mut record);
        if !more.map_err(|error| unreadable(path, error.into()))? {
            return Ok(());
        }
        let row = row as usize;
        // The reader passes over empty lines.
        let skipped = text.as_bytes().get(start as usize) == Some(&b'\n');
        if skipped || record.len() == 1 && record[0].is_empty() {
            return Err(blank_line(path, row));
        }
        each(row, &record)?;
    }
}

/// A line without the quotes around it, if there are some.
fn unquoted(line: &str) -> String {
    let mut reader = ReaderBuilder::new();
    let mut reader = reader.has_headers(false).from_reader(line.as_bytes());
    let mut record = StringRecord::new();
    match (line.starts_with('"'), reader.read_record(&mut record)) {
        (true, Ok(true)) if record.len() == 1 => record[0].trim().to_owned(),
        _ => line.to_owned(),
    }
}

fn check_width(path: &Path, row: usize, found: usize, expected: usize) -> Result<(), DataError> {
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

fn parse_number(
    path: &Path,
    (row, column): (usize, usize),
    text: &str,
    alone: bool,
) -> Result<f64, DataError> {
    let file = || path.display().to_string();
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(value) => Err(DataError::NotFinite {
            file: file(),
            row,
            column,
            value,
        }),
        Err(_) => Err(DataError::NotANumber {
            file: file(),
            row,
            column,
            cell: cell::shown(text),
            remedy: Oddity::of(text, alone).remedy(),
        }),
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> DataError {
    DataError::Unreadable {
        file: path.display().to_string(),
        source,
    }
}

fn blank_line(path: &Path, row: usize) -> DataError {
    DataError::BlankLine {
        file: path.display().to_string(),
        row,
    }
}

fn empty(path: &Path) -> DataError {
    DataError::EmptyFile {
        file: path.display().to_string(),
    }
}
