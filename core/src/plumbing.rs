#![doc = include_str!("plumbing/README.md")]

mod adjoint;
mod counted;
mod deferral;
mod differences;
mod normal;
mod row_calls;
mod row_matrices;
mod row_store;
mod shortcuts;
mod slice_space;
mod store;
mod tensor_space;
mod tensor_store;

pub(crate) mod blocks;
pub(crate) mod bound;
pub(crate) mod gradients;
pub(crate) mod pulled;

pub(crate) use counted::Counted;
pub(crate) use normal::fill_row;

pub use adjoint::AdjointMap;
pub use differences::central_difference;
#[cfg(feature = "cuda")]
pub(crate) use differences::pull_back_difference;
pub use row_store::RowStore;
pub use shortcuts::Shortcuts;
pub use slice_space::SliceSpace;
pub use store::Store;
pub use tensor_space::{Space, TensorGradients, TensorSpace};
pub use tensor_store::TensorStore;
