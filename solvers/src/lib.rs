//! Solvers, backward strategies and regularizers: one file per plugin, named like the plugin.
//!
//! A new file in one of the three folders is a new plugin; nothing else is edited.

#[doc(hidden)]
pub use equilibria_core as core;

pub mod spectrum;

mod combination;
mod compat;
mod krylov;
mod mixing;
mod mixing_systems;
mod squared_product;
mod trajectory;

pub use compat::Compat;

/// Fixed-point solvers, also used for adjoint equations.
pub mod forward {
    automod::dir!(pub "src/forward");
}

/// How gradients pass through an equilibrium.
pub mod backward {
    automod::dir!(pub "src/backward");
}

/// Penalties on the map at its equilibrium.
pub mod regularizers {
    automod::dir!(pub "src/regularizers");
}

use std::sync::Arc;

use equilibria_core::{registry, BackwardStrategy, FixedPointSolver, Regularizer, Result};

/// A solver by name, with its default configuration.
///
/// # Errors
/// [`UnknownPlugin`](equilibria_core::Error::UnknownPlugin), which names the nearest known one.
pub fn solver(name: &str) -> Result<Arc<dyn FixedPointSolver>> {
    registry::default::<dyn FixedPointSolver>(name).map(Arc::from)
}

/// A backward strategy by name, with its default configuration.
///
/// # Errors
/// [`UnknownPlugin`](equilibria_core::Error::UnknownPlugin), which names the nearest known one.
pub fn backward(name: &str) -> Result<Arc<dyn BackwardStrategy>> {
    registry::default::<dyn BackwardStrategy>(name).map(Arc::from)
}

/// A regularizer by name, with its default configuration.
///
/// # Errors
/// [`UnknownPlugin`](equilibria_core::Error::UnknownPlugin), which names the nearest known one.
pub fn regularizer(name: &str) -> Result<Arc<dyn Regularizer>> {
    registry::default::<dyn Regularizer>(name).map(Arc::from)
}
