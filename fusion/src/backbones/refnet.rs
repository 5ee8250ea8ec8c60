//! RefNet: a fused feature that still tells every modality.

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;

use super::encoder::EncoderConfig;
use crate::data::{Split, TargetKind};
use crate::layers::modules::{mean, relu, Linear};
use crate::layers::Vocabulary;
use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;
use crate::slot::Slots;

plugin! {
    /// Any backbone, whose last feature has to tell the data of every modality in training: the refiner of RefNet.
    ///
    /// With the feature h that the backbone inside hands to the head, the data x_i of each modality, and the refiner
    /// [r_1 | … | r_N] = W_2 relu(W_1 h), `weight` · Σ_i (1 − r_i · x_i / √((‖r_i‖² + ε) (‖x_i‖² + ε))), mean over rows, is added to the
    /// loss; ε = 1e-12. Nothing changes in evaluation.
    ///
    /// Reference: S. Sankaran, D. Yang, S.-N. Lim, Multimodal Fusion Refiner Networks, arXiv 2104.03435, in the form that P. P. Liang et al.,
    /// MultiBench, NeurIPS 2021, give it in their program.
    pub struct RefNetConfig: BackboneConfig {
        /// The backbone inside.
        pub backbone: Box<dyn BackboneConfig> = Box::new(EncoderConfig::default()),
        /// Width between the maps of the refiner, at least 1.
        pub hidden: usize = 128,
        /// Weight of the refiner's loss, finite and at least 0.
        pub weight: f64 = 0.1,
    }
}

/// Under the roots, so that no direction of length 0 is divided by.
const EPSILON: f64 = 1e-12;

#[typetag::serde(name = "refnet")]
impl BackboneConfig for RefNetConfig {
    fn width(&self) -> usize {
        self.backbone.width()
    }

    fn validate(&self) -> Result<()> {
        self.backbone.validate()?;
        Error::require_at_least_one("refnet", "hidden", self.hidden)?;
        Error::require_not_negative("refnet", "weight", self.weight)
    }

    fn check_targets(&self, targets: TargetKind) -> Result<()> {
        self.backbone.check_targets(targets)
    }

    fn check_modalities(&self, chosen: &[usize]) -> Result<()> {
        self.backbone.check_modalities(chosen)
    }
}

impl Build<Backbones> for RefNetConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        mut request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        self.validate()?;
        let inner = request.build_inner::<E>(&*self.backbone)?;
        let outputs = request.modalities.iter().sum();
        Ok(Box::new(RefNet {
            inner: inner.backbone,
            refiner: vec![
                Linear::uniform(self.hidden, inner.width, request.init)?,
                Linear::uniform(outputs, self.hidden, request.init)?,
            ],
            weight: self.weight,
        }))
    }
}

/// A backbone and its refiner.
pub struct RefNet<E: Scalar, D: Backend<E>> {
    /// The backbone.
    pub inner: Box<dyn Backbone<E, D>>,
    /// W_1 and W_2.
    pub refiner: Vec<Linear<E, D>>,
    /// Weight of the loss.
    pub weight: f64,
}

parameters!(RefNet { inner, refiner });

impl<E: Scalar, D: Backend<E>> RefNet<E, D> {
    /// The loss of the refiner, `[1, 1]`.
    fn loss(
        &self,
        h: &Matrix<E, D>,
        x: &[Matrix<E, D>],
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let [first, last] = &self.refiner[..] else {
            return Err(Error::Missing {
                what: "a map of the refiner".to_owned(),
                remedy: "build it by its configuration",
            });
        };
        let refined = pass.try_run(h, |h| relu(first.forward(h)))?;
        let refined = pass.run(&refined, |h| last.forward(h));
        let mut all = vec![refined];
        all.extend(x.iter().cloned());
        let distances = pass.equation(&all, |all| {
            let one = all[0].constant(&[1.0]);
            let epsilon = all[0].constant(&[EPSILON]);
            let mut start = 0;
            let mut sum = all[0].constant(&[0.0]);
            for (x, matrix) in all[1..].iter().zip(x) {
                let width = matrix.shape().1;
                let r = all[0].columns(start..start + width);
                start += width;
                let product = (&r * x).sum(1);
                let lengths = (r.square().sum(1) + &epsilon) * (x.square().sum(1) + &epsilon);
                sum = &sum + (&one - &product / &lengths.sqrt());
            }
            Ok(sum)
        })?;
        let loss = pass.try_run(&distances, mean)?;
        Ok(pass.run(&loss, |loss| loss * E::of(self.weight)))
    }
}

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for RefNet<E, D> {
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
        let h = self.inner.run(x, targets, slots, pass)?;
        if targets.is_some() {
            let loss = self.loss(&h, x, pass)?;
            pass.losses.push(loss);
        }
        Ok(h)
    }

    fn output_dim(&self, fused: usize) -> usize {
        self.inner.output_dim(fused)
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
