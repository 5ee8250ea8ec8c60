//! The program, called in a folder; each test uses some of this.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Output};

/// What comes of a call.
pub fn program(folder: impl AsRef<Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command.current_dir(folder).args(arguments);
    command.output().expect("the program starts")
}

/// What is printed by a call that succeeds.
pub fn succeed(folder: impl AsRef<Path>, arguments: &[&str]) -> String {
    let output = program(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What is said on standard error, of a call that is refused.
pub fn refusal(folder: impl AsRef<Path>, arguments: &[&str]) -> String {
    let output = program(folder, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
