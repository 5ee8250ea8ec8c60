//! The first line of a table: names of its columns, their numbers as pandas writes them, or a sample.
//!
//! A line of names is a header. A line of numbers is a sample unless it cannot be meant as one: pandas writes the
//! numbers 0, 1, 2, … of unnamed columns above them, and such a line would become one more sample.

use super::cell::{self, Oddity};
use super::DataError;
use csv::StringRecord;
use std::path::Path;

/// As many column numbers as this, in ascending order, above cells with decimals are no sample.
const TELLING: usize = 3;

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
    let is_name = |cell: &str| !is_number(cell) && Oddity::of(cell, alone) == Oddity::Name;
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
    let names: Vec<String> = record.iter().map(str::to_owned).collect();
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

/// What tells whether the first line of a table without names holds the numbers of its columns.
#[derive(Debug, Default)]
pub(super) struct FirstLines {
    /// Records seen.
    count: usize,
    /// The first record, if it holds whole numbers in ascending order, written as such.
    numbers: Option<Vec<usize>>,
    /// Whether the second record goes on counting.
    counted_on: bool,
    /// Whether a later record has a cell without decimals.
    whole: bool,
}

impl FirstLines {
    /// Takes the next record into account.
    pub fn see(&mut self, record: &StringRecord) {
        self.count += 1;
        if self.count == 1 {
            let numbers: Option<Vec<usize>> = record.iter().map(digits).collect();
            self.numbers = numbers.filter(|numbers| numbers.is_sorted_by(|a, b| a < b));
            return;
        }
        if let (2, Some(numbers)) = (self.count, &self.numbers) {
            let next = numbers.last().map_or(0, |last| last + 1);
            self.counted_on = record.get(0).and_then(digits) == Some(next);
        }
        self.whole |= self.numbers.is_some() && record.iter().any(|cell| digits(cell).is_some());
    }

    /// What the first line is.
    ///
    /// # Errors
    /// [`DataError::Header`] if it can be nothing but column numbers.
    pub fn judge(self, path: &Path) -> Result<Header, DataError> {
        let Some(numbers) = self.numbers.filter(|_| self.count > 1 && !self.counted_on) else {
            return Ok(Header::None);
        };
        let many = numbers.len() >= TELLING;
        match self.whole {
            false if many => Err(column_numbers(path)),
            whole if numbers.iter().copied().eq(0..numbers.len()) => Ok(Header::Numbers {
                telling: many || !whole,
            }),
            _ => Ok(Header::None),
        }
    }
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
fn digits(cell: &str) -> Option<usize> {
    let plain = cell.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| cell::whole(cell)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lines: &[&str]) -> Result<Header, DataError> {
        let mut first = FirstLines::default();
        for line in lines {
            first.see(&line.split(',').collect());
        }
        first.judge(Path::new("1_tr.csv"))
    }

    #[test]
    fn column_numbers_above_decimals_are_no_sample() {
        for header in ["0,1,2", "3,17,42", "1,2,3,4"] {
            let width = header.split(',').count();
            let row = vec!["0.5"; width].join(",");
            assert!(judge(&[header, &row]).is_err(), "{header}");
        }
        for (lines, expected) in [
            (["0,1", "0.5,1.5"], true),
            (["0", "0.5"], true),
            (["0,1,2", "7,5,1"], true),
            (["0,1", "1,0"], false),
        ] {
            let found = judge(&lines);
            let fits = matches!(found, Ok(Header::Numbers { telling }) if telling == expected);
            assert!(fits, "{found:?}");
        }
    }

    #[test]
    fn what_can_be_a_sample_is_one() {
        for lines in [
            &["0,1,2", "3,4,5"][..],
            &["0,1,2"],
            &["0,0,1", "0.5,0.5,0.5"],
            &["0.0,1.0,2.0", "0.5,0.5,0.5"],
            &["0", "1", "2"],
            &["5,7,9", "1,1,1"],
        ] {
            assert!(matches!(judge(lines), Ok(Header::None)), "{lines:?}");
        }
    }
}
