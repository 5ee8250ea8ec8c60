//! DynMM: experts for single modalities and for all, and a gate that chooses among them.

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, to_host};

use crate::layers::modules::{mean, relu, Linear};
use crate::layers::Vocabulary;
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;

plugin! {
    /// Dynamic multimodal fusion of modalities, Σ_b g_b E_b with g = softmax(G([x_1 | … | x_N]) / τ): experts and a gate.
    ///
    /// The experts are E_i = W_i x_i for each modality alone, and E_{N+1} = W [x_1 | … | x_N] for all; G is an affine map, a ReLU and another
    /// affine map. In training, `cost` times the mean of g_{N+1}, how often the expert for all is taken, is added to the loss. With `hard`,
    /// evaluation takes the expert with the largest gate alone, as in the paper, where the others need not be computed.
    ///
    /// Experts here are affine maps of encoded features; in the paper each is a network of its own, trained before. Reference: Z. Xue,
    /// R. Marculescu, Dynamic Multimodal Fusion, CVPR Workshops 2023, part 3.1, as in its authors' program.
    pub struct DynmmConfig: FusionConfig {
        /// Width of the hidden layer of the gate, from 1 to 1048576.
        pub hidden: usize = 128,
        /// Temperature τ of the gate, finite and above 0.
        pub temperature: f64 = 1.0,
        /// Weight of the cost of the expert for all, finite and at least 0.
        pub cost: f64 = 0.1,
        /// Whether evaluation takes one expert alone.
        pub hard: bool = false,
    }
}

#[typetag::serde(name = "dynmm")]
impl FusionConfig for DynmmConfig {
    fn validate(&self) -> Result<()> {
        Error::require_width("dynmm", "hidden", self.hidden)?;
        Error::require_positive("dynmm", "temperature", self.temperature)?;
        Error::require_not_negative("dynmm", "cost", self.cost)
    }
}

impl Build<Fusions> for DynmmConfig {
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
        let mut expert = Vec::with_capacity(modalities + 1);
        for _ in 0..modalities {
            expert.push(Linear::xavier(width, width, init)?);
        }
        expert.push(Linear::xavier(width, modalities * width, init)?);
        let gate = vec![
            Linear::xavier(self.hidden, modalities * width, init)?,
            Linear::xavier(modalities + 1, self.hidden, init)?,
        ];
        Ok(Box::new(Dynmm {
            expert,
            gate,
            width,
            config: self.clone(),
        }))
    }
}

/// `Σ_b g_b E_b`.
pub struct Dynmm<E: Scalar, D: Backend<E>> {
    /// Those of single modalities, `[width, width]`, and that for all, `[width, N · width]`.
    pub expert: Vec<Linear<E, D>>,
    /// The two maps of G.
    pub gate: Vec<Linear<E, D>>,
    /// Width of the features and of the result.
    pub width: usize,
    /// Temperature, cost, and what evaluation does.
    pub config: DynmmConfig,
}

parameters!(Dynmm { expert, gate });

impl<E: Scalar, D: Backend<E>> Dynmm<E, D> {
    /// g, `[batch, N + 1]`.
    fn gates(&self, all: &Matrix<E, D>, pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let mut scores = all.clone();
        for (number, map) in self.gate.iter().enumerate() {
            scores = pass.try_run(&scores, |scores| match number {
                0 => relu(map.forward(scores)),
                _ => Ok(map.forward(scores) * E::of(1.0 / self.config.temperature)),
            })?;
        }
        let gates = pass.equation(&[scores], |scores| Ok(scores[0].softmax(1)))?;
        match self.config.hard && !pass.trains() {
            true => largest(&gates),
            false => Ok(gates),
        }
    }
}

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for Dynmm<E, D> {
    fn output_dim(&self) -> usize {
        self.width
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let all = pass.concatenate(x)?;
        let gates = self.gates(&all, pass)?;
        let mut terms = vec![gates.clone()];
        for (expert, x) in self.expert.iter().zip(x.iter().chain([&all])) {
            terms.push(pass.run(x, |x| expert.forward(x)));
        }
        let count = self.expert.len();
        if pass.trains() {
            let last = pass.equation(&[gates], |g| Ok(g[0].columns(count - 1..count)))?;
            let cost = pass.try_run(&last, mean)?;
            let cost = pass.run(&cost, |cost| cost * E::of(self.config.cost));
            pass.losses.push(cost);
        }
        pass.equation(&terms, |terms| {
            let own = |number: usize| {
                let gate = terms[0].columns(number..number + 1);
                gate.repeat(self.width) * &terms[1 + number]
            };
            let sum = (0..count).map(own).reduce(|sum, own| sum + own);
            Ok(sum.unwrap_or_else(|| terms[0].clone()))
        })
    }
}

/// 1 at the largest number of each row, the first of several, else 0.
fn largest<E: Scalar, D: Backend<E>>(gates: &Matrix<E, D>) -> Result<Matrix<E, D>> {
    let (rows, columns) = *gates.shape();
    let values = to_host(gates);
    let mut chosen = vec![E::zero(); rows * columns];
    let pairs = values
        .chunks_exact(columns)
        .zip(chosen.chunks_exact_mut(columns));
    for (gates, chosen) in pairs {
        let mut best = 0;
        for (number, gate) in gates.iter().enumerate() {
            if gate.wide() > gates[best].wide() {
                best = number;
            }
        }
        chosen[best] = E::one();
    }
    from_host(gates.device(), chosen, (rows, columns))
}
