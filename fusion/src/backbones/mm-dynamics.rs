//! The MM-Dynamics backbone.

use dfdx::prelude::*;
use equilibria_core::prelude::*;

use crate::data::TargetKind;
use crate::layers::modules::{mean, relu, scale_rows, sigmoid, times_data, Linear};
use crate::loss::{cross_entropy, true_class_probability};
use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;

plugin! {
    /// The MM-Dynamics backbone: gates features, encodes each modality and scales it by its own confidence.
    ///
    /// s = sigmoid(A x + a), h = dropout(ReLU(E (s ⊙ x) + e)), t = T h + u, c = kᵀh + m, and the feature is c · h.
    /// Auxiliary losses per modality: mean(s) + MSE(c, softmax(t)[y]) + CE(t, y). Nothing is detached. The confidence c learns
    /// the probability of the true class, which several labels or a number do not have: those heads are refused.
    ///
    /// Reference: Z. Han, F. Yang, J. Huang, C. Zhang, J. Yao, Multimodal Dynamics, CVPR 2022, part 3; the backbone of the
    /// BRCA experiment in arXiv 2306.16645.
    pub struct MmDynamicsConfig: BackboneConfig {
        /// Width of the features, at least 1.
        pub hidden: usize = 128,
        /// Probability that an entry of h is dropped in training, in [0, 1).
        pub dropout: f64 = 0.5,
    }
}

#[typetag::serde(name = "mm-dynamics")]
impl BackboneConfig for MmDynamicsConfig {
    fn width(&self) -> usize {
        self.hidden
    }

    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("mm-dynamics", "hidden", self.hidden)?;
        Error::require_fraction("mm-dynamics", "dropout", self.dropout)
    }

    fn check_targets(&self, targets: TargetKind) -> Result<()> {
        let expected = "a head for one class per row, such as `multi-class`, with the backbone `mm-dynamics`, \
                        whose confidence learns the probability of the true class; the backbone `encoder` takes any head";
        Error::require(
            targets == TargetKind::Class,
            "head",
            "type",
            expected,
            format!("one for {targets}"),
        )
    }
}

impl Build<Backbones> for MmDynamicsConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        let mut modality = Vec::with_capacity(request.modalities.len());
        for &features in request.modalities {
            modality.push(Modality {
                gate: Linear::xavier(features, features, request.init)?,
                encoder: Linear::xavier(self.hidden, features, request.init)?,
                classifier: Linear::xavier(request.classes, self.hidden, request.init)?,
                confidence: Linear::xavier(1, self.hidden, request.init)?,
            });
        }
        Ok(Box::new(MmDynamics {
            modality,
            dropout: self.dropout,
        }))
    }
}

/// One set of maps per modality.
pub struct MmDynamics<E: Scalar, D: Backend<E>> {
    /// The modalities in order.
    pub modality: Vec<Modality<E, D>>,
    /// Probability that an entry of h is dropped in training.
    pub dropout: f64,
}

parameters!(MmDynamics { modality });

/// The maps of one modality.
pub struct Modality<E: Scalar, D: Backend<E>> {
    /// A and a.
    pub gate: Linear<E, D>,
    /// E and e.
    pub encoder: Linear<E, D>,
    /// T and u.
    pub classifier: Linear<E, D>,
    /// k and m.
    pub confidence: Linear<E, D>,
}

parameters!(Modality {
    gate,
    encoder,
    classifier,
    confidence
});

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for MmDynamics<E, D> {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let mut features = Vec::with_capacity(x.len());
        for (index, (modality, x)) in self.modality.iter().zip(x).enumerate() {
            let gate = pass.lend(|tape| {
                let scores = modality.gate.forward_data(x, tape);
                Ok(sigmoid(scores)?.split_tape())
            })?;
            let gated = pass.try_run(&gate, |s| times_data(s, x))?;
            let h = pass.try_run(&gated, |x| relu(modality.encoder.forward(x)))?;
            let h = pass.dropout(&h, self.dropout, index as u64)?;
            let confidence = pass.run(&h, |h| modality.confidence.forward(h));
            if let Some(one_hot) = targets {
                modality.auxiliary_losses(&gate, &h, &confidence, one_hot, pass)?;
            }
            features.push(pass.try_run(&h, |h| scale_rows(&confidence, h))?);
        }
        Ok(features)
    }
}

impl<E: Scalar, D: Backend<E>> Modality<E, D> {
    fn auxiliary_losses(
        &self,
        gate: &Matrix<E, D>,
        h: &Matrix<E, D>,
        confidence: &Matrix<E, D>,
        one_hot: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<()> {
        let scores = pass.run(h, |h| self.classifier.forward(h));
        let sparsity = pass.try_run(gate, mean)?;
        let truth = pass.run(&scores, |scores| true_class_probability(scores, one_hot));
        let regression = pass.try_run(confidence, |c| mean((c - truth).square()))?;
        let classification = pass.try_run(&scores, |scores| cross_entropy(scores, one_hot))?;
        pass.losses.extend([sparsity, regression, classification]);
        Ok(())
    }
}
