//! Activations that a configuration can name, and what certificates need to know of them.

use equilibria_core::{Backend, Scalar};
use serde::{Deserialize, Serialize};

use crate::Vocabulary;

/// φ of a layer, entry by entry. All of these are nondecreasing with slopes of at most 1: each is the proximal operator of a convex
/// function, and none expands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` where x > 0, else `0.01 x`.
    LeakyRelu,
    /// `tanh x`.
    Tanh,
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `ln(1 + exp x)`.
    Softplus,
}

/// Of [`Activation::LeakyRelu`], as PyTorch has it.
const SLOPE: f64 = 0.01;

impl Activation {
    /// `φ(x)` in the equation of a layer.
    pub fn of<E: Scalar, D: Backend<E>>(
        self,
        x: &equilibria_core::Value<E, D>,
    ) -> equilibria_core::Value<E, D> {
        match self {
            Self::Identity => x.clone(),
            Self::Relu => x.relu(),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::LeakyRelu => x.leaky_relu(SLOPE),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => x.sigmoid(),
            Self::Softsign => x / (x.abs() + 1.0),
            Self::Softplus => x.softplus(),
        }
    }

    /// `φ(x)`.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            Self::Relu => x.max(0.0),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::LeakyRelu => x.max(SLOPE * x),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }

    /// The slope beside x and the distance to the nearest kink, for an activation made of straight lines; none for a curve.
    pub fn straight(self, x: f64) -> Option<(f64, f64)> {
        let step = |positive: bool| f64::from(u8::from(positive));
        match self {
            Self::Identity => Some((1.0, f64::INFINITY)),
            Self::Relu => Some((step(x > 0.0), x.abs())),
            Self::Relu6 => Some((step(x > 0.0 && x < 6.0), x.abs().min((x - 6.0).abs()))),
            Self::LeakyRelu => Some((if x > 0.0 { 1.0 } else { SLOPE }, x.abs())),
            Self::Tanh | Self::Sigmoid | Self::Softsign | Self::Softplus => None,
        }
    }

    /// Whether φ is a projection: the proximal operator of a multiple of the function is φ as well.
    pub fn is_projection(self) -> bool {
        matches!(self, Self::Identity | Self::Relu | Self::Relu6)
    }

    /// The least upper bound of φ, if φ is positive and concave above 0: what a positive concave layer needs.
    pub fn concave_limit(self) -> Option<f64> {
        match self {
            Self::Tanh | Self::Sigmoid | Self::Softsign => Some(1.0),
            Self::Relu6 => Some(6.0),
            _ => None,
        }
    }
}
