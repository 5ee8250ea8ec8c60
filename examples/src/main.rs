//! The `equilibria` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    equilibria_examples::run()
}
