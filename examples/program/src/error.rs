//! Errors of the program: each names the file or key at fault and says what was expected.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use equilibria_fusion::checkpoint::CheckpointError;
use equilibria_fusion::data::DataError;

/// Result of every command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The framework refuses.
    #[error(transparent)]
    Core(#[from] equilibria_core::Error),
    /// Arrays of a reference or a workload cannot be used.
    #[error(transparent)]
    Reference(#[from] equilibria_reference::Error),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The saved model cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The program for GPUs lies beside this one, and does not start.
    #[error("{}: {reason}\ndevice `cuda` needs an NVIDIA driver, cuBLAS and NVRTC of CUDA where the loader finds them, e.g. by LD_LIBRARY_PATH; or choose device `cpu`", program.display())]
    CudaProgram {
        /// The program.
        program: PathBuf,
        /// What it said.
        reason: String,
    },
    /// Several processes were started, by a program that knows nothing of MPI: each would do all of the work.
    #[cfg(not(feature = "mpi"))]
    #[error(
        "{variable} = {processes}: a launcher of MPI has started this program {processes} times, and it was built without MPI; build it with \
         `--features mpi`, or start it once"
    )]
    WithoutMpi {
        /// The environment variable of the launcher.
        variable: &'static str,
        /// Its value.
        processes: String,
    },
    /// Several processes were started for what one does.
    #[error("{processes} processes were started for a command that takes one; start one, or let them `train`, `evaluate`, `predict` or `study`")]
    OneProcess {
        /// How many were started.
        processes: usize,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}{}", path.display(), advice(path, .source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A configuration that does not parse.
    #[error("{origin}: {message}")]
    Config {
        /// The file, and where known the key.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// A key no one knows.
    #[error("{origin}: unknown key `{key}`{}; {}", hint(.nearest), all_known(.known))]
    UnknownKey {
        /// The file and the table.
        origin: String,
        /// The key.
        key: String,
        /// The known key closest to it.
        nearest: Option<String>,
        /// The keys of this table.
        known: Vec<String>,
    },
    /// `--set` without a key and a value.
    #[error("--set `{argument}`: expected `key.path=value`, e.g. `fusion.solver.memory=4`")]
    Set {
        /// The argument.
        argument: String,
    },
    /// A `--set` that a later one undoes.
    #[error("--set `{earlier}` is undone by `{later}` after it, which replaces the whole table; put it behind")]
    Undone {
        /// The change that is lost.
        earlier: String,
        /// The one that replaces the table it is in.
        later: String,
    },
    /// The output folder is in use.
    #[error("{}: already exists; choose another --out, or --force to replace it", path.display())]
    OutputExists {
        /// The folder.
        path: PathBuf,
    },
    /// The output folder has an unfinished run.
    #[error("{}: an unfinished run is there; `train --resume {}` goes on with it, --force begins anew", path.display(), path.display())]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// A model is asked for that is still being trained.
    #[error("{}: the run is unfinished and has no model yet; `equilibria train --resume {}` goes on with it", path.display(), path.display())]
    NotTrained {
        /// The run folder.
        path: PathBuf,
    },
    /// A folder in which there is no run.
    #[error("{}: neither a complete run nor an unfinished one; name the folder given as --out, or shown when training began", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// Another process writes the same run folder.
    #[error("{}: another process is at work there; wait for it, or choose another --out", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The user has asked to stop.
    #[error("interrupted after epoch {epoch}; `equilibria train --resume {}` goes on", path.display())]
    Interrupted {
        /// The last complete epoch.
        epoch: usize,
        /// The run folder.
        path: PathBuf,
    },
    /// A run of a study that was made with other settings.
    #[error("{}: made with another configuration; choose another --out, or remove the folder to run it again", path.display())]
    OtherConfiguration {
        /// The run folder.
        path: PathBuf,
    },
    /// A chart that cannot be drawn.
    #[error("{}: {message}", path.display())]
    Plot {
        /// The file.
        path: PathBuf,
        /// The reason.
        message: String,
    },
    /// The manual page of a command that is none.
    #[error("there is no command `{name}`; known: {known}")]
    UnknownCommand {
        /// The name.
        name: String,
        /// All commands.
        known: String,
    },
    /// `--force` on something else than a run folder.
    #[error("{}: holds no config.toml, so it is no run folder; --force replaces nothing else", path.display())]
    NoRunFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A finished run that could not be moved to its place.
    #[error("{}: {source}; the run is complete in {}, move it to its place or to another one", path.display(), partial.display())]
    Unmoved {
        /// Where it was to go.
        path: PathBuf,
        /// Where it is.
        partial: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A share of validation rows that holds out none.
    #[error("`training.validation` = {share} holds out none of {rows} training rows: it takes two rows, of the same class where rows have classes; set it to 0 or give more data")]
    NoValidation {
        /// The share asked for.
        share: f64,
        /// Training rows in all.
        rows: usize,
    },
    /// Threads that the system does not give.
    #[error("{threads} threads: {source}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// The reason.
        source: rayon::ThreadPoolBuildError,
    },
    /// A file of parameters without what tells the model they belong to.
    #[error(
        "{}: a whole file, but without the metadata `{key}`, which says what model the parameters belong to; for those of a PyTorch \
         module see the page \"Weights of PyTorch modules\" of the book (docs/src/pytorch.md) and docs/pytorch_exchange.py, which \
         writes it",
        path.display()
    )]
    NoMetadata {
        /// The file.
        path: PathBuf,
        /// The key that is missing.
        key: &'static str,
    },
    /// Metadata of a file that does not parse.
    #[error("{}: metadata `{key}`: {message}", path.display())]
    BadMetadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A run that was made from other rows.
    #[error("{origin}: made from other data, which differs in {}; give it the same rows with --data, or begin another run", .differences.join(", "))]
    OtherData {
        /// The file of the run.
        origin: String,
        /// The tables that differ, as the files of a data folder are called.
        differences: Vec<String>,
    },
    /// A saved model and the data do not belong together.
    #[error("{what}: the model was trained on {expected}, the data has {got}")]
    DataMismatch {
        /// What differs.
        what: String,
        /// In the model.
        expected: String,
        /// In the data.
        got: String,
    },
}

impl Error {
    /// Wraps an error of the file system.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// A configuration of which `path` is wrong; all of it, where that is empty.
    pub fn at(origin: &str, path: &str, message: impl ToString) -> Self {
        Self::Config {
            origin: match path {
                "" => origin.to_owned(),
                path => format!("{origin}: {path}"),
            },
            message: message.to_string(),
        }
    }
}

/// What helps where the system refuses a path.
fn advice(path: &Path, refusal: &std::io::Error) -> String {
    let above = || path.ancestors().skip(1);
    let absent = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    match (refusal.kind(), above().take_while(absent).last()) {
        (ErrorKind::NotFound, None) => "; check the name, and the folder it is in".to_owned(),
        (ErrorKind::NotFound, Some(folder)) => {
            format!(
                "; there is no folder {}: make it, or give another one",
                folder.display()
            )
        }
        (ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem, _) => {
            "; allow it to the user who runs this, or give another place".to_owned()
        }
        _ => String::new(),
    }
}

fn all_known(keys: &[String]) -> String {
    match keys {
        [] => "there are none".to_owned(),
        keys => format!("known: {}", keys.join(", ")),
    }
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}
