//! The log of the program: how much of it is shown, and warnings without their repetitions.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory};
use equilibria_core::parallel::lock;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// How much is shown beside the results.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Verbosity {
    /// Show every solve: solver, evaluations, largest residual, unconverged rows; -vv shows every step of it
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Show neither progress nor warnings
    #[arg(short, long, global = true)]
    quiet: bool,
}

impl Verbosity {
    /// What `--quiet` asks for.
    pub fn quiet() -> Self {
        Self {
            verbose: 0,
            quiet: true,
        }
    }

    /// Refuses contradictory options. Not left to clap, which does not see one before and one after the subcommand as a pair.
    pub fn check<C: CommandFactory>(self) -> Result<Self, clap::Error> {
        if self.quiet && self.verbose > 0 {
            let message = "--verbose and --quiet exclude each other: give one of them";
            return Err(C::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(self)
    }

    /// Whether progress is shown.
    pub fn shows_progress(self) -> bool {
        !self.quiet
    }

    /// Whether single solves are shown.
    pub fn shows_solves(self) -> bool {
        self.verbose > 0
    }

    /// The level that was asked for; `None` if nothing was.
    fn level(self) -> Option<LevelFilter> {
        match (self.quiet, self.verbose) {
            (true, _) => Some(LevelFilter::Error),
            (false, 0) => None,
            (false, 1) => Some(LevelFilter::Debug),
            (false, _) => Some(LevelFilter::Trace),
        }
    }
}

/// Sends the log to standard error. An option decides what is shown; without one the environment variable `RUST_LOG`, which
/// knows modules and shows every warning; without it, progress and warnings.
pub fn init(verbosity: Verbosity) {
    let mut builder = env_logger::Builder::new();
    builder.target(env_logger::Target::Pipe(Box::new(Screen)));
    let filters = std::env::var("RUST_LOG").ok();
    let filters = filters.filter(|_| verbosity.level().is_none());
    match &filters {
        Some(filters) => builder.parse_filters(filters),
        None => builder
            .filter_level(verbosity.level().unwrap_or(LevelFilter::Info))
            .format(|out, record| match record.level() {
                Level::Error => writeln!(out, "error: {}", record.args()),
                Level::Warn => writeln!(out, "warning: {}", record.args()),
                _ => writeln!(out, "{}", record.args()),
            }),
    };
    let logger = Logger {
        inner: builder.build(),
        seen: filters.is_none().then(Mutex::default),
    };
    let level = logger.inner.filter();
    // Fails if there is a logger already: then that one is meant to be used.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

/// Standard error, shared with a progress bar.
struct Screen;

impl Write for Screen {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        super::write(lines).map(|()| lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Shows the first of several like warnings at once, and on `flush` how many more there were.
struct Logger {
    inner: env_logger::Logger,
    /// Warnings since the last flush; `None` to show them all.
    seen: Option<Mutex<BTreeMap<String, Repeated>>>,
}

/// A warning that was shown.
struct Repeated {
    more: usize,
    latest: String,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        match &self.seen {
            Some(seen) if record.level() == Level::Warn && self.inner.matches(record) => {
                let text = record.args().to_string();
                let mut seen = lock(seen);
                match seen.get_mut(&kind(&text)) {
                    Some(repeated) => {
                        repeated.more += 1;
                        repeated.latest = text;
                    }
                    None => {
                        let (more, latest) = (0, String::new());
                        seen.insert(kind(&text), Repeated { more, latest });
                        self.inner.log(record);
                    }
                }
            }
            _ => self.inner.log(record),
        }
    }

    fn flush(&self) {
        let Some(seen) = &self.seen else {
            return;
        };
        let seen = std::mem::take(&mut *lock(seen));
        for Repeated { more, latest } in seen.into_values().filter(|warning| warning.more > 0) {
            let mut record = Record::builder();
            record.level(Level::Warn).target(module_path!());
            self.inner.log(
                &record
                    .args(format_args!("{more} more like it, the last one: {latest}"))
                    .build(),
            );
        }
        self.inner.flush();
    }
}

/// What warnings have in common that differ in numbers alone: the other words, among them names such as `theta.1`.
fn kind(text: &str) -> String {
    let is_number = |word: &&str| {
        let start = word.chars().find(|c| c.is_alphanumeric());
        start.is_some_and(|c| c.is_ascii_digit())
    };
    let words = text.split_whitespace().filter(|word| !is_number(word));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_that_differ_in_numbers_are_of_one_kind() {
        let warning = |solve: &str, unsolved: usize, residual: f64| {
            kind(&format!(
                "{solve} solve: {unsolved} of 64 samples unsolved (sample 3: stalled at {residual:.1e})"
            ))
        };
        assert_eq!(warning("forward", 3, 1e-3), warning("forward", 64, 2.5e7));
        assert_ne!(warning("forward", 3, 1e-3), warning("adjoint", 3, 1e-3));
        let of = |equilibrium: &str| warning(&format!("{equilibrium}: forward"), 3, 1e-3);
        assert_ne!(of("theta.1"), of("theta.2"));
    }
}
