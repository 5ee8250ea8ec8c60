//! Optimizers, learning-rate decay, gradient clipping and averages of parameters.

mod adam;
mod average;
mod clip;
mod kept;
mod schedule;
mod sgd;
mod share;
mod update;

pub use adam::Adam;
pub use average::Average;
pub use clip::{clip_norm, gradient_norm};
pub use kept::Kept;
pub use schedule::StepDecay;
pub use sgd::Sgd;
pub use update::{optimizer, Optimizer, OptimizerConfig};
