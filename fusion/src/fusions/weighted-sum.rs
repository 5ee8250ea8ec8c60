//! Weighted sum.

use equilibria_core::prelude::*;

use crate::layers::modules::linear_combination;
use crate::layers::Vocabulary;
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;

plugin! {
    /// Weighted sum of the features, Σ_i w_i x_i with one learned weight per modality (eq. 12).
    ///
    /// The simplest fusion, and the injected input of DEQ fusion. The weights start at 1, and a number that is added to all entries, if
    /// there is one, at 0.
    ///
    /// Reference: J. Ni et al., Deep Equilibrium Multimodal Fusion, arXiv 2306.16645, eq. 12.
    pub struct WeightedSumConfig: FusionConfig {
        /// Whether one learned number is added to all entries.
        pub bias: bool = false,
    }
}

#[typetag::serde(name = "weighted-sum")]
impl FusionConfig for WeightedSumConfig {}

impl Build<Fusions> for WeightedSumConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        let bias = match self.bias {
            true => Some(request.init.constant((1, 1), 0.0)?),
            false => None,
        };
        Ok(Box::new(WeightedSum {
            w: request.init.constant((1, request.modalities), 1.0)?,
            bias,
            width: request.width,
        }))
    }
}

/// `Σ_i w_i x_i + b`.
pub struct WeightedSum<E: Scalar, D: Backend<E>> {
    /// `[1, N]`.
    pub w: Matrix<E, D>,
    /// b, `[1, 1]`, if there is one.
    pub bias: Option<Matrix<E, D>>,
    /// Width of the features.
    pub width: usize,
}

parameters!(WeightedSum { w, bias });

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for WeightedSum<E, D> {
    fn output_dim(&self) -> usize {
        self.width
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let sum = weighted_sum(&self.w, x, pass)?;
        match &self.bias {
            Some(bias) => pass.equation(&[sum], |sum| {
                let bias = sum[0].broadcast(bias).repeat(self.width);
                Ok(&sum[0] + bias)
            }),
            None => Ok(sum),
        }
    }
}

/// `Σ_i w_i x_i` with `w` `[1, N]` and N features of the same shape.
pub(crate) fn weighted_sum<E: Scalar, D: Backend<E>>(
    w: &Matrix<E, D>,
    x: &[Matrix<E, D>],
    pass: &mut Pass<E, D>,
) -> Result<Matrix<E, D>> {
    pass.lend(|tape| linear_combination(Some(w), x, tape))
}
