//! Sizes of data that a configuration asks for.

use thiserror::Error;

/// A larger size would be a mistake.
const MOST: usize = 1 << 20;

/// A size of a data source that is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the data source `{data}`: `{field}` must be from {least} to {MOST}, got {got}; set it to a number in this range")]
pub struct SizeError {
    /// Name of the data source.
    pub data: &'static str,
    /// The key at fault.
    pub field: &'static str,
    /// The least that it may be.
    pub least: usize,
    /// The number found.
    pub got: usize,
}

/// Makes sure that sizes of a data source, by their fields, are from the least that each may be to 1048576.
///
/// # Errors
/// [`SizeError`] with the first that is not.
pub fn require_sizes(
    data: &'static str,
    sizes: &[(&'static str, usize, usize)],
) -> Result<(), SizeError> {
    let outside = |(_, least, got): &&(_, usize, usize)| !(*least..=MOST).contains(got);
    match sizes.iter().find(outside) {
        None => Ok(()),
        Some(&(field, least, got)) => Err(SizeError {
            data,
            field,
            least,
            got,
        }),
    }
}
