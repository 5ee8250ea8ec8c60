//! Lines of numbers above a table that name its columns: 0, 1, 2, … as pandas writes them, or those of a choice of columns,
//! numbers of genes for example.
//!
//! Such a line would become one more sample. Whole numbers above decimals cannot be meant as one, nor can a line that stands
//! above the training and the test rows alike; above whole numbers the line may be a sample like others.

use super::header::{column_numbers, digits, Header};
use super::DataError;
use csv::StringRecord;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// So many column numbers tell, where the cells below each have decimals.
const TELLING: usize = 3;

/// Two tell where there are so many rows below.
const TELLING_ROWS: usize = 30;

/// What tells whether the first line of a table without names holds the numbers of its columns.
#[derive(Debug, Default)]
pub(super) struct FirstLines {
    /// Records seen.
    count: usize,
    /// The first record, if it holds different whole numbers, written as such.
    numbers: Option<Vec<usize>>,
    /// For each column how many later cells are whole numbers like the first: zero, or another.
    alike: Vec<usize>,
    /// Whether the second record goes on counting.
    counted_on: bool,
    /// Whether another record consists of whole numbers.
    whole_row: bool,
    /// Whether the numbers of another record ascend.
    ascending: bool,
}

impl FirstLines {
    /// Takes the next record into account.
    pub fn see(&mut self, record: &StringRecord) {
        self.count += 1;
        if self.count == 1 {
            let numbers: Option<Vec<usize>> = record.iter().map(digits).collect();
            let different = |numbers: &Vec<usize>| {
                numbers.iter().collect::<HashSet<_>>().len() == numbers.len()
            };
            self.numbers = numbers.filter(different);
            self.alike = vec![0; record.len()];
            return;
        }
        let Some(numbers) = &self.numbers else {
            return;
        };
        if self.count == 2 {
            let next = numbers.last().map_or(0, |last| last.wrapping_add(1));
            self.counted_on = record.get(0).and_then(digits) == Some(next);
        }
        let cells: Vec<Option<usize>> = record.iter().map(digits).collect();
        for (alike, (cell, number)) in self.alike.iter_mut().zip(cells.iter().zip(numbers)) {
            *alike += usize::from(cell.is_some_and(|cell| (cell == 0) == (*number == 0)));
        }
        if let Some(row) = cells.into_iter().collect::<Option<Vec<usize>>>() {
            self.whole_row = true;
            self.ascending |= row.is_sorted_by(|a, b| a < b);
        }
    }

    /// What the first line is.
    ///
    /// # Errors
    /// [`DataError::Header`] if it can be nothing but column numbers.
    pub fn judge(self, path: &Path) -> Result<Header, DataError> {
        let Some(numbers) = self.numbers.filter(|_| self.count > 1 && !self.counted_on) else {
            return Ok(Header::None);
        };
        let rows = self.count - 1;
        let decimals = self.alike.iter().filter(|&&alike| alike == 0).count();
        // How probable it is that a row of such columns consists of whole numbers by chance.
        let chance = (self.alike.iter()).map(|&alike| (alike as f64 + 1.0) / (rows as f64 + 1.0));
        let improbable = rows >= TELLING_ROWS && chance.product::<f64>() < 1e-3;
        if !self.whole_row && (decimals >= TELLING || improbable) {
            return Err(column_numbers(path));
        }
        let many = numbers.len() >= TELLING;
        if numbers.iter().copied().eq(0..numbers.len()) {
            return Ok(Header::Numbers {
                telling: many || !self.whole_row,
            });
        }
        if numbers.len() > TELLING && rows >= TELLING && !self.ascending && numbers.is_sorted() {
            log::warn!(
                "{}, row 1: the numbers ascend, as in no other row; if they number columns, they are no sample: write the \
                 table without them, `df.to_csv(index=False, header=False)`",
                path.display()
            );
        }
        Ok(Header::None)
    }
}

/// The first lines of a table that has no names, by which a line of column numbers is known again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FirstRows {
    first: Vec<f64>,
    second: Vec<f64>,
}

/// The first rows of a table, and whether the first is there again.
#[derive(Debug, Default)]
pub(super) struct FirstRowsSeen {
    first: Option<Vec<f64>>,
    second: Option<Vec<f64>>,
    again: bool,
}

impl FirstRowsSeen {
    /// Takes the next row into account.
    pub fn see(&mut self, row: &[f64]) {
        let Some(first) = &self.first else {
            self.first = Some(row.to_vec());
            return;
        };
        self.again |= row == &first[..];
        self.second.get_or_insert_with(|| row.to_vec());
    }

    /// Those of the table, if the first line may head it: at least three different numbers, which are no other row.
    pub fn judge(self) -> Option<FirstRows> {
        let (first, second) = (self.first?, self.second?);
        let different: HashSet<u64> = first.iter().map(|value| value.to_bits()).collect();
        let columns = first.len();
        (!self.again && different.len() == columns && columns >= TELLING)
            .then_some(FirstRows { first, second })
    }
}

/// Makes sure that no table of a modality begins with the numbers that another one of it begins with, and goes on otherwise.
///
/// # Errors
/// [`DataError::Header`].
pub(super) fn check_alike(tables: &[(usize, PathBuf, Option<FirstRows>)]) -> Result<(), DataError> {
    for (index, (k, file, rows)) in tables.iter().enumerate() {
        let Some(rows) = rows else { continue };
        let mut earlier = tables[..index].iter().filter(|(other, _, _)| other == k);
        let alike = |other: &FirstRows| other.first == rows.first && other.second != rows.second;
        if let Some((_, other, _)) = earlier.find(|(_, _, other)| other.as_ref().is_some_and(alike))
        {
            return Err(DataError::Header {
                file: file.display().to_string(),
                column: 1,
                problem: format!(
                    "the line is that of {}, so that it holds column numbers or the like and no sample; write the tables without \
                     it, `df.to_csv(index=False, header=False)`, or give the columns names that are no numbers (if the same \
                     sample is in both, remove it from one)",
                    other.display()
                ),
            });
        }
    }
    Ok(())
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
        for header in ["0,1,2", "3,17,42", "1,2,3,4", "7157,1956,672"] {
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
            // Whole numbers are rare, but there.
            &["5,7,9", "0.5,1.5,2.5", "3,1,1"],
            &["9,7,5", "0.5,3,2"],
            &["7,7,9", "0.5,0.5,0.5"],
        ] {
            assert!(matches!(judge(lines), Ok(Header::None)), "{lines:?}");
        }
    }

    #[test]
    fn column_numbers_above_mostly_decimals_are_no_sample() {
        let rows: Vec<String> = (0..40)
            .map(|row| match row {
                7 => "0,1.5,2,60".to_owned(),
                8 => "0.5,3,2.5,61".to_owned(),
                _ => format!("{row}.5,0,{row}.25,{row}"),
            })
            .collect();
        let mut lines: Vec<&str> = rows.iter().map(String::as_str).collect();
        lines.insert(0, "7157,1956,672,80");
        assert!(judge(&lines).is_err());
        lines.swap(0, 8);
        assert!(judge(&lines).is_ok());
    }

    #[test]
    fn a_line_above_both_splits_is_no_sample() {
        let rows = |values: &[f64]| {
            let mut seen = FirstRowsSeen::default();
            values.chunks(3).for_each(|row| seen.see(row));
            seen.judge()
        };
        let table = |values| (1, PathBuf::from("1.csv"), rows(values));
        let (head, a, b) = ([4.0, 7.0, 2.5], [1.0, 1.0, 2.0], [3.0, 1.0, 0.0]);
        let twice = b.repeat(2);
        let [train, test] = [a, b].map(|row| [head, row].concat());
        assert!(check_alike(&[table(&train), table(&test)]).is_err());
        assert!(check_alike(&[table(&train), table(&train)]).is_ok());
        assert!(check_alike(&[table(&train), table(&twice)]).is_ok());
        // A sample that is there again is one.
        let again = [head, a, head].concat();
        assert!(check_alike(&[table(&again), table(&test)]).is_ok());
        assert!(rows(&[1.0, 1.0, 2.0, 5.0, 5.0, 6.0]).is_none());
    }
}
