//! Ctrl-C and termination: noticed at the next good moment.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::terminal;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on, the first request to stop is only noted. A second one ends the process at once.
pub fn listen() {
    let note = || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        terminal::say("stopping after this epoch; once more to stop at once");
    };
    if let Err(error) = ctrlc::set_handler(note) {
        log::warn!("Ctrl-C ends the process at once: {error}");
    }
}

/// Whether a request to stop has come.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
