//! Building blocks in dfdx operations, most of them with parameters: what `step` functions and explicit layers are made of.

mod columns;
mod group_norm;
mod linear;
mod linear_combination;

pub use columns::columns;
pub use group_norm::GroupNorm;
pub use linear::Linear;
pub use linear_combination::linear_combination;
