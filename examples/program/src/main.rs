//! The program for the tests of this package; the one to install is `equilibria`.

equilibria_program::main!();
