//! The `equilibria` program with one more solver: linking the crate is all it takes.

use std::process::ExitCode;

use equilibria_aitken as _;

fn main() -> ExitCode {
    equilibria_examples::run()
}
