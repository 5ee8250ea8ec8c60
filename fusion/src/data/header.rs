//! The first line of a table: names of its columns, their numbers as pandas writes them, or a sample.
//!
//! A line of names is a header. A line of numbers is a sample unless it cannot be meant as one: pandas writes the
//! numbers 0, 1, 2, … of unnamed columns above them, and such a line would become one more sample.

use super::cell::{self, Oddity};
use super::DataError;
use csv::StringRecord;
use std::path::Path;

/// What the first line of a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Header {
    /// A sample.
    None,
    /// The names of the columns.
    Names(Vec<String>),
    /// 0, 1, 2, …, which may be a sample, but not in every file of a folder; `telling` if they hardly are by themselves.
    Numbers { telling: bool },
}

impl Header {
    /// The names of the columns, if it holds them.
    pub fn names(&self) -> Option<&[String]> {
        match self {
            Self::Names(names) => Some(names),
            _ => None,
        }
    }
}

/// The names in the first record of a table; `None` if it holds a number or something that is no name.
pub(super) fn names(path: &Path, record: &StringRecord) -> Result<Option<Vec<String>>, DataError> {
    let alone = record.len() == 1;
    let is_number = |cell: &str| cell.parse::<f64>().is_ok();
    let is_name = |cell: &str| !is_number(cell) && Oddity::of(cell, alone).is_name();
    let others = || record.iter().skip(1);
    let headed = others().all(is_name) || others().all(|cell| digits(cell).is_some());
    if record.get(0) == Some("") && !alone && headed {
        return Err(DataError::Header {
            file: path.display().to_string(),
            column: 1,
            problem: "found no name, as pandas and R write it above the names of rows; write neither header nor row names: \
                      `df.to_csv(index=False, header=False)`, `write.table(row.names=FALSE, col.names=FALSE, sep=\",\")`"
                .to_owned(),
        });
    }
    if !record.iter().all(is_name) {
        return Ok(None);
    }
    // NumPy begins a header with the mark of a comment.
    let uncommented = |cell: &str| cell.trim_start_matches('#').trim_start().to_owned();
    let names = record.iter().enumerate();
    let names: Vec<String> = names
        .map(|(column, name)| match column {
            0 if !alone => uncommented(name),
            _ => name.to_owned(),
        })
        .collect();
    match first_fault(&names) {
        None => Ok(Some(names)),
        Some((column, problem)) => Err(DataError::Header {
            file: path.display().to_string(),
            column,
            problem: format!("{problem}; give each column a name of its own, or remove the line"),
        }),
    }
}

/// The first name that is empty or there already: its column, from 1, and what is wrong.
pub(super) fn first_fault(names: &[String]) -> Option<(usize, String)> {
    (1..).zip(names).find_map(|(column, name)| {
        let earlier = &names[..column - 1];
        let problem = match name.is_empty() {
            true => "found no name".to_owned(),
            false if earlier.contains(name) => format!("found {name:?} again"),
            false => return None,
        };
        Some((column, problem))
    })
}

/// The error for a first line of column numbers.
pub(super) fn column_numbers(path: &Path) -> DataError {
    DataError::Header {
        file: path.display().to_string(),
        column: 1,
        problem: "the line holds column numbers such as 0, 1, 2, …, which pandas writes above unnamed columns, and no sample; \
                  write the table without them, `df.to_csv(index=False, header=False)` (if it is a sample, write its numbers \
                  with a decimal point)"
            .to_owned(),
    }
}

/// A number written with digits alone.
pub(super) fn digits(cell: &str) -> Option<usize> {
    let plain = cell.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| cell::whole(cell)).flatten()
}
