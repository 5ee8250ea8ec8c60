//! The plain encoder backbone.

use dfdx::prelude::SplitTape;
use equilibria_core::prelude::*;

use crate::layers::modules::{relu, Linear};
use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;

plugin! {
    /// A plain encoder per modality, h = dropout(ReLU(E x + e)), without auxiliary losses.
    pub struct EncoderConfig: BackboneConfig {
        /// Width of the features, at least 1.
        pub hidden: usize = 128,
        /// Probability that an entry of h is dropped in training, in [0, 1).
        pub dropout: f64 = 0.2,
    }
}

#[typetag::serde(name = "encoder")]
impl BackboneConfig for EncoderConfig {
    fn width(&self) -> usize {
        self.hidden
    }

    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("encoder", "hidden", self.hidden)?;
        Error::require_fraction("encoder", "dropout", self.dropout)
    }
}

impl Build<Backbones> for EncoderConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        let mut encoder = Vec::with_capacity(request.modalities.len());
        for &features in request.modalities {
            encoder.push(Linear::xavier(self.hidden, features, request.init)?);
        }
        Ok(Box::new(Encoder {
            encoder,
            dropout: self.dropout,
        }))
    }
}

/// One affine map per modality.
pub struct Encoder<E: Scalar, D: Backend<E>> {
    /// E and e of each modality.
    pub encoder: Vec<Linear<E, D>>,
    /// Probability that an entry of h is dropped in training.
    pub dropout: f64,
}

parameters!(Encoder { encoder });

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for Encoder<E, D> {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let mut features = Vec::with_capacity(x.len());
        for (index, (encoder, x)) in self.encoder.iter().zip(x).enumerate() {
            let h = pass.lend(|tape| Ok(relu(encoder.forward_data(x, tape))?.split_tape()))?;
            features.push(pass.dropout(&h, self.dropout, index as u64)?);
        }
        Ok(features)
    }
}
