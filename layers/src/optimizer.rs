//! Optimizers, learning-rate decay and gradient clipping.

mod clip;
mod schedule;
mod update;

pub use clip::{clip_norm, gradient_norm};
pub use schedule::StepDecay;
pub use update::{Optimizer, OptimizerConfig};
