//! Implicit deep learning.

use std::sync::Arc;

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::certificates::{rounding, Dense};
use crate::config::pairs;
use crate::projection::{project, ConvexSet};
use crate::{one_input, Activation, LayerConfig, LayerRequest, Layers, Vocabulary};

plugin! {
    /// The implicit layer of El Ghaoui et al., f(z; x) = φ(A z + B x).
    ///
    /// Well posed for ‖A‖_∞ < 1, the largest sum of absolute values of a row: rows are projected onto the ball of `radius` after every step
    /// of the optimizer. A contraction then, in the largest entry: `picard` converges, `anderson` is faster. Not the layer to take where the
    /// radius is in the way of the fit: `mondeq` bounds no norm. It takes one injected input of any width.
    ///
    /// Reference: L. El Ghaoui et al., Implicit Deep Learning, SIAM Journal on Mathematics of Data Science 3 (2021), §2-3.
    pub struct ImplicitConfig: LayerConfig {
        /// The largest ‖A‖_∞, in (0, 1). Dimensionless.
        pub radius: f64 = 0.95,
        /// φ.
        pub activation: Activation = Activation::Relu,
    }
}

#[typetag::serde(name = "implicit")]
impl LayerConfig for ImplicitConfig {
    fn validate(&self) -> Result<()> {
        Error::require_inner_fraction("implicit", "radius", self.radius)
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[("a", "A"), ("b", "B")])
    }
}

impl Build<Layers> for ImplicitConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        let (state, init) = (request.state, request.init);
        let limit = 1.0 / (state.max(1) as f64).sqrt();
        let mut layer = Implicit {
            a: init.uniform((state, state), limit)?,
            b: init.xavier_normal(state, one_input("implicit", request.inputs)?)?,
            radius: self.radius,
            activation: self.activation,
        };
        layer.restrict_rows()?;
        Ok(AnyLayer::new(layer))
    }
}

/// `f(z; x) = φ(A z + B x)`.
#[derive(Clone)]
pub struct Implicit<E: Scalar, D: Backend<E>> {
    /// A, `[dim, dim]`.
    pub a: Matrix<E, D>,
    /// B, `[dim, width of x]`.
    pub b: Matrix<E, D>,
    /// The largest ‖A‖_∞ after a projection.
    pub radius: f64,
    /// φ.
    pub activation: Activation,
}

parameters!(Implicit { a, b }, project = restrict_rows);

impl<E: Scalar, D: Backend<E>> Implicit<E, D> {
    fn restrict_rows(&mut self) -> Result<()> {
        project(&mut self.a, ConvexSet::RowsInL1Ball(self.radius))
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Implicit<E, D> {
    fn state_dim(&self) -> usize {
        self.a.shape().1
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.b.shape().1]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let inner = z.product(&self.a) + x[0].product(&self.b);
        Ok(self.activation.of(&inner))
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        Some(Arc::new(Contraction {
            a: Dense::new(&self.a),
            b: Dense::new(&self.b),
            activation: self.activation,
        }))
    }
}

/// Applications at most, and the share of a bound from which on more of them do not pay.
const STEPS: usize = 100;
const SMALL: f64 = 0.1;

/// `max |z − z*| ≤ max |z − f(z)| / (1 − ‖A‖_∞)`: a bound of the largest entry.
struct Contraction {
    a: Dense,
    b: Dense,
    activation: Activation,
}

/// The largest absolute value.
fn largest(a: &[f64]) -> f64 {
    a.iter().map(|a| a.abs()).fold(0.0, f64::max)
}

impl Contraction {
    /// `A z + B x`, and what rounding may have changed of an entry.
    fn inner(&self, z: &[f64], x: &[f64]) -> (Vec<f64>, f64) {
        let inner = self.a.times(z).into_iter().zip(self.b.times(x));
        let size = (1.0 + self.a.row_sum()) * largest(z) + self.b.row_sum() * largest(x);
        let rounding = rounding(z.len() + x.len(), size);
        (inner.map(|(az, bx)| az + bx).collect(), rounding)
    }
}

impl Certificate for Contraction {
    /// By the triangle through a state some applications further, whose own bound is a small part of it.
    fn bound(&self, z: &[f64], x: &[&[f64]]) -> f64 {
        let room = 1.0 - self.a.row_sum() * (1.0 + rounding(z.len(), 1.0));
        if room <= 0.0 || !z.iter().all(|z| z.is_finite()) {
            return f64::INFINITY;
        }
        let distance = |a: &[f64], b: &[f64]| {
            let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
            differences.fold(0.0, f64::max)
        };
        let (mut at, mut best) = (z.to_vec(), f64::INFINITY);
        for _ in 0..STEPS {
            let (inner, off) = self.inner(&at, x[0]);
            let next = inner.into_iter().map(|v| self.activation.at(v));
            let next: Vec<f64> = next.collect();
            let (gone, left) = (distance(z, &at), (distance(&at, &next) + off) / room);
            best = best.min((gone + left) * (1.0 + rounding(1, 1.0)));
            if left < SMALL * gone {
                break;
            }
            at = next;
        }
        best
    }

    fn norm(&self, difference: &[f64]) -> f64 {
        largest(difference)
    }

    /// `Σ |u − u*| ≤ Σ |r| / (1 − ‖A‖_∞)` with r = Aᵀ D u + v − u, D the slopes of φ: Aᵀ D is a contraction in the sum of absolute values.
    /// Known where φ is made of straight lines, none of which ends between z and z*.
    fn adjoint_bound(&self, z: &[f64], x: &[&[f64]], u: &[f64], v: &[f64]) -> Option<f64> {
        let (inner, off) = self.inner(z, x[0]);
        let pieces: Option<Vec<(f64, f64)>> = (inner.iter())
            .map(|&v| self.activation.straight(v))
            .collect();
        let (pieces, gain) = (pieces?, self.a.row_sum());
        let reach = gain * self.bound(z, x) + off;
        let room = 1.0 - gain * (1.0 + rounding(z.len(), 1.0));
        if room <= 0.0 || pieces.iter().any(|&(_, room)| room <= reach) {
            return Some(f64::INFINITY);
        }
        let sloped: Vec<f64> = pieces.iter().zip(u).map(|((d, _), u)| d * u).collect();
        let product = self.a.transposed_times(&sloped);
        let terms = product.iter().zip(v).zip(u);
        let residual: f64 = terms.map(|((p, v), u)| (p + v - u).abs()).sum();
        let size: f64 = (u.iter().zip(v))
            .map(|(u, v)| 2.0 * u.abs() + v.abs())
            .sum();
        Some((residual + rounding(z.len(), size)) / room)
    }
}
