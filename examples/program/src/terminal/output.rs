//! Results on standard output, where a full disk is an error like any other: `println!` would panic.

use std::fmt::Display;
use std::io::{self, stdout, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a line of results.
///
/// # Errors
/// [`Error::Io`] of standard output.
pub fn print_line(text: impl Display) -> Result<()> {
    checked(writeln!(stdout(), "{text}"))
}

/// Writes results as they are.
///
/// # Errors
/// [`Error::Io`] of standard output.
pub fn print(text: impl Display) -> Result<()> {
    checked(write!(stdout(), "{text}"))
}

/// Writes what `--help` or `--version` asks for, in color on a terminal.
///
/// # Errors
/// [`Error::Io`] of standard output.
pub fn print_help(help: &clap::Error) -> Result<()> {
    checked(help.print())
}

/// To the last byte: what is held back for want of a line's end would be lost without a word.
fn checked(written: io::Result<()>) -> Result<()> {
    let written = written.and_then(|()| stdout().flush());
    written.map_err(Error::io(Path::new("standard output")))
}
