//! Concatenation.

use equilibria_core::prelude::*;

use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;

plugin! {
    /// Concatenation of the features, [x_1 | … | x_N]: no parameters, N times the width.
    ///
    /// Reference: Z. Han et al., Multimodal Dynamics, CVPR 2022, which fuses in this way.
    pub struct ConcatConfig: FusionConfig {}
}

#[typetag::serde(name = "concat")]
impl FusionConfig for ConcatConfig {}

impl Build<Fusions> for ConcatConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        Ok(Box::new(Concat {
            width: request.modalities * request.width,
        }))
    }
}

/// `[x_1 | … | x_N]`.
pub struct Concat {
    /// Width of the result.
    pub width: usize,
}

parameters!(Concat);

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for Concat {
    fn output_dim(&self) -> usize {
        self.width
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        pass.concatenate(x)
    }
}
