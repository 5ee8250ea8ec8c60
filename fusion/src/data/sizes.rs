//! Sizes of data that a configuration asks for.

use thiserror::Error;

/// A larger size would be a mistake.
const MOST: usize = 1 << 20;

/// More numbers would be a mistake: they take 8 GiB.
const MOST_NUMBERS: usize = 1 << 30;

/// A size of a data source that is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SizeError {
    /// A single one.
    #[error("the data source `{data}`: `{field}` must be from {least} to {MOST}, got {got}; set it to a number in this range")]
    Range {
        /// Name of the data source.
        data: &'static str,
        /// The key at fault.
        field: &'static str,
        /// The least that it may be.
        least: usize,
        /// The number found.
        got: usize,
    },
    /// All together.
    #[error(
        "the data source `{data}`: {rows} rows of {columns} numbers are more than {MOST_NUMBERS} numbers, or 8 GiB; \
         ask for fewer rows, or for shorter ones"
    )]
    Total {
        /// Name of the data source.
        data: &'static str,
        /// The rows of both splits.
        rows: usize,
        /// Numbers of a row.
        columns: usize,
    },
}

/// Makes sure that sizes of a data source, by their fields, are from the least that each may be to 1048576.
///
/// # Errors
/// [`SizeError::Range`] with the first that is not.
pub fn require_sizes(
    data: &'static str,
    sizes: &[(&'static str, usize, usize)],
) -> Result<(), SizeError> {
    let outside = |(_, least, got): &&(_, usize, usize)| !(*least..=MOST).contains(got);
    match sizes.iter().find(outside) {
        None => Ok(()),
        Some(&(field, least, got)) => Err(SizeError::Range {
            data,
            field,
            least,
            got,
        }),
    }
}

/// Makes sure that the numbers of all rows are 2³⁰ at most.
///
/// # Errors
/// [`SizeError::Total`] if they are more.
pub fn require_total(data: &'static str, rows: usize, columns: usize) -> Result<(), SizeError> {
    match rows.checked_mul(columns) {
        Some(0..=MOST_NUMBERS) => Ok(()),
        _ => Err(SizeError::Total {
            data,
            rows,
            columns,
        }),
    }
}
