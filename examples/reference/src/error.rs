//! Errors of files of arrays: each names the file and what is wrong.

use std::path::{Path, PathBuf};

/// Result of every comparison and timing.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a golden folder or a workload.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The framework refuses.
    #[error(transparent)]
    Core(#[from] equilibria_core::Error),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A golden folder that cannot be compared with.
    #[error("{}: {message}", path.display())]
    Golden {
        /// The file.
        path: PathBuf,
        /// What is wrong, and with which array.
        message: String,
    },
    /// A workload that cannot be timed.
    #[error("{}: {message}", path.display())]
    Workload {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl Error {
    /// Wraps an error of the file system.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// A golden file that cannot be compared with.
    pub(crate) fn golden(path: &Path, message: impl ToString) -> Self {
        Self::Golden {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }

    /// A workload that cannot be timed.
    pub(crate) fn workload(path: &Path, message: impl ToString) -> Self {
        Self::Workload {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }
}
