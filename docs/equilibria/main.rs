//! The `equilibria` program.

equilibria::program::main!();
