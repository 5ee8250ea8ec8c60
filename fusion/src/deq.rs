//! The implicit layers of DEQ fusion (arXiv 2306.16645, part 3.2).

mod fuse;
mod fuse_kernel;
mod fusion;
mod joint;
mod joint_kernel;

pub use fuse::FuseBlock;
pub use fusion::DeqFusion;
pub use joint::JointLayer;
