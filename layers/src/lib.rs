//! Implicit layers, the operations and modules they are written with, and what trains them.
//!
//! A new file in `src/plugins` is a new layer, one in `src/stabilizers` a new stabilizer; nothing else is edited. [`Vocabulary`] has
//! the operations.

#[doc(hidden)]
pub use equilibria_solvers as solvers;
#[doc(hidden)]
pub use equilibria_solvers::core;

pub mod activation;
pub mod attention;
pub mod certificates;
pub mod config;
pub mod forming;
mod graph;
pub mod initialize;
pub mod kernel;
pub mod masked;
mod memory;
pub mod modules;
mod nonnegative;
pub mod operations;
pub mod optimizer;
pub mod projection;
pub mod selection;
pub mod stabilizer;
pub mod tokens;
pub mod vector_field;

/// Implicit layers that a configuration can name.
pub mod plugins {
    automod::dir!(pub "src/plugins");
}

/// Stabilizers that a configuration can name.
pub mod stabilizers {
    automod::dir!(pub "src/stabilizers");
}

pub use activation::Activation;
pub use attention::{attend, attention, attention_scores, causal_mask};
pub use config::{
    layer, one_input, one_input_like_state, LayerConfig, LayerRequest, Layers, Sizes,
};
pub use initialize::Initializer;
pub use masked::Masked;
pub use operations::{concatenate, Vocabulary};
pub use optimizer::optimizer;
pub use selection::{Selection, Window};
pub use stabilizer::{stabilize, stabilizer, Stabilizer, StabilizerConfig, Stabilizers};
pub use tokens::Tokens;
pub use vector_field::{Euler, VectorField};

/// Everything the file of a layer, or of an operation, needs.
pub mod prelude {
    pub use crate::core::prelude::*;
    pub use crate::{
        attention, causal_mask, concatenate, one_input, Activation, Initializer, LayerConfig,
        LayerRequest, Layers, Selection, Sizes, Tokens, Vocabulary, Window,
    };
}
