//! What can be wrong with rows that are read batch by batch.

use std::io;

/// Rows that cannot be read batch by batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The file that streamed rows are kept in cannot be written or read.
    #[error("{folder}: the file without a name that streamed rows are kept in: {source}; it takes 8 bytes for each number of the tables: \
             make room there, or allow writing there")]
    RowFile {
        /// The folder it is in.
        folder: String,
        /// The system's reason.
        source: io::Error,
    },

    /// More rows than can be streamed.
    #[error("{file} has {rows} rows, of which {most} at most can be streamed; divide the table")]
    TooManyRows {
        /// The file.
        file: String,
        /// Its rows.
        rows: usize,
        /// The most there may be.
        most: usize,
    },

    /// A source of data that cannot read rows from another one batch by batch.
    #[error(
        "data of type `{source_type}` is read as a whole; remove `stream` from the data in it"
    )]
    NotStreamed {
        /// The type.
        source_type: &'static str,
    },
}
