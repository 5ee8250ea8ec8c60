//! The linear implicit graph network.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::certificates::{norm, Dense};
use crate::config::pairs;
use crate::forming::gram;
use crate::graph::{normalized, normalized_numbers};
use crate::nonnegative::{absolute, neumann, product, transpose};
use crate::{LayerConfig, LayerRequest, Layers, Sizes, Vocabulary};

plugin! {
    /// The linear implicit graph network, Z = γ g(F) Z S + X with g(F) = FᵀF / (‖FᵀF‖_F + 1e-12), one graph per row.
    ///
    /// It takes two injected inputs: X, as wide as the state, and the adjacency matrix, `nodes` × `nodes`. Rows hold one
    /// node after the other. Features from all distances reach a node, each step of the way γ times weaker.
    ///
    /// Unique where the Perron root of |S| is at most 1, as by default for all graphs, and γ < 1, since ‖g(F)‖_F ≤ 1. The map is affine: `gmres` solves
    /// it. X receives its gradient, unlike in the original, whose layer cannot be put behind another one. It has no nonlinearity:
    /// `ignn` can tell more graphs from each other.
    ///
    /// Reference: J. Liu et al., EIGNN: Efficient Infinite-Depth Graph Neural Networks, NeurIPS 2021, eqs. 3-5.
    pub struct EignnConfig: LayerConfig {
        /// Nodes of a graph, at least 1.
        pub nodes: usize = 3,
        /// Numbers per node, at least 1.
        pub width: usize = 4,
        /// γ, above 0 and below 1.
        pub gamma: f64 = 0.8,
        /// Whether S is made of the second input A, as D^(−1/2) A D^(−1/2), D_ii = max(Σ_j |A_ij|, 1); else it is that input.
        pub normalize: bool = true,
        /// Whether the second input gets its gradient; without, a training step on graphs with many nodes is faster.
        pub edge_gradients: bool = true,
    }
}

#[typetag::serde(name = "eignn")]
impl LayerConfig for EignnConfig {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("eignn", "nodes", self.nodes)?;
        Error::require_at_least_one("eignn", "width", self.width)?;
        Error::require_positive("eignn", "gamma", self.gamma)?;
        Error::require(self.gamma < 1.0, "eignn", "gamma", "below 1", self.gamma)
    }

    fn sizes(&self) -> Option<Sizes> {
        let state = self.nodes * self.width;
        Some(Sizes {
            state,
            inputs: vec![state, self.nodes * self.nodes],
        })
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[("f", "F")])
    }
}

impl Build<Layers> for EignnConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        Sizes::require(self.sizes(), "eignn", request.state, request.inputs)?;
        let width = self.width;
        let bound = (width as f64).sqrt().recip();
        Ok(AnyLayer::new(Eignn {
            f: request.init.uniform((width, width), bound)?,
            nodes: self.nodes,
            gamma: self.gamma,
            normalize: self.normalize,
            edge_gradients: self.edge_gradients,
            factor: None,
        }))
    }
}

/// `f(z; x, s) = γ Sᵀ Z g(F) + X`, in rows of nodes.
#[derive(Clone)]
pub struct Eignn<E: Scalar, D: Backend<E>> {
    /// F, `[width, width]`.
    pub f: Matrix<E, D>,
    /// Nodes of a graph.
    pub nodes: usize,
    /// γ.
    pub gamma: f64,
    /// Whether S is made of the second input.
    pub normalize: bool,
    /// Whether the second input gets its gradient.
    pub edge_gradients: bool,
    /// γ g(F), in the layer that a solve uses.
    pub factor: Option<Matrix<E, D>>,
}

parameters!(Eignn { f, factor });

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Eignn<E, D> {
    fn state_dim(&self) -> usize {
        self.nodes * self.f.shape().0
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.state_dim(), self.nodes * self.nodes]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let s = match self.normalize {
            true => normalized(&x[1], self.nodes),
            false => x[1].clone(),
        };
        let nodes = z.tokens(self.nodes);
        let (edges, mixed) = match &self.factor {
            Some(factor) => (s, nodes.product(factor)),
            None => {
                let f = z.broadcast(&self.f).tokens(self.f.shape().0);
                let gram = f.transpose().matmul(&f).into_value();
                let factor = self.gamma / (gram.square().sum(1).sqrt() + SMALL);
                let mixed = nodes.product(&self.f).product_transposed(&self.f);
                (&s * factor.repeat(s.width()), mixed)
            }
        };
        let edges = edges.tokens(self.nodes);
        Ok(edges.transpose().matmul(&mixed).into_value() + &x[0])
    }

    fn formed(&self, tape: OwnedTape<E, D>) -> Result<Formed<E, D>> {
        let (gram, tape) = gram(self.f.clone().put_tape(tape))?.split_tape();
        let square = gram.retaped::<OwnedTape<E, D>>().square();
        let size = square.sum::<Rank0, Axes2<0, 1>>().sqrt() + E::of(SMALL);
        let scale = size.recip() * E::of(self.gamma);
        let scale = scale.broadcast_like::<_, Axes2<0, 1>>(gram.shape());
        let (factor, tape) = (gram.put_tape(tape) * scale).split_tape();
        let factor = Some(factor);
        let formed = Self {
            factor,
            ..self.clone()
        };
        Ok((Some(AnyLayer::new(formed)), tape))
    }

    fn reaches_input(&self, index: usize) -> bool {
        index != 1 || self.edge_gradients
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        let (f, width) = (Dense::new(&self.f), self.f.shape().0);
        let mut factor = product(&transpose(f.values(), [width; 2]), f.values(), [width; 3]);
        let scale = self.gamma / (norm(&factor) + SMALL);
        factor.iter_mut().for_each(|entry| *entry *= scale);
        Some(Arc::new(Comparison {
            factor,
            sizes: [self.nodes, width],
            normalize: self.normalize,
        }))
    }
}

/// What keeps g(F) defined at F = 0.
const SMALL: f64 = 1e-12;

/// ‖z − z*‖₂ by comparison: with r = |z − f(z)|, |Z − Z*| is at most `Σ_k (γ |S|ᵀ)ᵏ r |g(F)|ᵏ` in every entry.
struct Comparison {
    /// γ g(F), `[width, width]`, symmetric.
    factor: Vec<f64>,
    /// Nodes and width.
    sizes: [usize; 2],
    normalize: bool,
}

impl Comparison {
    /// S as the layer uses it.
    fn edges(&self, s: &[f64]) -> Vec<f64> {
        match self.normalize {
            true => normalized_numbers(s, self.sizes[0]),
            false => s.to_vec(),
        }
    }

    /// What the distance of z from the solution of `Z = M Z γ g(F) + X` does not exceed.
    fn distance(&self, m: &[f64], z: &[f64], x: &[f64]) -> f64 {
        let [n, width] = self.sizes;
        let image = |m: &[f64], z: &[f64], factor: &[f64]| {
            product(m, &product(z, factor, [n, width, width]), [n, n, width])
        };
        let [sizes, edges, factor] = [z, m, &self.factor].map(absolute);
        let (exact, sizes) = (image(m, z, &self.factor), image(&edges, &sizes, &factor));
        let unit = (n + 4 * width + 16) as f64 * f64::EPSILON;
        let entries = z.iter().zip(&exact).zip(x).zip(&sizes);
        let residual = entries.map(|(((z, image), x), size)| {
            (z - image - x).abs() + unit * (size + z.abs() + x.abs())
        });
        let enclosure = neumann(residual.collect(), &edges, &factor, self.sizes);
        enclosure.map_or(f64::INFINITY, |enclosure| norm(&enclosure))
    }
}

impl Certificate for Comparison {
    fn bound(&self, z: &[f64], x: &[&[f64]]) -> f64 {
        let [features, s] = x else {
            return f64::INFINITY;
        };
        let by_target = transpose(&self.edges(s), [self.sizes[0]; 2]);
        self.distance(&by_target, z, features)
    }

    /// Jᵀ is the same everywhere, with S in place of Sᵀ.
    fn adjoint_bound(&self, _: &[f64], x: &[&[f64]], u: &[f64], v: &[f64]) -> Option<f64> {
        let [_, s] = x else {
            return None;
        };
        Some(self.distance(&self.edges(s), u, v))
    }
}
