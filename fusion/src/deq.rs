//! The implicit layers of DEQ fusion (arXiv 2306.16645, part 3.2).

mod convergence;
mod fuse;
mod fusion;
mod joint;
mod learned_start;
mod masks;
mod start;
mod warm_start;

pub(crate) use convergence::solver_differences;
pub use fuse::FuseBlock;
pub use fusion::DeqFusion;
pub use joint::JointLayer;
pub use learned_start::LearnedStart;
pub use start::{Start, Starts};
pub use warm_start::WarmStart;
