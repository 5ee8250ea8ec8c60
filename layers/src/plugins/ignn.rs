//! The implicit graph neural network.

use std::sync::Arc;

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::certificates::{norm, Dense};
use crate::config::pairs;
use crate::graph::{normalized, normalized_numbers};
use crate::nonnegative::{absolute, neumann, product, transpose};
use crate::projection::{project, ConvexSet};
use crate::{Activation, LayerConfig, LayerRequest, Layers, Sizes, Vocabulary};

plugin! {
    /// The implicit graph neural network, X = φ(W X A + Ω U A), one graph per row.
    ///
    /// It takes two injected inputs: features U and the adjacency matrix A, `nodes` × `nodes`, A_lj the weight of the edge from l to
    /// j. A row holds one node after the other, Z = Xᵀ: f(z; u, a) = φ(Aᵀ (Z Wᵀ + Uᵀ Ωᵀ)). Smaller graphs are padded with nodes that
    /// have no edges, not even to themselves: they stay at φ(0) = 0 and touch nothing.
    ///
    /// Unique, and found by `picard`, where ‖W‖_∞ λ(|A|) < 1 with the Perron root λ; so the rows of W are projected onto the
    /// ℓ₁ ball of radius κ / λ after every optimizer step. By default A is normalized, and λ ≤ 1 for all graphs. Gradients are right for
    /// directed graphs as well, unlike those of the original, which forms G A Xᵀ where G Aᵀ Xᵀ is due.
    ///
    /// Reference: F. Gu et al., Implicit Graph Neural Networks, NeurIPS 2020, eqs. 1 and 4, theorem 4.1.
    pub struct IgnnConfig: LayerConfig {
        /// Nodes of a graph, at least 1.
        pub nodes: usize = 3,
        /// Numbers per node of the state, at least 1.
        pub width: usize = 4,
        /// Numbers per node of U, at least 1.
        pub features: usize = 2,
        /// φ, applied to each entry.
        pub activation: Activation = Activation::Relu,
        /// κ, what W is kept within, above 0 and below 1.
        pub kappa: f64 = 0.9,
        /// Whether A becomes D^(−1/2) A D^(−1/2), D_ii = max(Σ_j |A_ij|, 1).
        pub normalize: bool = true,
        /// Whether the second input gets its gradient; without, a training step on graphs with many nodes is faster.
        pub edge_gradients: bool = true,
        /// λ, an upper bound of the Perron roots of |A|, as the layer uses it, in the data; above 0. 1 where A is normalized.
        pub perron_root: f64 = 1.0,
        /// What the layer gives: `nodes`, the state; `sum` or `mean` of all nodes.
        pub readout: Readout = Readout::Nodes,
    }
}

/// What the layer gives of its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Readout {
    /// All of them.
    Nodes,
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
}

#[typetag::serde(name = "ignn")]
impl LayerConfig for IgnnConfig {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("ignn", "nodes", self.nodes)?;
        Error::require_at_least_one("ignn", "width", self.width)?;
        Error::require_at_least_one("ignn", "features", self.features)?;
        Error::require_positive("ignn", "kappa", self.kappa)?;
        let below = self.kappa < 1.0;
        Error::require(below, "ignn", "kappa", "below 1", self.kappa)?;
        Error::require_positive("ignn", "perron_root", self.perron_root)
    }

    fn sizes(&self) -> Option<Sizes> {
        Some(Sizes {
            state: self.nodes * self.width,
            inputs: vec![self.nodes * self.features, self.nodes * self.nodes],
        })
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[("w", "W"), ("omega", "Omega_1")])
    }
}

impl Build<Layers> for IgnnConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        Sizes::require(self.sizes(), "ignn", request.state, request.inputs)?;
        let (width, init) = (self.width, request.init);
        let bound = (width as f64).sqrt().recip();
        let mut layer = Ignn {
            w: init.uniform((width, width), bound)?,
            omega: init.uniform((width, self.features), bound)?,
            nodes: self.nodes,
            activation: self.activation,
            normalize: self.normalize,
            edge_gradients: self.edge_gradients,
            readout: self.readout,
            radius: self.kappa / self.perron_root,
        };
        layer.keep_in_ball()?;
        Ok(AnyLayer::new(layer))
    }
}

/// `f(z; u, a) = φ(Aᵀ (Z Wᵀ + Uᵀ Ωᵀ))`.
#[derive(Clone)]
pub struct Ignn<E: Scalar, D: Backend<E>> {
    /// W, `[width, width]`.
    pub w: Matrix<E, D>,
    /// Ω, `[width, features]`.
    pub omega: Matrix<E, D>,
    /// Nodes of a graph.
    pub nodes: usize,
    /// φ.
    pub activation: Activation,
    /// Whether A is normalized.
    pub normalize: bool,
    /// Whether A gets its gradient.
    pub edge_gradients: bool,
    /// What the layer gives.
    pub readout: Readout,
    /// Radius of the ℓ₁ ball that rows of W are projected onto.
    pub radius: f64,
}

parameters!(Ignn { w, omega }, project = keep_in_ball);

impl<E: Scalar, D: Backend<E>> Ignn<E, D> {
    fn width(&self) -> usize {
        self.w.shape().0
    }

    fn keep_in_ball(&mut self) -> Result<()> {
        project(&mut self.w, ConvexSet::RowsInL1Ball(self.radius))
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Ignn<E, D> {
    fn state_dim(&self) -> usize {
        self.nodes * self.width()
    }

    fn input_dims(&self) -> Vec<usize> {
        let features = self.omega.shape().1;
        vec![self.nodes * features, self.nodes * self.nodes]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let a = match self.normalize {
            true => normalized(&x[1], self.nodes),
            false => x[1].clone(),
        };
        let [z, u, a] = [z, &x[0], &a].map(|value| value.tokens(self.nodes));
        let sent = z.product(&self.w) + u.product(&self.omega);
        Ok(self
            .activation
            .of(&a.transpose().matmul(&sent).into_value()))
    }

    /// The state, or the sum or mean of its nodes.
    fn output(&self, z: &Value<E, D>, _x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(match self.readout {
            Readout::Nodes => z.clone(),
            Readout::Sum => z.tokens(self.nodes).sum_tokens(),
            Readout::Mean => z.tokens(self.nodes).mean_tokens(),
        })
    }

    fn output_dim(&self) -> usize {
        match self.readout {
            Readout::Nodes => self.state_dim(),
            Readout::Sum | Readout::Mean => self.width(),
        }
    }

    fn reaches_input(&self, index: usize) -> bool {
        index != 1 || self.edge_gradients
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        Some(Arc::new(Comparison {
            w: Dense::new(&self.w).values().to_vec(),
            omega: Dense::new(&self.omega).values().to_vec(),
            sizes: [self.nodes, self.width(), self.omega.shape().1],
            activation: self.activation,
            normalize: self.normalize,
        }))
    }
}

/// ‖z − z*‖₂ by comparison: with r = |z − f(z)| and T E = |A|ᵀ E |W|ᵀ, E = |Z − Z*| is at most `r + T E` in every entry, and so at most
/// `(I − T)⁻¹ r = Σ_k Tᵏ r`.
struct Comparison {
    w: Vec<f64>,
    omega: Vec<f64>,
    /// Nodes, width and features.
    sizes: [usize; 3],
    activation: Activation,
    normalize: bool,
}

impl Comparison {
    /// A as the layer uses it.
    fn edges(&self, a: &[f64]) -> Vec<f64> {
        match self.normalize {
            true => normalized_numbers(a, self.sizes[0]),
            false => a.to_vec(),
        }
    }

    /// `Aᵀ (Z Wᵀ + U Ωᵀ)`, and what rounding may have changed of each entry, or of its activation.
    fn arrived(&self, z: &[f64], u: &[f64], a: &[f64]) -> [Vec<f64>; 2] {
        let [n, width, features] = self.sizes;
        let arrived = |z: &[f64], w: &[f64], u: &[f64], omega: &[f64], a: &[f64]| {
            let mut sent = product(z, &transpose(w, [width, width]), [n, width, width]);
            let own = transpose(omega, [width, features]);
            let own = product(u, &own, [n, features, width]);
            sent.iter_mut()
                .zip(&own)
                .for_each(|(sent, own)| *sent += own);
            product(&transpose(a, [n, n]), &sent, [n, n, width])
        };
        let exact = arrived(z, &self.w, u, &self.omega, a);
        let [z, w, u, omega, a] = [z, &self.w, u, &self.omega, a].map(absolute);
        let unit = (n + width + features + 8) as f64 * f64::EPSILON;
        let sizes = arrived(&z, &w, &u, &omega, &a);
        let off = sizes
            .iter()
            .zip(&z)
            .map(|(size, z)| unit * (size + z + 1.0));
        [exact, off.collect()]
    }

    /// What no entry of |Z − Z*| exceeds; none where the map need not contract.
    fn enclosure(&self, z: &[f64], [arrived, off]: &[Vec<f64>; 2], a: &[f64]) -> Option<Vec<f64>> {
        let [n, width, _] = self.sizes;
        let entries = z.iter().zip(arrived).zip(off);
        // max(NaN, 0) is 0: what is not finite must stay so.
        let value = |arrived: f64| self.activation.at(arrived) + 0.0 * arrived;
        let residual = entries.map(|((z, arrived), off)| (z - value(*arrived)).abs() + off);
        let by_target = absolute(&transpose(a, [n, n]));
        let w = absolute(&transpose(&self.w, [width, width]));
        neumann(residual.collect(), &by_target, &w, [n, width])
    }
}

impl Certificate for Comparison {
    fn bound(&self, z: &[f64], x: &[&[f64]]) -> f64 {
        let [u, a] = x else {
            return f64::INFINITY;
        };
        let a = self.edges(a);
        let enclosure = self.enclosure(z, &self.arrived(z, u, &a), &a);
        enclosure.map_or(f64::INFINITY, |enclosure| norm(&enclosure))
    }

    /// As for z, with `u* = Jᵀu* + v`, Jᵀ u = A (D ⊙ u) W and D the slopes of φ: known where φ is made of straight lines, none of which ends
    /// between z and z*.
    fn adjoint_bound(&self, z: &[f64], x: &[&[f64]], u: &[f64], v: &[f64]) -> Option<f64> {
        let ([n, width, _], [features, a]) = (self.sizes, x) else {
            return None;
        };
        let a = &self.edges(a);
        let inner = self.arrived(z, features, a);
        let pieces: Option<Vec<(f64, f64)>> = (inner[0].iter())
            .map(|&arrived| self.activation.straight(arrived))
            .collect();
        let pieces = pieces?;
        let Some(distance) = self.enclosure(z, &inner, a) else {
            return Some(f64::INFINITY);
        };
        let (m, w) = (absolute(a), absolute(&self.w));
        let sent = product(&distance, &transpose(&w, [width, width]), [n, width, width]);
        let reach = product(&transpose(&m, [n, n]), &sent, [n, n, width]);
        let mut rooms = pieces.iter().zip(&reach).zip(&inner[1]);
        if rooms.any(|((&(_, room), reach), off)| room <= reach + off) {
            return Some(f64::INFINITY);
        }
        let back = |d: &[f64], w: &[f64], a: &[f64]| {
            product(a, &product(d, w, [n, width, width]), [n, n, width])
        };
        let sloped: Vec<f64> = pieces
            .iter()
            .zip(u)
            .map(|((slope, _), u)| slope * u)
            .collect();
        let (image, size) = (back(&sloped, &self.w, a), back(&absolute(&sloped), &w, &m));
        let unit = (n + width + 8) as f64 * f64::EPSILON;
        let entries = image.iter().zip(&size).zip(u).zip(v);
        let residual = entries.map(|(((image, size), u), v)| {
            (image + v - u).abs() + unit * (size + u.abs() + v.abs())
        });
        let enclosure = neumann(residual.collect(), &m, &w, [n, width]);
        Some(enclosure.map_or(f64::INFINITY, |enclosure| norm(&enclosure)))
    }
}
