//! Sparse coding.

use std::sync::Arc;

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, AnyLayer};

use crate::certificates::{norm, rounding, sum, Dense, StronglyMonotone};
use crate::config::pairs;
use crate::projection::{project, ConvexSet};
use crate::{one_input, LayerConfig, LayerRequest, Layers, Vocabulary};

plugin! {
    /// Sparse coding, z* = argmin ‖x − D z‖² / 2 + λ ‖z‖₁ + μ ‖z‖² / 2: the code of x in a dictionary D that is learned.
    ///
    /// f(z; x) = soft(z − η (Dᵀ(D z − x) + μ z), η λ), the step of proximal gradients. With μ > 0 there is exactly one z*. `picard` is what is
    /// called ISTA, and slow; `newton-gmres` ends once it knows which atoms are used. Atoms longer than 1 are
    /// scaled to 1 after every step of the optimizer, and λ is kept at 0 or above. It takes one injected input of any width; the state has
    /// one number per atom.
    ///
    /// Reference: A. Beck, M. Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm, SIAM Journal on Imaging Sciences 2 (2009), eq. 1.5;
    /// J. Mairal, F. Bach, J. Ponce, Task-Driven Dictionary Learning, IEEE TPAMI 34 (2012), for the gradients.
    pub struct SparseCodingConfig: LayerConfig {
        /// The initial λ, above 0. In units of x².
        pub penalty: f64 = 0.1,
        /// μ, above 0. Dimensionless.
        pub ridge: f64 = 0.1,
        /// η, above 0; by default 1 / (‖D‖² + μ) with the Frobenius norm, which is safe. It changes the way, not z*.
        pub step: Option<f64> = None,
    }
}

#[typetag::serde(name = "sparse-coding")]
impl LayerConfig for SparseCodingConfig {
    fn validate(&self) -> Result<()> {
        let name = "sparse-coding";
        Error::require_positive(name, "penalty", self.penalty)?;
        Error::require_positive(name, "ridge", self.ridge)?;
        Error::require_positive(name, "step", self.step.unwrap_or(1.0))
    }

    fn original_names(&self) -> Vec<(String, String)> {
        pairs(&[("dictionary", "dictionary"), ("penalty", "lambda")])
    }
}

impl Build<Layers> for SparseCodingConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: LayerRequest<'_, D>,
    ) -> Result<AnyLayer<E, D>> {
        self.validate()?;
        let (atoms, init) = (request.state, request.init);
        let width = one_input("sparse-coding", request.inputs)?;
        let mut layer = SparseCoding {
            // Atoms have a length of about 1, the longest they may have.
            dictionary: init.normal((width, atoms), 1.0 / (width.max(1) as f64).sqrt())?,
            penalty: init.constant((1, 1), self.penalty)?,
            ridge: self.ridge,
            step: self.step,
        };
        layer.restrict_ranges()?;
        Ok(AnyLayer::new(layer))
    }
}

/// `f(z; x) = soft(z − η (Dᵀ(D z − x) + μ z), η λ)`.
#[derive(Clone)]
pub struct SparseCoding<E: Scalar, D: Backend<E>> {
    /// D, `[width of x, atoms]`.
    pub dictionary: Matrix<E, D>,
    /// λ, `[1, 1]`.
    pub penalty: Matrix<E, D>,
    /// μ.
    pub ridge: f64,
    /// η, unless it is found from D.
    pub step: Option<f64>,
}

parameters!(
    SparseCoding {
        dictionary,
        penalty
    },
    project = restrict_ranges
);

impl<E: Scalar, D: Backend<E>> SparseCoding<E, D> {
    fn restrict_ranges(&mut self) -> Result<()> {
        project(&mut self.dictionary, ConvexSet::ColumnsInL2Ball(1.0))?;
        project(&mut self.penalty, ConvexSet::AtLeast(0.0))
    }

    /// η in every column. Where it follows from D its derivative by D is that of f, and vanishes at z*.
    fn eta(&self, z: &Value<E, D>) -> Value<E, D> {
        let atoms = self.dictionary.shape().1;
        match self.step {
            Some(step) => z.constant(&vec![step; atoms]),
            None => {
                let square = z.broadcast(&self.dictionary).square().sum(1) + self.ridge;
                (1.0 / square).repeat(atoms)
            }
        }
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for SparseCoding<E, D> {
    fn state_dim(&self) -> usize {
        self.dictionary.shape().1
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![self.dictionary.shape().0]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let eta = self.eta(z);
        let missing = z.product(&self.dictionary) - &x[0];
        let slope = missing.product_transposed(&self.dictionary) + z * self.ridge;
        let penalty = z.broadcast(&self.penalty);
        let by = penalty.repeat(self.dictionary.shape().1) * &eta;
        Ok((z - slope * eta).soft_threshold_by(&by))
    }

    fn certificate(&self) -> Option<Arc<dyn Certificate>> {
        let penalty = to_host(&self.penalty)
            .first()
            .map_or(f64::NAN, |l| l.wide());
        let dictionary = Dense::new(&self.dictionary);
        Some(Arc::new(SparseCertificate {
            eta: 1.0 / (dictionary.norm() * dictionary.norm() + self.ridge),
            dictionary,
            penalty,
            ridge: self.ridge,
        }))
    }
}

/// Strong monotonicity of DᵀD + μ I. Any η bounds the error of any state, however it was found.
struct SparseCertificate {
    dictionary: Dense,
    penalty: f64,
    ridge: f64,
    eta: f64,
}

impl SparseCertificate {
    /// `(DᵀD + μ I) z`.
    fn symmetric(&self, z: &[f64]) -> Vec<f64> {
        let square = self.dictionary.transposed_times(&self.dictionary.times(z));
        sum(&square, self.ridge, z)
    }
}

impl Certificate for SparseCertificate {
    fn bound(&self, z: &[f64], x: &[&[f64]]) -> f64 {
        let (eta, threshold) = (self.eta, self.eta * self.penalty);
        let size = self.dictionary.norm();
        let slope = sum(
            &self.symmetric(z),
            -1.0,
            &self.dictionary.transposed_times(x[0]),
        );
        let soft = |v: f64| (v.abs() - threshold).max(0.0).copysign(v);
        let value = sum(z, -eta, &slope).into_iter().map(soft);
        let residual: Vec<f64> = z.iter().zip(value).map(|(z, f)| z - f).collect();
        let square = size * size + self.ridge;
        let sizes = (1.0 + eta * square) * norm(z)
            + eta * size * norm(x[0])
            + threshold * (z.len() as f64).sqrt();
        let bound = StronglyMonotone {
            margin: self.ridge,
            step: eta,
            symmetric: &|v| self.symmetric(v),
            norm: square,
            residual: &residual,
            slope: &sum(&residual, eta, &self.symmetric(&residual)),
            rounding: rounding(2 * z.len() + x[0].len(), sizes),
        };
        bound.bound()
    }
}
