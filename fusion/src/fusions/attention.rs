//! Attention over the modalities.

use dfdx::prelude::*;
use equilibria_core::contiguous;
use equilibria_core::prelude::*;

use crate::layers::modules::{columns, Linear};
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;

plugin! {
    /// Attention over the modalities, Σ_i a_i x_i with weights a = softmax_i(vᵀ tanh(W x_i + b)) that add up to 1.
    ///
    /// W, b and v are the same for all modalities: a weight depends on what a feature says, not on where it comes from.
    /// With one modality the weight is 1, and the result is the feature.
    ///
    /// Reference: Z. Yang, D. Yang, C. Dyer, X. He, A. Smola, E. Hovy, Hierarchical Attention Networks for Document
    /// Classification, NAACL 2016, eqs. 5-7, which weigh words in this way.
    pub struct AttentionConfig: FusionConfig {
        /// Number of rows of W, from 1 to 4096.
        pub width: usize = 64,
    }
}

#[typetag::serde(name = "attention")]
impl FusionConfig for AttentionConfig {
    fn validate(&self) -> Result<()> {
        let allowed = (1..=4096).contains(&self.width);
        Error::require(allowed, "attention", "width", "from 1 to 4096", self.width)
    }
}

impl Build<Fusions> for AttentionConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        let FusionRequest { width, init, .. } = request;
        Ok(Box::new(Attention {
            hidden: Linear::xavier(self.width, width, init)?,
            score: init.xavier_normal(1, self.width)?,
        }))
    }
}

/// `Σ_i a_i x_i` with `a = softmax_i(vᵀ tanh(W x_i + b))`.
pub struct Attention<E: Scalar, D: Backend<E>> {
    /// W, `[rows, width]`, and b.
    pub hidden: Linear<E, D>,
    /// v, `[1, rows]`. A bias would add the same to every score, and change nothing.
    pub score: Matrix<E, D>,
}

parameters!(Attention { hidden, score });

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for Attention<E, D> {
    fn output_dim(&self) -> usize {
        self.hidden.inputs()
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let score = |x| {
            pass.run(x, |x| {
                let v = contiguous(self.score.retaped::<OwnedTape<E, D>>());
                let hidden = self.hidden.forward(x).tanh();
                hidden.matmul(v.permute::<_, Axes2<1, 0>>())
            })
        };
        let scores: Vec<_> = x.iter().map(score).collect();
        let scores = pass.concatenate(&scores)?;
        let weights = pass.run(&scores, |scores| scores.softmax::<Axis<1>>());
        let weighted = |(index, x): (usize, &Matrix<E, D>)| {
            pass.try_run(&weights, |weights| {
                let shape = *x.shape();
                let weight = columns(weights, index..index + 1)?
                    .reshape_like(&(shape.0,))
                    .broadcast_like::<_, Axis<1>>(&shape);
                Ok(weight * x.clone())
            })
        };
        let weighted = x.iter().enumerate().map(weighted);
        let weighted = weighted.collect::<Result<Vec<_>>>()?;
        pass.sum(&weighted)
    }
}
