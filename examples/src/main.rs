//! The `equilibria` program.

mod allocator;

use std::process::ExitCode;

fn main() -> ExitCode {
    // SAFETY: the first thing the program does, with one thread.
    #[allow(unsafe_code)]
    unsafe {
        allocator::keep_memory();
    }
    equilibria_examples::run()
}
