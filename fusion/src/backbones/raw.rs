//! Features as they are.

use equilibria_core::prelude::*;

use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;

plugin! {
    /// No encoder: each modality is its own feature.
    ///
    /// For fusions whose inputs have a structure, such as the nodes and edges of graphs or the pixels of an image, which an encoder would
    /// mix. Widths are those of the modalities, so a fusion of features of one width takes modalities of one width only.
    pub struct RawConfig: BackboneConfig {
        /// Width of the modalities, where all have the same and the fusion asks for it; else 0.
        pub width: usize = 0,
    }
}

#[typetag::serde(name = "raw")]
impl BackboneConfig for RawConfig {
    fn width(&self) -> usize {
        self.width
    }
}

impl Build<Backbones> for RawConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        let got = format!(
            "{} where modalities are {:?} wide",
            self.width, request.modalities
        );
        let fits = self.width == 0 || request.modalities.iter().all(|&own| own == self.width);
        Error::require(fits, "raw", "width", "0, or that of every modality", got)?;
        Ok(Box::new(Raw))
    }
}

/// Hands modalities on.
pub struct Raw;

parameters!(Raw);

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for Raw {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        _pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        Ok(x.to_vec())
    }
}
