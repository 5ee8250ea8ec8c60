//! Sum.

use equilibria_core::prelude::*;

use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;

plugin! {
    /// Sum of the features, Σ_i x_i, without parameters.
    ///
    /// Reference: Z. Yu et al., Deep Modular Co-Attention Networks for Visual Question Answering, CVPR 2019, eq. 14, which fuses in this way.
    pub struct SumConfig: FusionConfig {}
}

#[typetag::serde(name = "sum")]
impl FusionConfig for SumConfig {}

impl Build<Fusions> for SumConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        Ok(Box::new(Sum {
            width: request.width,
        }))
    }
}

/// `Σ_i x_i`.
pub struct Sum {
    /// Width of the features.
    pub width: usize,
}

parameters!(Sum);

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for Sum {
    fn output_dim(&self) -> usize {
        self.width
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        pass.sum(x)
    }
}
