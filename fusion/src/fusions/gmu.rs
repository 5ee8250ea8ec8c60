//! Gated multimodal units.

use equilibria_core::prelude::*;

use crate::layers::modules::Linear;
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;

plugin! {
    /// Gated multimodal unit, Σ_i z_i ⊙ tanh(W_i x_i) with gates z_i = sigmoid(V_i [x_1 | … | x_N]) that see all modalities.
    ///
    /// This is the paper's unit for any number of modalities, with a gate of its own for each, also where N = 2. The
    /// paper's bimodal unit ties two gates, z_2 = 1 − z_1, and is not this one. W_i and V_i have biases, which start at 0;
    /// the paper's equations have none.
    ///
    /// Reference: J. Arevalo, T. Solorio, M. Montes-y-Gómez, F. A. González, Gated Multimodal Units for Information
    /// Fusion, arXiv 1702.01992, part 3.
    pub struct GmuConfig: FusionConfig {}
}

#[typetag::serde(name = "gmu")]
impl FusionConfig for GmuConfig {}

impl Build<Fusions> for GmuConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        let FusionRequest {
            modalities,
            width,
            init,
            ..
        } = request;
        let mut unit = Gmu {
            hidden: Vec::with_capacity(modalities),
            gate: Vec::with_capacity(modalities),
            width,
        };
        for _ in 0..modalities {
            unit.hidden.push(Linear::xavier(width, width, init)?);
            let gate = Linear::xavier(width, modalities * width, init)?;
            unit.gate.push(gate);
        }
        Ok(Box::new(unit))
    }
}

/// `Σ_i sigmoid(V_i [x_1 | … | x_N]) ⊙ tanh(W_i x_i)`.
pub struct Gmu<E: Scalar, D: Backend<E>> {
    /// W_i of each modality, `[width, width]`.
    pub hidden: Vec<Linear<E, D>>,
    /// V_i of each modality, `[width, N · width]`.
    pub gate: Vec<Linear<E, D>>,
    /// Width of the features and of the result.
    pub width: usize,
}

parameters!(Gmu { hidden, gate });

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for Gmu<E, D> {
    fn output_dim(&self) -> usize {
        self.width
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let all = pass.concatenate(x)?;
        let maps = self.hidden.iter().zip(&self.gate);
        let gated: Vec<_> = maps
            .zip(x)
            .map(|((hidden, gate), x)| {
                let h = pass.run(x, |x| hidden.forward(x).tanh());
                pass.run(&all, |all| gate.forward(all).sigmoid() * h)
            })
            .collect();
        pass.sum(&gated)
    }
}
