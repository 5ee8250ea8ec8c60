//! Building blocks on dfdx tensors, most of them with parameters: what surrounds an equilibrium. All are recorded on the tape; on the
//! CPU, those that take long are written by hand. [`Linear`], [`GroupNorm`] and [`LayerNorm`] have a method `of` for
//! values, in the equation of a layer.

mod batch_norm;
mod bert;
mod columns;
mod concatenate;
pub mod convolution;
mod dropout;
mod embedding;
mod group_norm;
mod gru;
mod layer_norm;
mod linear;
mod linear_combination;
mod lstm;
mod maxout;
mod multi_head;
mod normalize;
mod pointwise;
mod scratch;
mod standard_norm;
mod unbiased;

pub use batch_norm::BatchNorm;
pub use bert::{BertEmbedding, BertLayer, BertMasks};
pub use columns::columns;
pub use concatenate::concatenate;
pub use dropout::{dropout, dropout_mask, dropout_mask_rows};
pub use embedding::Embedding;
pub use group_norm::GroupNorm;
pub use gru::{Gate, Gru};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use linear_combination::linear_combination;
pub use lstm::Lstm;
pub use maxout::Maxout;
pub use multi_head::MultiHead;
pub use normalize::normalize;
pub(crate) use normalize::row_like;
pub use pointwise::{mean, relu, scale_rows, sigmoid, times_data};
pub use standard_norm::StandardNorm;
pub use unbiased::Unbiased;
