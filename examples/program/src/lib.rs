//! The `equilibria` program (`equilibria::program`): train, evaluate, use, check and verify DEQ-fusion models, solve test problems, and list plugins.
//!
//! It is a library so that a program with plugins of one's own is two lines:
//!
//! ```no_run
//! // use my_solver as _;
//! # mod equilibria {
//! #     pub extern crate equilibria_program as program;
//! # }
//! equilibria::program::main!();
//! ```

// Both panic where they cannot write; `terminal` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[doc(hidden)]
pub mod allocator;
mod commands;
#[doc(hidden)]
pub mod config;
mod device;
mod error;
mod gradient_check;
mod interrupt;
mod plot;
mod ranks;
pub mod report;
mod run_folder;
mod saved_run;
mod study;
mod terminal;
mod training_run;

use std::process::ExitCode;

// Linked for its plugin.
use equilibria_digits as _;

use clap::{CommandFactory, Parser, Subcommand};
use equilibria_core::simd;
use equilibria_fusion::ranks::{guarded, Ranks};

use ranks::{tell, Launch};
use terminal::Verbosity;

/// The exit code for bad input or usage.
const FAILED: u8 = 2;

/// Deep equilibrium multimodal fusion: train, evaluate, check, verify, solve test problems, list plugins.
#[derive(Parser)]
#[command(name = "equilibria", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model from a TOML configuration
    Train(commands::train::Args),
    /// Evaluate a trained model on the test rows
    Evaluate(commands::evaluate::Args),
    /// Write what a model says of the test or training rows, with targets or without, to a file
    Predict(commands::predict::Args),
    /// Check the gradients of a configured model: implicit, unrolled, and by central differences
    Check(commands::check::Args),
    /// Compare with the arrays of a reference implementation
    Verify(commands::verify::Args),
    /// Solve a named test problem and show how the residual falls
    Solve(commands::solve::Args),
    /// Train variants of a configuration with several seeds and compare them
    Study(commands::study::Args),
    /// Time DEQ fusion on workload files
    Bench(commands::bench::Args),
    /// List all plugins
    Plugins(commands::plugins::Args),
    /// Show the documentation and default configuration of a plugin
    Describe(commands::describe::Args),
    /// Print a script that completes commands and options in a shell
    Completions(commands::completions::Args),
    /// Print a manual page
    Man(commands::man::Args),
}

/// The `main` of the program: [`run`] with the allocator that suits training.
///
/// A program that has an allocator of its own, or something to do first, calls [`run`] in a `main` of its own.
#[macro_export]
macro_rules! main {
    () => {
        #[global_allocator]
        static ALLOCATOR: $crate::allocator::MiMalloc = $crate::allocator::MiMalloc;

        fn main() -> ::std::process::ExitCode {
            // SAFETY: the first thing the program does, with one thread.
            #[allow(unsafe_code)]
            unsafe {
                $crate::allocator::keep_memory();
            }
            $crate::run()
        }
    };
}

/// Runs the program with the arguments of the process. Every plugin that is linked takes part.
///
/// Exit status: 0 success, 1 a check, a verification or a solve that fails, 2 bad input or usage.
pub fn run() -> ExitCode {
    sigpipe::reset();
    let outcome = match arguments() {
        Ok((command, verbosity)) => {
            return started(command, verbosity);
        }
        // Help that was asked for is a result.
        Err(message) if !message.use_stderr() => {
            terminal::print_help(&message).map(|()| ExitCode::SUCCESS)
        }
        Err(message) => message.exit(),
    };
    outcome.unwrap_or_else(|error| failed(&error))
}

/// Runs a command, with the other processes that were started for it, if any were.
fn started(command: Command, verbosity: Verbosity) -> ExitCode {
    let launch = match Launch::begin() {
        Ok(launch) => launch,
        Err(error) => return failed(&error),
    };
    let ranks = launch.ranks();
    // What all have to say is said once.
    let verbosity = if ranks.leads() {
        verbosity
    } else {
        Verbosity::quiet()
    };
    terminal::init(verbosity);
    log::debug!(
        "instruction set: {}; rounded products: {}",
        simd::instruction_set(),
        simd::rounded_products()
    );
    // On one of the threads that share the work: from outside, each piece of it would put this one to sleep.
    let work = || rayon::scope(|_| execute(command, verbosity, ranks));
    let outcome = guarded(ranks, work, |error| tell(ranks, error));
    log::logger().flush();
    (outcome.map_err(device::hand_over)).unwrap_or_else(|error| failed(&error))
}

fn failed(error: &error::Error) -> ExitCode {
    terminal::say(&format!("error: {error}"));
    ExitCode::from(FAILED)
}

fn arguments() -> Result<(Command, Verbosity), clap::Error> {
    let cli = Cli::try_parse()?;
    let verbosity = cli.verbosity.check::<Cli>()?;
    Ok((cli.command, verbosity))
}

fn execute(command: Command, verbosity: Verbosity, ranks: &dyn Ranks) -> error::Result<ExitCode> {
    match command {
        Command::Train(args) => commands::train::run(&args, verbosity, ranks),
        Command::Evaluate(args) => commands::evaluate::run(&args, ranks),
        Command::Predict(args) => commands::predict::run(&args, ranks),
        Command::Study(args) => commands::study::run(&args, verbosity, ranks),
        _ if ranks.are_several() => Err(error::Error::OneProcess {
            processes: ranks.size(),
        }),
        Command::Check(args) => commands::check::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Solve(args) => commands::solve::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Plugins(args) => commands::plugins::run(&args),
        Command::Describe(args) => commands::describe::run(&args),
        Command::Completions(args) => commands::completions::run(&args, Cli::command()),
        Command::Man(args) => commands::man::run(&args, Cli::command()),
    }
}
