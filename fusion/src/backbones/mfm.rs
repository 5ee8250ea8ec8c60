//! The multimodal factorization model: modalities are told from a factor of their own and the fused one.

use equilibria_core::prelude::*;

use super::encoder::EncoderConfig;
use crate::data::{Split, TargetKind};
use crate::layers::modules::{mean, relu, Linear};
use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;
use crate::slot::Slots;

plugin! {
    /// A backbone of one fusion, from whose fused feature and a factor of each modality the data is told in training: MFM.
    ///
    /// With the features f_i of the backbone inside, their fusion h, and factors a_i = A_i f_i, `weight` · Σ_i mean((V_i relu(U_i [a_i | h]) − x_i)²)
    /// is added to the loss, where x_i is the data of modality i. Nothing changes in evaluation. This is the form without a prior of the
    /// factors, which the paper has beside it.
    ///
    /// Reference: Y.-H. H. Tsai, P. P. Liang, A. Zadeh, L.-P. Morency, R. Salakhutdinov, Learning Factorized Multimodal Representations, ICLR
    /// 2019, in the form that P. P. Liang et al., MultiBench, NeurIPS 2021, give it in their program.
    pub struct MfmConfig: BackboneConfig {
        /// The backbone inside, which has one fusion and nothing after it.
        pub backbone: Box<dyn BackboneConfig> = Box::new(EncoderConfig::default()),
        /// Width of the factor of each modality, at least 1.
        pub factor: usize = 64,
        /// Width between U_i and V_i, at least 1.
        pub hidden: usize = 128,
        /// Weight of the error of what is told, finite and at least 0.
        pub weight: f64 = 1.0,
    }
}

#[typetag::serde(name = "mfm")]
impl BackboneConfig for MfmConfig {
    fn width(&self) -> usize {
        self.backbone.width()
    }

    fn validate(&self) -> Result<()> {
        self.backbone.validate()?;
        let sizes = [("factor", self.factor), ("hidden", self.hidden)];
        Error::require_all_at_least_one("mfm", &sizes)?;
        Error::require_not_negative("mfm", "weight", self.weight)
    }

    fn check_targets(&self, targets: TargetKind) -> Result<()> {
        self.backbone.check_targets(targets)
    }

    fn check_modalities(&self, chosen: &[usize]) -> Result<()> {
        self.backbone.check_modalities(chosen)
    }
}

impl Build<Backbones> for MfmConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        mut request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        self.validate()?;
        let inner = request.build_inner::<E>(&*self.backbone)?;
        let name = self.backbone.typetag_name();
        let expected = "a backbone with one fusion and nothing after it, such as `encoder`";
        Error::require(inner.asked == 0, "mfm", "backbone", expected, name)?;
        let (init, width) = (request.init, self.backbone.width());
        let mut decoder = Vec::with_capacity(request.modalities.len());
        for &features in request.modalities {
            decoder.push(Decoder {
                factor: Linear::uniform(self.factor, width, init)?,
                hidden: Linear::uniform(self.hidden, self.factor + inner.width, init)?,
                data: Linear::uniform(features, self.hidden, init)?,
            });
        }
        Ok(Box::new(Mfm {
            inner: inner.backbone,
            decoder,
            weight: self.weight,
        }))
    }
}

/// A backbone and its decoders.
pub struct Mfm<E: Scalar, D: Backend<E>> {
    /// The backbone.
    pub inner: Box<dyn Backbone<E, D>>,
    /// One for each modality.
    pub decoder: Vec<Decoder<E, D>>,
    /// Weight of the loss.
    pub weight: f64,
}

parameters!(Mfm { inner, decoder });

/// The maps that tell one modality.
pub struct Decoder<E: Scalar, D: Backend<E>> {
    /// A.
    pub factor: Linear<E, D>,
    /// U.
    pub hidden: Linear<E, D>,
    /// V.
    pub data: Linear<E, D>,
}

parameters!(Decoder {
    factor,
    hidden,
    data
});

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for Mfm<E, D> {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        self.inner.encode(x, targets, pass)
    }

    fn run(
        &self,
        x: &[Matrix<E, D>],
        targets: Option<&Matrix<E, D>>,
        slots: &Slots<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let features = self.inner.encode(x, targets, pass)?;
        let h = slots.fuse(0, &features, pass)?;
        if targets.is_none() {
            return Ok(h);
        }
        for ((decoder, feature), x) in self.decoder.iter().zip(&features).zip(x) {
            let factor = pass.run(feature, |f| decoder.factor.forward(f));
            let both = pass.concatenate(&[factor, h.clone()])?;
            let told = pass.try_run(&both, |both| relu(decoder.hidden.forward(both)))?;
            let told = pass.run(&told, |told| decoder.data.forward(told));
            let error = pass.try_run(&told, |told| mean((told - x.clone()).square()))?;
            let error = pass.run(&error, |error| error * E::of(self.weight));
            pass.losses.push(error);
        }
        Ok(h)
    }

    fn begin_epoch(&mut self, epoch: usize) {
        self.inner.begin_epoch(epoch);
    }

    fn augmented(
        &self,
        rows: &Split,
        batch: &[usize],
        numbers: &[usize],
        seed: u64,
    ) -> Option<Split> {
        self.inner.augmented(rows, batch, numbers, seed)
    }
}
