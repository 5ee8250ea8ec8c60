//! Building blocks in dfdx operations, most of them with parameters: what `step` functions and explicit layers are made of.

mod columns;
mod group_norm;
mod linear;

pub use columns::columns;
pub use group_norm::GroupNorm;
pub use linear::Linear;
