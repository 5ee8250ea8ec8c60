//! What the program shows: results on standard output; progress, warnings and traces on standard error.

mod logger;
mod output;
mod progress;

pub use logger::{init, Verbosity};
pub use output::{print, print_help, print_line};
pub use progress::Epochs;

use std::io::Write;
use std::sync::Mutex;

use equilibria_core::parallel::lock;
use indicatif::ProgressBar;

/// The bar on the screen, if there is one.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn bar() -> Option<ProgressBar> {
    lock(&BAR).clone()
}

fn set_bar(bar: Option<ProgressBar>) {
    *lock(&BAR) = bar;
}

/// Shows a message on standard error, above the bar if there is one.
pub fn say(message: &str) {
    // Where standard error is closed, there is no one to be told.
    let _ = write(format!("{message}\n").as_bytes());
}

/// Writes whole lines to standard error, above the bar if there is one.
fn write(lines: &[u8]) -> std::io::Result<()> {
    let write = || std::io::stderr().lock().write_all(lines);
    match bar() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}
