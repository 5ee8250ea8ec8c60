//! Building blocks with parameters, in dfdx operations: what `step` functions and explicit layers are made of.

mod group_norm;
mod linear;

pub use group_norm::GroupNorm;
pub use linear::Linear;
