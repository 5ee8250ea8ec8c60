//! Low-rank multimodal fusion.

use dfdx::prelude::*;
use equilibria_core::contiguous;
use equilibria_core::prelude::*;

use crate::layers::modules::Linear;
use crate::layers::Initializer;
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;

plugin! {
    /// Low-rank multimodal fusion, Σ_r ω_r (W_1^{(r)} [x_1; 1] ⊙ … ⊙ W_N^{(r)} [x_N; 1]) + b: tensor fusion without the tensor.
    ///
    /// The weight tensor of tensor fusion is a sum of R outer products, so that the outer product of the features need not
    /// be formed. The weights ω_r are those of the authors' program; the paper adds up the terms as they are.
    ///
    /// The factor of the constant 1 starts at 1, and the rest of W_i^{(r)} at normal values of variance 1 / width: small
    /// values everywhere, as in the authors' program, leave next to nothing of a product of many.
    ///
    /// Reference: Z. Liu et al., Efficient Low-rank Multimodal Fusion with Modality-Specific Factors, ACL 2018, part 3.
    pub struct LowRankConfig: FusionConfig {
        /// Number of terms R, from 1 to 1024.
        pub rank: usize = 4,
    }
}

#[typetag::serde(name = "low-rank")]
impl FusionConfig for LowRankConfig {
    fn validate(&self) -> Result<()> {
        let allowed = (1..=1024).contains(&self.rank);
        Error::require(allowed, "low-rank", "rank", "from 1 to 1024", self.rank)
    }
}

impl Build<Fusions> for LowRankConfig {
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
        let mut factor = Vec::with_capacity(modalities);
        for _ in 0..modalities {
            factor.push(factors(self.rank, width, init)?);
        }
        Ok(Box::new(LowRankFusion {
            factor,
            weight: init.xavier_normal(1, self.rank)?,
            bias: init.constant((1, width), 0.0)?,
        }))
    }
}

/// W^{(1)} to W^{(R)} of a modality.
fn factors<E: Scalar, D: Backend<E>>(
    rank: usize,
    width: usize,
    init: &mut Initializer<D>,
) -> Result<Linear<E, D>> {
    let weight = init.normal((rank * width, width), (1.0 / width as f64).sqrt())?;
    Ok(Linear::new(weight, init.constant((1, rank * width), 1.0)?))
}

/// `Σ_r ω_r ⊙_i W_i^{(r)} [x_i; 1] + b`.
pub struct LowRankFusion<E: Scalar, D: Backend<E>> {
    /// W_i^{(1)} to W_i^{(R)} of each modality, one below the other: `[R · width, width]`. Its bias is the factor of 1.
    pub factor: Vec<Linear<E, D>>,
    /// ω, `[1, R]`.
    pub weight: Matrix<E, D>,
    /// b, `[1, width]`.
    pub bias: Matrix<E, D>,
}

parameters!(LowRankFusion {
    factor,
    weight,
    bias
});

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for LowRankFusion<E, D> {
    fn output_dim(&self) -> usize {
        self.bias.shape().1
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let maps = self.factor.iter().zip(x);
        let factors: Vec<_> = maps
            .map(|(factor, x)| pass.run(x, |x| factor.forward(x)))
            .collect();
        let product = pass.fold(factors, |product, factor| product * factor)?;
        let (_, rank) = *self.weight.shape();
        let shape @ (rows, width) = (product.shape().0, self.bias.shape().1);
        Ok(pass.run(&product, |product| {
            let terms = product.reshape_like(&(rows, rank, width));
            let weight = contiguous(self.weight.retaped::<OwnedTape<E, D>>());
            let weight = weight
                .reshape_like(&(rank,))
                .broadcast_like::<_, Axes2<0, 2>>(terms.shape());
            let bias = contiguous(self.bias.retaped::<OwnedTape<E, D>>());
            let bias = bias
                .reshape_like(&(width,))
                .broadcast_like::<_, Axis<0>>(&shape);
            (terms * weight).sum::<_, Axis<1>>() + bias
        }))
    }
}
