//! Reading the text files of a data folder: comma-separated values (RFC 4180), or one name per line.
//!
//! Rows are counted by the lines of the file, a header among them, as an editor shows them.

use super::blocks::Blocks;
use super::cell::{self, Oddity};
use super::column_numbers::{FirstLines, FirstRows, FirstRowsSeen};
use super::header::{self, Header};
use super::{files, header_faults, DataError};
use csv::{ReaderBuilder, StringRecord, Trim};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// What is known of a table of numbers, or a list with one per line, when all rows have been seen.
#[derive(Debug)]
pub(super) struct Scan {
    /// What its first line tells.
    pub header: Header,
    /// Its first lines, if they tell something.
    pub first: Option<FirstRows>,
    /// Whether each row begins with a whole number of its own, and some are longer than a number can hold.
    pub long_numbers: bool,
    pub columns: usize,
}

/// What is done with each row of a table, in order.
pub(super) type SeeRow<'a> = dyn FnMut(&[f64]) -> Result<(), DataError> + 'a;

/// The trimmed lines of a file, without the blank ones at its end; a line that is quoted as a whole loses its quotes.
pub(super) fn read_lines(path: &Path) -> Result<Vec<String>, DataError> {
    let text = read(path)?;
    let lines: Vec<String> = text.lines().map(|line| unquoted(line.trim())).collect();
    match lines.iter().position(String::is_empty) {
        None => Ok(lines),
        Some(i) => Err(blank_line(path, i + 1)),
    }
}

/// The names that a file lists, one per line.
pub(super) fn read_list(path: &Path) -> Result<Vec<String>, DataError> {
    let lines = read_lines(path)?;
    let refused = |problem: String| DataError::List {
        file: path.display().to_string(),
        row: 1,
        problem,
    };
    if lines.iter().all(|line| line.ends_with([',', ';'])) {
        let line = cell::shown(&lines[0]);
        let problem = format!("found {line:?}, with a separator at the end, as in all lines; remove it, and write one name per line");
        return Err(refused(problem));
    }
    let number = |line: &str| {
        let (number, name) = line.split_once(',')?;
        (!name.trim().is_empty()).then(|| number.trim().trim_matches('"').parse::<usize>().ok())?
    };
    let empty = |line: &str| {
        line.split_once(',')
            .is_some_and(|(cell, _)| cell.trim().trim_matches('"').is_empty())
    };
    let headed = usize::from(lines.first().is_some_and(|line| empty(line)));
    let rows = &lines[headed..];
    let counted = |start: usize| {
        (start..)
            .zip(rows)
            .all(|(row, line)| number(line) == Some(row))
    };
    if rows.len() > 1 && (counted(0) || counted(1)) {
        let line = cell::shown(&lines[0]);
        return Err(refused(format!(
            "found {line:?}, a name after the number of its row; write the names alone, one per line: \
             `names.to_csv(index=False, header=False)`"
        )));
    }
    Ok(lines)
}

/// The names of a file that need not exist.
pub(super) fn read_optional_list(path: &Path) -> Result<Option<Vec<String>>, DataError> {
    files::there(path).then(|| read_list(path)).transpose()
}

/// Shows the finite numbers of a table, row by row; its first line may name the columns.
pub(super) fn scan_numbers(path: &Path, see: &mut SeeRow<'_>) -> Result<Scan, DataError> {
    scan_rows(path, Oddity::remedy, see)
}

/// [`scan_numbers`], with what is said of cells that are none.
fn scan_rows(
    path: &Path,
    remedy: fn(Oddity) -> String,
    see: &mut SeeRow<'_>,
) -> Result<Scan, DataError> {
    let (mut names, mut columns) = (None, 0);
    let mut first = StringRecord::new();
    let mut first_lines = FirstLines::default();
    let mut numbers = LongNumbers::default();
    let (mut rows, mut first_rows) = (0, FirstRowsSeen::default());
    let mut values = Vec::new();
    read_records(path, |row, record| {
        if row == 1 {
            (first, columns) = (record.clone(), record.len());
            names = header::names(path, record)?;
            if names.is_some() {
                return Ok(());
            }
        }
        if rows == 0 && row > 1 && record.len() != columns {
            let fault = header_faults::of_width(path, &first, record.len());
            fault.map_or(Ok(()), Err)?;
        }
        check_width(path, row, record.len(), columns)?;
        first_lines.see(record);
        numbers.see(&record[0]);
        values.clear();
        for (column, cell) in (1..).zip(record) {
            let number = parse_number(path, (row, column), cell, || {
                remedy(Oddity::of(cell, record.len() == 1))
            });
            match number {
                Ok(value) => values.push(value),
                Err(fault) if row > 1 => return Err(fault),
                Err(fault) => return Err(fault_of_first_line(path, record, fault)),
            }
        }
        rows += 1;
        first_rows.see(&values);
        see(&values)
    })?;
    if rows == 0 {
        return Err(empty(path));
    }
    let (header, first) = match names {
        Some(names) => (Header::Names(names), None),
        None => (first_lines.judge(path)?, first_rows.judge()),
    };
    Ok(Scan {
        header,
        first,
        long_numbers: numbers.identify(),
        columns,
    })
}

/// Cells of the first line of a table; `None` if the file cannot be read.
pub(super) fn width(path: &Path) -> Option<usize> {
    let mut width = None;
    let first = read_records(path, |_, record| {
        width = Some(record.len());
        Err(empty(path))
    });
    first.err().and(width)
}

/// The fault of a first line with a cell that is no number, in the light of the second.
fn fault_of_first_line(path: &Path, first: &StringRecord, fault: DataError) -> DataError {
    let mut second = None;
    let all = read_records(path, |row, record| {
        if row > 1 && second.is_none() {
            second = Some(record.clone());
        }
        Ok(())
    });
    let (Ok(()), Some(second)) = (all, second) else {
        return fault;
    };
    let ends = |record: &StringRecord| record.len() > 1 && record.get(record.len() - 1) == Some("");
    let earlier = first.iter().take(first.len() - 1);
    if ends(first) && ends(&second) && earlier.clone().all(|cell| cell.parse::<f64>().is_ok()) {
        return DataError::Header {
            file: path.display().to_string(),
            column: first.len(),
            problem: "the cell is empty, as in the next line: there is a comma at the end of the lines; remove it".to_owned(),
        };
    }
    let by_width =
        (first.len() != second.len()).then(|| header_faults::of_width(path, first, second.len()));
    by_width
        .flatten()
        .or_else(|| header_faults::of_cells(path, first, &second))
        .unwrap_or(fault)
}

/// What tells whether first cells are whole numbers too long to be told apart as floating-point numbers.
#[derive(Debug, Default)]
struct LongNumbers {
    /// The cells; `None` as soon as one is another number, or there again.
    cells: Option<HashSet<String>>,
    count: usize,
    inexact: bool,
}

impl LongNumbers {
    fn see(&mut self, cell: &str) {
        self.count += 1;
        if self.count == 1 {
            self.cells = Some(HashSet::new());
        }
        let Some(cells) = &mut self.cells else {
            return;
        };
        let whole = !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        if !whole || !cells.insert(cell.to_owned()) {
            self.cells = None;
            return;
        }
        let exact = cell
            .parse::<u64>()
            .is_ok_and(|number| number as f64 as u128 == u128::from(number));
        self.inexact |= !exact;
    }

    fn identify(&self) -> bool {
        self.inexact && self.cells.is_some() && self.count > 2
    }
}

/// The names in the first line of a table, if it has some; its other lines are not read.
pub(super) fn header_of(path: &Path) -> Result<Option<Vec<String>>, DataError> {
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    let mut line = String::new();
    let mut lines = BufReader::new(file);
    // A name in quotes may go on in the next line.
    while lines
        .read_line(&mut line)
        .map_err(|source| unreadable(path, source))?
        > 0
    {
        if line.matches('"').count().is_multiple_of(2) {
            break;
        }
    }
    let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
    let mut reader = ReaderBuilder::new();
    let mut reader = reader
        .has_headers(false)
        .trim(Trim::All)
        .from_reader(line.as_bytes());
    let mut record = StringRecord::new();
    match reader.read_record(&mut record) {
        Ok(true) => header::names(path, &record),
        _ => Ok(None),
    }
}

/// Shows the finite numbers of a file with one per line, which a name may precede.
pub(super) fn scan_column(path: &Path, see: &mut SeeRow<'_>) -> Result<(), DataError> {
    read_records(path, |row, record| match record.len() {
        1 => Ok(()),
        found => Err(DataError::NotOneNumber {
            file: path.display().to_string(),
            row,
            found,
        }),
    })?;
    scan_rows(path, Oddity::remedy_for_targets, see).map(drop)
}

/// Shows the cells of a file with one per line.
pub(super) fn scan_cells(
    path: &Path,
    see: &mut dyn FnMut(&str) -> Result<(), DataError>,
) -> Result<(), DataError> {
    read_records(path, |row, record| match record.len() {
        1 => see(&record[0]),
        _ => Err(DataError::NotALabel {
            file: path.display().to_string(),
            row,
            cell: cell::shown(&record.iter().collect::<Vec<_>>().join(",")),
            remedy: "there are several columns; write one class per line, without a row index: \
                     `y.to_csv(index=False, header=False)`"
                .to_owned(),
        }),
    })
}

/// The names in the first line of a file, all different. Shows the others, each with its number.
pub(super) fn scan_below_header(
    path: &Path,
    see: &mut dyn FnMut(usize, &StringRecord) -> Result<(), DataError>,
) -> Result<Vec<String>, DataError> {
    let mut names: Vec<String> = Vec::new();
    read_records(path, |row, record| {
        if row > 1 {
            check_width(path, row, record.len(), names.len())?;
            return see(row, record);
        }
        names = record.iter().map(str::to_owned).collect();
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
    Ok(names)
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
    let mut blocks = Blocks::open(path)?;
    let mut record = StringRecord::new();
    while let Some((before, text)) = blocks.next()? {
        let mut reader = ReaderBuilder::new();
        reader.has_headers(false).flexible(true).trim(Trim::All);
        let mut reader = reader.from_reader(text.as_bytes());
        loop {
            let (start, line) = (reader.position().byte(), reader.position().line());
            let more = reader.read_record(&mut record);
            if !more.map_err(|error| unreadable(path, error.into()))? {
                break;
            }
            let row = before + line as usize;
            // The reader passes over empty lines.
            let skipped = text.as_bytes().get(start as usize) == Some(&b'\n');
            if skipped || record.len() == 1 && record[0].is_empty() {
                return Err(blank_line(path, row));
            }
            each(row, &record)?;
        }
    }
    Ok(())
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
    remedy: impl FnOnce() -> String,
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
            remedy: remedy(),
        }),
    }
}

pub(super) fn unreadable(path: &Path, source: std::io::Error) -> DataError {
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

pub(super) fn empty(path: &Path) -> DataError {
    DataError::EmptyFile {
        file: path.display().to_string(),
    }
}
