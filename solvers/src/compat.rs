//! Whose iterates are reproduced.

use equilibria_core::serde::{Deserialize, Serialize};

/// Another library whose recurrence a solver follows to the letter, for comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Compat {
    /// TorchDEQ 0.1.
    Torchdeq,
}
