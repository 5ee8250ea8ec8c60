//! The progress of a training run: a bar of one line on a terminal, else one plain line per epoch.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::{say, set_bar, Verbosity};

/// Shows epoch after epoch.
pub struct Epochs {
    epochs: usize,
    bar: Option<ProgressBar>,
    verbosity: Verbosity,
}

impl Epochs {
    /// Of `epochs` epochs in all, `done` are behind.
    pub fn new(epochs: usize, done: usize, verbosity: Verbosity) -> Self {
        // Single solves scroll by, and would push a bar down thousands of times.
        let lines = verbosity.shows_solves() || !is_terminal();
        let bar = (verbosity.shows_progress() && !lines).then(|| {
            let bar = ProgressBar::new(epochs as u64).with_style(style());
            bar.set_position(done as u64);
            bar
        });
        set_bar(bar.clone());
        Self {
            epochs,
            bar,
            verbosity,
        }
    }

    /// Whether there is room for all numbers of an epoch.
    pub fn is_detailed(&self) -> bool {
        self.verbosity.shows_solves()
    }

    /// Epoch number `epoch` is complete.
    pub fn show(&self, epoch: usize, numbers: String) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(numbers);
                bar.set_position(epoch as u64);
            }
            None => log::info!("epoch {epoch}/{}: {numbers}", self.epochs),
        }
    }
}

impl Drop for Epochs {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            // Stays where it is, complete or not. What comes next begins on a line of its own; indicatif leaves that to the
            // terminal, which breaks lines at its last column.
            bar.abandon();
            set_bar(None);
            say("");
        }
    }
}

/// Whether standard error can redraw a line.
fn is_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// One line, whatever the width: what does not fit is cut off.
fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{pos}/{len} {bar:10} {elapsed} {wide_msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}
