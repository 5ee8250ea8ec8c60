//! Multiplicative interactions.

use dfdx::prelude::*;
use equilibria_core::contiguous;
use equilibria_core::prelude::*;

use super::tensor::outer;
use crate::layers::modules::Linear;
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;

plugin! {
    /// Multiplicative interactions, Σ_{i<j} u_iᵀ W_ij u_j + Σ_i U_i x_i + b with u_i = P_i x_i + p_i: MI-Matrix, over all pairs.
    ///
    /// The paper has two inputs, y = x_1ᵀ W x_2 + U x_1 + V x_2 + b with a tensor W of three axes. Here every pair of
    /// modalities has such a tensor; what three or more modalities have in common is left out, and one modality alone has
    /// the affine part only. P_i brings the features to a small width, without which W_ij would have width³ entries;
    /// the paper has no such map.
    ///
    /// Reference: S. M. Jayakumar et al., Multiplicative Interactions and Where to Find Them, ICLR 2020.
    pub struct MultiplicativeConfig: FusionConfig {
        /// Width of u_i, from 1 to 256: each output has as many weights per pair as the square of this.
        pub width: usize = 16,
    }
}

#[typetag::serde(name = "multiplicative")]
impl FusionConfig for MultiplicativeConfig {
    fn validate(&self) -> Result<()> {
        let allowed = (1..=256).contains(&self.width);
        let (width, plugin) = (self.width, "multiplicative");
        Error::require(allowed, plugin, "width", "from 1 to 256", width)
    }
}

impl Build<Fusions> for MultiplicativeConfig {
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
        let linear = Linear::xavier(width, modalities * width, init)?;
        let (mut projection, mut interaction) = (Vec::new(), Vec::new());
        // One modality has nobody to interact with.
        if modalities > 1 {
            for _ in 0..modalities {
                projection.push(Linear::xavier(self.width, width, init)?);
            }
        }
        for _ in pairs(modalities) {
            interaction.push(init.xavier_normal(width, self.width * self.width)?);
        }
        Ok(Box::new(Multiplicative {
            projection,
            interaction,
            linear,
        }))
    }
}

/// (0, 1), (0, 2), … (1, 2), …: each pair once.
fn pairs(modalities: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..modalities).flat_map(move |i| (i + 1..modalities).map(move |j| (i, j)))
}

/// `Σ_{i<j} u_iᵀ W_ij u_j + Σ_i U_i x_i + b` with `u_i = P_i x_i + p_i`.
pub struct Multiplicative<E: Scalar, D: Backend<E>> {
    /// P_i and p_i of each modality, `[narrow width, width]`; none for a single one.
    pub projection: Vec<Linear<E, D>>,
    /// W_ij of each pair, in the order 12, 13, … 23, …: `[width, narrow width²]`, the index of the second modality runs
    /// fastest.
    pub interaction: Vec<Matrix<E, D>>,
    /// `[U_1 | … | U_N]`, `[width, N · width]`, and b.
    pub linear: Linear<E, D>,
}

parameters!(Multiplicative {
    projection,
    interaction,
    linear
});

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for Multiplicative<E, D> {
    fn output_dim(&self) -> usize {
        self.linear.outputs()
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let all = pass.concatenate(x)?;
        let mut terms = vec![pass.run(&all, |all| self.linear.forward(all))];
        let maps = self.projection.iter().zip(x);
        let narrow: Vec<_> = maps
            .map(|(projection, x)| pass.run(x, |x| projection.forward(x)))
            .collect();
        for ((i, j), interaction) in pairs(narrow.len()).zip(&self.interaction) {
            terms.push(pass.run(&narrow[i], |u| {
                let w = contiguous(interaction.retaped::<OwnedTape<E, D>>());
                outer(u, narrow[j].clone()).matmul(w.permute::<_, Axes2<1, 0>>())
            }));
        }
        pass.sum(&terms)
    }
}
