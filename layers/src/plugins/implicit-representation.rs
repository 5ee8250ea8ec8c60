//! The implicit neural representation that is itself an equilibrium.

use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::config::pairs;
use crate::modules::Linear;
use crate::{one_input, LayerConfig, LayerRequest, Layers, Vocabulary};

plugin! {
    /// The implicit neural representation (Implicit)², an equilibrium over coordinates: rows are points of an image, of a shape, of a sound.
    ///
    /// The coordinates are injected in `blocks` + 1 parts u_0, u_1, … of the width of the state. f starts with z + filter(c, u_0), and every
    /// block maps z to filter(W_i z + b_i, u_i). The filter is sin(z + u) with u affine in x (`siren`, c = 0), z ⊙ u with u = sin of an affine map
    /// (`fourier`, c = 1), or that times a Gaussian window (`gabor`, c = 1).
    ///
    /// A contraction where the product of ‖W_i‖₂ is below 1, which fresh weights are not quite: use the stabilizer `spectral-norm` where
    /// that is to be certain. Solve it by `picard` or `anderson`; gradients by x are large, as `scale` is. It takes one injected input of any width, the
    /// coordinates.
    ///
    /// Reference: Z. Huang, S. Bai, J. Z. Kolter, (Implicit)²: Implicit Layers for Implicit Representations, NeurIPS 2021, §3.
    pub struct ImplicitRepresentationConfig: LayerConfig {
        /// How a state meets its part of the coordinates.
        pub filter: Filter = Filter::Siren,
        /// Number of blocks, at least 1.
        pub blocks: usize = 1,
        /// Scale of the coordinates, above 0: initial weights are PyTorch's, times this, divided by √(`blocks` + 1). 256 for images.
        pub scale: f64 = 4.0,
        /// Shape of the Gamma distribution that γ of `gabor` is drawn from, above 0.
        pub shape: f64 = 6.0,
        /// Its rate, above 0.
        pub rate: f64 = 1.0,
    }
}

/// How a state meets its part of the coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// `sin(z + u)`.
    Siren,
    /// `z ⊙ sin(u)`.
    Fourier,
    /// `z ⊙ sin(u) ⊙ exp(−γ ‖x − μ‖² / 2)`.
    Gabor,
}

#[typetag::serde(name = "implicit-representation")]
impl LayerConfig for ImplicitRepresentationConfig {
    fn validate(&self) -> Result<()> {
        let name = "implicit-representation";
        Error::require_at_least_one(name, "blocks", self.blocks)?;
        Error::require_positive(name, "scale", self.scale)?;
        Error::require_positive(name, "shape", self.shape)?;
        Error::require_positive(name, "rate", self.rate)
    }

    fn original_names(&self) -> Vec<(String, String)> {
        let mut names = pairs(&[
            ("injection.weight", "injection.x_map.weight"),
            ("injection.bias", "injection.x_map.bias"),
            ("window.mu", "injection.mu"),
            ("window.gamma", "injection.gamma"),
        ]);
        for (block, part) in (0..self.blocks).flat_map(|block| [(block, "weight"), (block, "bias")])
        {
            let ours = format!("blocks.{}.{part}", block + 1);
            names.push((ours, format!("f.layers.{block}.z_map.{part}")));
        }
        names
    }
}

impl Build<Layers> for ImplicitRepresentationConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        let (state, init) = (request.state, request.init);
        let coordinates = one_input("implicit-representation", request.inputs)?;
        let width = (self.blocks + 1) * state;
        let scale = self.scale / ((self.blocks + 1) as f64).sqrt();
        let limit = scale / (coordinates.max(1) as f64).sqrt();
        let weight = init.uniform((width, coordinates), limit)?;
        let injection = Linear::new(weight, init.uniform((1, width), std::f64::consts::PI)?);
        let window = match self.filter {
            Filter::Gabor => Some(Window {
                mu: init.uniform((width, coordinates), 1.0)?,
                gamma: init.gamma((1, width), self.shape, self.rate)?,
            }),
            _ => None,
        };
        let mut blocks = Vec::with_capacity(self.blocks);
        for _ in 0..self.blocks {
            blocks.push(Linear::uniform(state, state, init)?);
        }
        Ok(AnyLayer::new(ImplicitRepresentation {
            injection,
            window,
            blocks,
            filter: self.filter,
        }))
    }
}

/// `f(z; x)`: z + filter(c, u_0), then filter(W_i z + b_i, u_i) block by block.
#[derive(Clone)]
pub struct ImplicitRepresentation<E: Scalar, D: Backend<E>> {
    /// From coordinates to the parts u_0, u_1, …, side by side.
    pub injection: Linear<E, D>,
    /// The windows of `gabor`.
    pub window: Option<Window<E, D>>,
    /// W_i and b_i.
    pub blocks: Vec<Linear<E, D>>,
    /// The filter.
    pub filter: Filter,
}

parameters!(ImplicitRepresentation {
    injection,
    window,
    blocks
});

/// Gaussian windows, `exp(−γ ‖x − μ‖² / 2)`, one for each number of the parts.
#[derive(Clone)]
pub struct Window<E: Scalar, D: Backend<E>> {
    /// Centers μ, `[parts · dim, coordinates]`.
    pub mu: Matrix<E, D>,
    /// γ ≥ 0, `[1, parts · dim]`.
    pub gamma: Matrix<E, D>,
}

parameters!(Window { mu, gamma });

impl<E: Scalar, D: Backend<E>> Window<E, D> {
    /// ‖x − μ‖² is ‖x‖² − 2 ⟨x, μ⟩ + ‖μ‖².
    fn of(&self, x: &Value<E, D>) -> Value<E, D> {
        use dfdx::prelude::HasShape;
        let width = self.gamma.shape().1;
        let lengths = x.square().sum(1).repeat(width);
        let centers = x.broadcast(&self.mu).square().sum(width);
        let distance = lengths - x.product(&self.mu) * 2.0 + centers;
        (distance.stretch(&self.gamma) * -0.5).exp()
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for ImplicitRepresentation<E, D> {
    fn state_dim(&self) -> usize {
        self.blocks.first().map_or(0, Linear::outputs)
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.injection.inputs()]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let d = self.state_dim();
        let affine = self.injection.of(&x[0]);
        let parts = match (self.filter, &self.window) {
            (Filter::Siren, _) => affine,
            (_, None) => affine.sin(),
            (_, Some(window)) => affine.sin() * window.of(&x[0]),
        };
        let part = |index: usize| parts.columns(index * d..(index + 1) * d);
        // The filter of c: sin(0 + u), or 1 ⊙ u.
        let mut z = match self.filter {
            Filter::Siren => z + part(0).sin(),
            _ => z + part(0),
        };
        for (index, block) in (1..).zip(&self.blocks) {
            let (inner, u) = (block.of(&z), part(index));
            z = match self.filter {
                Filter::Siren => (inner + u).sin(),
                _ => inner * u,
            };
        }
        Ok(z)
    }
}
