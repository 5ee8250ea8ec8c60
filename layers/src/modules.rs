//! Building blocks on dfdx tensors, most of them with parameters: what surrounds an equilibrium. All are recorded on the tape; on the
//! CPU, those that take long are written by hand. [`Linear`], [`GroupNorm`] and [`LayerNorm`] have a method `of` for
//! values, in the equation of a layer.

mod columns;
mod concatenate;
pub mod convolution;
mod dropout;
mod group_norm;
mod layer_norm;
mod linear;
mod linear_combination;
mod normalize;
mod pointwise;
mod scratch;

pub use columns::columns;
pub use concatenate::concatenate;
pub use dropout::{dropout, dropout_mask};
pub use group_norm::GroupNorm;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use linear_combination::linear_combination;
pub use normalize::normalize;
pub(crate) use normalize::row_like;
pub use pointwise::{mean, relu, scale_rows, sigmoid, times_data};
