//! Optimizers, learning-rate decay and gradient clipping.

mod adam;
mod clip;
mod schedule;
mod sgd;
mod update;

pub use adam::Adam;
pub use clip::{clip_norm, gradient_norm};
pub use schedule::StepDecay;
pub use sgd::Sgd;
pub use update::{Optimizer, OptimizerConfig};
