//! Implicit layers, the operations and modules they are written with, and what trains them.
//!
//! A new file in `src/plugins` is a new layer, one in `src/stabilizers` a new stabilizer; nothing else is edited. [`Vocabulary`] has
//! the operations.

pub use equilibria_solvers as solvers;
pub use equilibria_solvers::core;

pub mod config;
pub mod initialize;
pub mod kernel;
pub mod masked;
pub mod modules;
pub mod operations;
pub mod optimizer;
pub mod stabilizer;

/// Implicit layers that a configuration can name.
pub mod plugins {
    automod::dir!(pub "src/plugins");
}

/// Stabilizers that a configuration can name.
pub mod stabilizers {
    automod::dir!(pub "src/stabilizers");
}

pub use config::{LayerConfig, LayerRequest, Layers};
pub use initialize::Initializer;
pub use masked::Masked;
pub use operations::{concatenate, Vocabulary};
pub use stabilizer::{stabilize, Stabilizer, StabilizerConfig, Stabilizers};

#[cfg(doctest)]
#[doc = include_str!("../../docs/src/several-equilibria.md")]
struct SeveralEquilibria;

#[cfg(doctest)]
#[doc = include_str!("../../docs/src/sequences.md")]
struct Sequences;
