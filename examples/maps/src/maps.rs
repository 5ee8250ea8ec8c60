//! Maps in the vocabulary, as a user writes them.

mod attention;
mod fuse;
mod gated;
mod identity;
mod joint;
mod mlp;
mod plain;
mod residual;
mod tanh;

use equilibria::modules::Linear;
use equilibria::prelude::*;

pub use attention::Attention;
pub use fuse::Fuse;
pub use gated::Gated;
pub use identity::Identity;
pub use joint::Joint;
pub use mlp::Mlp;
pub use plain::Plain;
pub use residual::{Masked, Residual};
pub use tanh::Tanh;

/// Groups of every group normalization.
const GROUPS: usize = 4;

/// Modalities of a fusion.
const MODALITIES: usize = 2;

/// Tokens in a row.
const TOKENS: usize = 2;

/// Makes a layer of the given width.
pub trait Make<E: Scalar, D: Backend<E>>: Sized {
    /// With weights of any kind, which are read from a file afterwards.
    fn make(width: usize, init: &mut Initializer<D>) -> Result<Self>;
}

fn linear<E: Scalar, D: Backend<E>>(d: usize, init: &mut Initializer<D>) -> Result<Linear<E, D>> {
    Linear::normal(d, d, 0.1, init)
}
