//! Building blocks, most of them with parameters: what `step` functions and explicit layers are made of. All are recorded on
//! the tape; on the CPU, those that take long are written by hand.

mod columns;
mod group_norm;
mod linear;
mod linear_combination;
mod pointwise;
mod recorded;

pub use columns::columns;
pub use group_norm::GroupNorm;
pub use linear::Linear;
pub use linear_combination::linear_combination;
pub use pointwise::{mean, scale_rows, sigmoid, times_data};
use recorded::recorded;
