//! DEQ fusion and layers with parameters and inputs from files of arrays: compared with what a reference implementation computed of
//! them, and timed on workloads that scripts time other libraries on.

mod error;
mod parts;

pub mod golden;
pub mod timing;
pub mod workload;

pub use error::{Error, Result};
