//! One file per subcommand.

pub mod bench;
pub mod check;
pub mod completions;
pub mod describe;
pub mod evaluate;
pub mod plugins;
pub mod predict;
pub mod solve;
pub mod study;
pub mod train;
pub mod verify;
