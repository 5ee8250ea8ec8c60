//! The `equilibria` program with one more solver: linking the crate is all it takes.

use equilibria_aitken as _;

equilibria::program::main!();
