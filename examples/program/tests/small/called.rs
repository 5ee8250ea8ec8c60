//! The program in a folder of its own with the small configuration and data.

use std::path::Path;
use std::process::{Command, Output};

use super::small;

/// `config.toml`, and the data in `data`.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), small::CONFIG).expect("a file");
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    small::write_data(&folder.path().join("data"));
    folder
}

pub fn program(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command.current_dir(folder).args(arguments);
    command.output().expect("the program starts")
}

/// What is said on standard error, of a call that is refused.
pub fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let output = program(folder, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
