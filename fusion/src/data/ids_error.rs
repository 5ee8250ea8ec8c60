//! What can be wrong with names of samples.

/// Names of samples that do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdsError {
    /// A list of samples that is not as long as the file whose rows it names.
    #[error("{file} names {ids} samples, expected {rows}, one per row of {table}; write one name per line, without a header")]
    IdCount {
        /// The list.
        file: String,
        /// How many samples it names.
        ids: usize,
        /// The file whose rows it names.
        table: String,
        /// Rows of `table`.
        rows: usize,
    },

    /// A sample that a list names twice.
    #[error("{file}, row {row}: found the sample {id:?} again, which row {first} names already; name every sample once")]
    RepeatedId {
        /// The list.
        file: String,
        /// The second line with the name, from 1.
        row: usize,
        /// The first, from 1.
        first: usize,
        /// The name.
        id: String,
    },

    /// A sample that one list names and another does not.
    #[error("{file} lacks the sample {id:?}, which {reference}, row {row}, names; give every file the same samples, in any order")]
    MissingId {
        /// The list without the sample.
        file: String,
        /// The name.
        id: String,
        /// The list with the sample.
        reference: String,
        /// Its line there, from 1.
        row: usize,
    },
}
