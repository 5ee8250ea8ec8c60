//! The monotone operator equilibrium network.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::AnyLayer;

use crate::certificates::{largest_singular_value, norm, rounding, sum, Dense, StronglyMonotone};
use crate::config::pairs;
use crate::forming::{gram, inverse, shifted, skew, Traced};
use crate::modules::Linear;
use crate::operations::toward;
use crate::{one_input, Activation, LayerConfig, LayerRequest, Layers, Vocabulary};

plugin! {
    /// The monotone operator equilibrium network, f(z; x) = φ(W z + U x + b) with W = (1 − m) I − AᵀA + B − Bᵀ.
    ///
    /// The symmetric part of I − W is m I + AᵀA: for m > 0 there is exactly one z*, whatever the size of A and B. The plain map may expand
    /// by far: solve it by `newton-gmres`, which ends once it knows which entries of z* are 0.
    ///
    /// With `alpha` below 1, f is the step of forward-backward splitting, φ((1 − α) z + α (W z + U x + b)): the same z* and gradients, and a
    /// contraction for α < 2 m / ‖I − W‖₂².
    ///
    /// By Peaceman-Rachford splitting the state is u, the output z = φ(u): f(u; x) = 2 V (2 φ(u) − u + α (U x + b)) − 2 φ(u) + u with
    /// V = (I + α (I − W))⁻¹. The same z* and gradients; plain iteration converges for every α > 0, fastest for about 1 / ‖I − W‖₂, and
    /// `anderson` finds z* in few products. V costs some dozen products of a batch, once per solve.
    ///
    /// It takes one injected input of any width. W, or V, is formed once per solve.
    ///
    /// Reference: E. Winston, J. Z. Kolter, Monotone Operator Equilibrium Networks, NeurIPS 2020, §4.
    pub struct MondeqConfig: LayerConfig {
        /// m, above 0. Dimensionless.
        pub margin: f64 = 1.0,
        /// α, in (0, 1], with `peaceman-rachford` any above 0; other than 1 only where φ is a projection: `identity`, `relu`, `relu6`.
        /// Dimensionless.
        pub alpha: f64 = 1.0,
        /// What is iterated: `forward-backward`, which is the plain map for `alpha` = 1, or `peaceman-rachford`.
        pub splitting: Splitting = Splitting::ForwardBackward,
        /// φ.
        pub activation: Activation = Activation::Relu,
    }
}

/// What is iterated; z* is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(crate = "equilibria_core::serde", rename_all = "kebab-case")]
pub enum Splitting {
    /// φ((1 − α) z + α (W z + U x + b)).
    ForwardBackward,
    /// Of the inverse of I + α (I − W); the state is what φ is applied to.
    PeacemanRachford,
}

#[typetag::serde(name = "mondeq")]
impl LayerConfig for MondeqConfig {
    fn validate(&self) -> Result<()> {
        Error::require_positive("mondeq", "margin", self.margin)?;
        match self.splitting {
            Splitting::ForwardBackward => Error::require_share("mondeq", "alpha", self.alpha)?,
            Splitting::PeacemanRachford => {
                Error::require_positive("mondeq", "alpha", self.alpha)?;
            }
        }
        #[allow(clippy::float_cmp)] // exactly 1 is the plain map
        let plain = self.alpha == 1.0;
        let fits = plain || self.activation.is_projection();
        let expected = "identity, relu or relu6 where `alpha` is not 1";
        let got = format!("{:?}", self.activation);
        Error::require(fits, "mondeq", "activation", expected, got)
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[
            ("u.weight", "U.weight"),
            ("u.bias", "U.bias"),
            ("a", "A.weight"),
            ("b", "B.weight"),
        ])
    }
}

impl Build<Layers> for MondeqConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        let (state, init) = (request.state, request.init);
        let limit = 1.0 / (state.max(1) as f64).sqrt();
        Ok(AnyLayer::new(Mondeq {
            u: Linear::uniform(state, one_input("mondeq", request.inputs)?, init)?,
            a: init.uniform((state, state), limit)?,
            b: init.uniform((state, state), limit)?,
            margin: self.margin,
            alpha: self.alpha,
            splitting: self.splitting,
            activation: self.activation,
            matrix: None,
        }))
    }
}

/// `f(z; x) = φ(W z + U x + b)`, `W = (1 − m) I − AᵀA + B − Bᵀ`.
#[derive(Clone)]
pub struct Mondeq<E: Scalar, D: Backend<E>> {
    /// U, `[dim, width of x]`, and b.
    pub u: Linear<E, D>,
    /// A, `[dim, dim]`.
    pub a: Matrix<E, D>,
    /// B, `[dim, dim]`.
    pub b: Matrix<E, D>,
    /// m.
    pub margin: f64,
    /// α.
    pub alpha: f64,
    /// What is iterated.
    pub splitting: Splitting,
    /// φ.
    pub activation: Activation,
    /// W, or with Peaceman-Rachford splitting (I + α (I − W))⁻¹, in the layer that a solve uses.
    pub matrix: Option<Matrix<E, D>>,
}

parameters!(Mondeq { u, a, b, matrix });

impl<E: Scalar, D: Backend<E>> Mondeq<E, D> {
    /// W from A and B.
    fn weight(&self, tape: OwnedTape<E, D>) -> Result<Traced<E, D>> {
        let (square, tape) = gram(self.a.clone().put_tape(tape))?.split_tape();
        let (skew, tape) = skew(self.b.clone().put_tape(tape))?.split_tape();
        shifted(skew.put_tape(tape) - square, 1.0, 1.0 - self.margin)
    }

    /// `W z`: of A and B, which are four products, where W is not formed.
    fn weighted(&self, z: &Value<E, D>) -> Value<E, D> {
        match &self.matrix {
            Some(w) => z.product(w),
            None => {
                let square = z.product(&self.a).product_transposed(&self.a);
                let skew = z.product(&self.b) - z.product_transposed(&self.b);
                z * (1.0 - self.margin) - square + skew
            }
        }
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Mondeq<E, D> {
    fn state_dim(&self) -> usize {
        self.a.shape().1
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.u.inputs()]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let injected = self.u.of(&x[0]);
        match self.splitting {
            Splitting::ForwardBackward => {
                let inner = self.weighted(z) + injected;
                Ok(self.activation.of(&toward(z, inner, self.alpha)))
            }
            Splitting::PeacemanRachford => {
                let inverse = self.matrix.as_ref().ok_or_else(|| Error::Missing {
                    what: "the inverse of I + α (I − W) of `mondeq`, which one step by itself does not form,".to_owned(),
                    remedy: "solve it by an `Equilibrium`, or set `splitting = \"forward-backward\"`",
                })?;
                let reflected = self.activation.of(z) * 2.0 - z;
                let half = (&reflected + injected * self.alpha).product(inverse);
                Ok(half * 2.0 - reflected)
            }
        }
    }

    /// z itself; φ(u) where the state is u.
    fn output(&self, z: &Value<E, D>, _x: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(match self.splitting {
            Splitting::ForwardBackward => z.clone(),
            Splitting::PeacemanRachford => self.activation.of(z),
        })
    }

    fn formed(&self, tape: OwnedTape<E, D>) -> Result<Formed<E, D>> {
        let w = self.weight(tape)?;
        let matrix = match self.splitting {
            Splitting::ForwardBackward => w,
            Splitting::PeacemanRachford => inverse(shifted(w, -self.alpha, 1.0 + self.alpha)?)?,
        };
        let (matrix, tape) = matrix.split_tape();
        let matrix = Some(matrix);
        let formed = Self {
            matrix,
            ..self.clone()
        };
        Ok((Some(AnyLayer::new(formed)), tape))
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        let mut certificate = MondeqCertificate {
            u: Dense::new(&self.u.weight),
            bias: Dense::new(&self.u.bias),
            a: Dense::new(&self.a),
            b: Dense::new(&self.b),
            margin: self.margin,
            alpha: self.alpha,
            reflection: None,
            activation: self.activation,
        };
        if self.splitting == Splitting::PeacemanRachford {
            certificate.reflection = Some(certificate.reflection_norm(self.state_dim()));
        }
        Some(Arc::new(certificate))
    }
}

/// Strong monotonicity of I − W, by the plain map: it holds for any state, by whichever splitting it was found.
struct MondeqCertificate {
    u: Dense,
    bias: Dense,
    a: Dense,
    b: Dense,
    margin: f64,
    alpha: f64,
    /// An upper bound of ‖I − α S‖₂, where the state is that of Peaceman-Rachford splitting.
    reflection: Option<f64>,
    activation: Activation,
}

impl MondeqCertificate {
    /// `H z`, where H = m I + AᵀA is the symmetric part of I − W.
    fn symmetric(&self, z: &[f64]) -> Vec<f64> {
        sum(&self.a.transposed_times(&self.a.times(z)), self.margin, z)
    }

    /// `(B − Bᵀ) z`.
    fn skew(&self, z: &[f64]) -> Vec<f64> {
        sum(&self.b.times(z), -1.0, &self.b.transposed_times(z))
    }

    /// `S z`, with S = I − W.
    fn times(&self, z: &[f64]) -> Vec<f64> {
        sum(&self.symmetric(z), -1.0, &self.skew(z))
    }

    /// `Sᵀ z`.
    fn transposed_times(&self, z: &[f64]) -> Vec<f64> {
        sum(&self.symmetric(z), 1.0, &self.skew(z))
    }

    /// An upper bound of ‖S‖₂.
    fn norm(&self) -> f64 {
        let a = self.a.norm();
        self.margin + a * a + 2.0 * self.b.norm()
    }

    /// An upper bound of ‖I − α S‖₂, for states of so many numbers.
    fn reflection_norm(&self, dim: usize) -> f64 {
        let (mut columns, mut squares) = (Vec::with_capacity(dim * dim), 0.0);
        for column in 0..dim {
            let mut unit = vec![0.0; dim];
            unit[column] = 1.0;
            let product = self.times(&unit);
            squares += norm(&product).powi(2);
            columns.extend(sum(&unit, -self.alpha, &product));
        }
        // Where I and α S nearly cancel, the rounding of S is not small beside what they leave.
        let size = (dim as f64).sqrt() + self.alpha * squares.sqrt();
        largest_singular_value(&columns, dim) + rounding(dim, size)
    }

    /// `W z + U x + b`, and what rounding may have changed of it, in the 2-norm.
    fn inner(&self, z: &[f64], x: &[f64]) -> (Vec<f64>, f64) {
        let inner = sum(&sum(z, -1.0, &self.times(z)), 1.0, &self.u.times(x));
        let inner = sum(&inner, 1.0, self.bias.values());
        let size =
            (1.0 + self.norm()) * norm(z) + self.u.norm() * norm(x) + norm(self.bias.values());
        (inner, rounding(2 * z.len() + x.len(), size))
    }

    /// `Mᵀ D u + v − u`, with M = (1 − α) I + α W and the slopes D of φ.
    fn adjoint_residual(&self, slopes: &[f64], u: &[f64], v: &[f64]) -> Vec<f64> {
        let sloped: Vec<f64> = slopes.iter().zip(u).map(|(d, u)| d * u).collect();
        // Mᵀ y = y − α Sᵀ y.
        let product = sum(&sloped, -self.alpha, &self.transposed_times(&sloped));
        sum(&sum(&product, 1.0, v), -1.0, u)
    }

    /// ‖u − u*‖₂ of the state of Peaceman-Rachford splitting.
    ///
    /// With z = φ(u) and e = u − ((1 − α) z + α (W z + c)), z is the solution for another c, by e / α. So δ = z − z* has α δᵀH δ − eᵀδ ≤ 0, and
    /// u − u* = (I − α S) δ + e.
    fn bound_of_reflected(&self, reflection: f64, u: &[f64], x: &[f64]) -> f64 {
        let z: Vec<f64> = u.iter().map(|&u| self.activation.at(u)).collect();
        let (inner, off) = self.inner(&z, x);
        let stepped = sum(&z, self.alpha, &sum(&inner, -1.0, &z));
        let e = sum(u, -1.0, &stepped);
        let off = self.alpha * off + rounding(4, norm(u) + (1.0 + self.alpha) * norm(&z));
        let distance = StronglyMonotone {
            margin: self.margin,
            step: self.alpha,
            symmetric: &|v| self.symmetric(v),
            norm: self.norm(),
            residual: &vec![0.0; u.len()],
            slope: &e,
            rounding: off,
        };
        norm(&e) + off + reflection * distance.bound()
    }
}

impl Certificate for MondeqCertificate {
    fn bound(&self, z: &[f64], x: &[&[f64]]) -> f64 {
        if let Some(reflection) = self.reflection {
            return self.bound_of_reflected(reflection, z, x[0]);
        }
        let (inner, off) = self.inner(z, x[0]);
        let value = inner.iter().map(|&v| self.activation.at(v));
        let residual: Vec<f64> = z.iter().zip(value).map(|(z, f)| z - f).collect();
        let slope = sum(&self.transposed_times(&residual), 1.0, &residual);
        let distance = StronglyMonotone {
            margin: self.margin,
            step: 1.0,
            symmetric: &|v| self.symmetric(v),
            norm: self.norm(),
            residual: &residual,
            slope: &slope,
            rounding: off,
        };
        distance.bound()
    }

    /// ‖u − u*‖ ≤ ‖r‖ + ‖M‖ ‖√D r‖ / k, with M = (1 − α) I + α W, D the slopes of φ, r = Mᵀ D u + v − u and k the least of 1 − d + α m d
    /// over the slopes d above 0: y = D (u − u*) has yᵀD⁻¹y − yᵀM y = −rᵀy.
    ///
    /// Known for forward-backward splitting, where φ is made of straight lines; infinite where one of these may end between z and z*.
    fn adjoint_bound(&self, z: &[f64], x: &[&[f64]], u: &[f64], v: &[f64]) -> Option<f64> {
        if self.reflection.is_some() {
            return None;
        }
        let (alpha, (inner, off)) = (self.alpha, self.inner(z, x[0]));
        let step = sum(&inner, -1.0, z);
        let argument = match alpha < 1.0 {
            true => sum(z, alpha, &step),
            false => inner,
        };
        let pieces: Option<Vec<(f64, f64)>> = (argument.iter())
            .map(|&v| self.activation.straight(v))
            .collect();
        let pieces = pieces?;
        // Above ‖M‖; then how far the argument of φ may be from that at z*.
        let size = 1.0 + alpha * self.norm();
        let reach = size * self.bound(z, x) + off + rounding(4, norm(z) + norm(&step));
        if pieces.iter().any(|&(_, room)| room <= reach) {
            return Some(f64::INFINITY);
        }
        let slopes: Vec<f64> = pieces.iter().map(|&(slope, _)| slope).collect();
        let residual = self.adjoint_residual(&slopes, u, v);
        let rooted = slopes.iter().zip(&residual);
        let rooted: Vec<f64> = rooted.map(|(d, r)| d.sqrt() * r).collect();
        let off = rounding(2 * u.len(), size * norm(u) + norm(v));
        let [whole, part] = [norm(&residual), norm(&rooted)].map(|r| r + off);
        let above_0 = slopes.iter().filter(|&&d| d > 0.0);
        let least = above_0.map(|d| 1.0 - d + alpha * self.margin * d);
        let least = least.fold(f64::INFINITY, f64::min);
        Some(whole + size * part / least)
    }
}
