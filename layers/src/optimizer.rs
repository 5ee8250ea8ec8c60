//! Optimizers, groups of parameters, schedules of the learning rate, gradient clipping and averages of parameters.

mod adam;
mod average;
mod bert_adam;
mod clip;
mod groups;
mod kept;
mod schedule;
mod sgd;
mod share;
#[cfg(test)]
mod tests;
mod update;

pub use adam::Adam;
pub use average::Average;
pub use bert_adam::BertAdam;
pub use clip::{clip_each, clip_norm, gradient_norm, gradient_squares};
pub use groups::Group;
pub use kept::Kept;
pub use schedule::{Linear, Milestones, Moment, Schedule, StepDecay, WarmupLinear};
pub use sgd::Sgd;
pub use update::{optimizer, Optimizer, OptimizerConfig};
