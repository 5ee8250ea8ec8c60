//! MUTAN.

use dfdx::prelude::*;
use equilibria_core::prelude::*;

use crate::layers::modules::Linear;
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::Pass;

plugin! {
    /// MUTAN, O Σ_r (M_1^{(r)} u_1 ⊙ … ⊙ M_N^{(r)} u_N) with u_i = tanh(W_i x_i): a Tucker decomposition with a core of rank R.
    ///
    /// The paper has two modalities, a question and an image. Here a slice of the core that makes one output is a sum of
    /// R outer products of N vectors instead of two; for N = 2 it is the paper's. All maps have biases, which start at 0;
    /// the paper's equations have none.
    ///
    /// A backbone that begins or ends with maps of its own, such as `mutan`, needs the sum of products in the middle alone: without
    /// `project` u_i is x_i, which may have widths of their own, and without `output` O is left out. Maps then start as PyTorch has them.
    ///
    /// Reference: H. Ben-younes, R. Cadene, M. Cord, N. Thome, MUTAN: Multimodal Tucker Fusion for Visual Question
    /// Answering, ICCV 2017, part 3.
    pub struct MutanConfig: FusionConfig {
        /// Width of u_i and of the sum, t of the paper, from 1 to 4096.
        pub width: usize = 64,
        /// Number of terms R, from 1 to 1024.
        pub rank: usize = 5,
        /// Whether u_i = tanh(W_i x_i), or x_i itself.
        pub project: bool = true,
        /// Whether the sum is mapped to the width of the features, by O, or is the result.
        pub output: bool = true,
    }
}

#[typetag::serde(name = "mutan")]
impl FusionConfig for MutanConfig {
    fn validate(&self) -> Result<()> {
        let allowed = (1..=4096).contains(&self.width);
        Error::require(allowed, "mutan", "width", "from 1 to 4096", self.width)?;
        let allowed = (1..=1024).contains(&self.rank);
        Error::require(allowed, "mutan", "rank", "from 1 to 1024", self.rank)
    }

    fn takes_widths(&self) -> bool {
        !self.project
    }
}

impl Build<Fusions> for MutanConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        let FusionRequest {
            modalities,
            width,
            widths,
            init,
        } = request;
        // Each M_i^{(r)} is square, and as large as Xavier would have it alone.
        let deviation = (1.0 / self.width as f64).sqrt();
        let mut projection = Vec::new();
        let mut factor = Vec::with_capacity(modalities);
        let outputs = self.rank * self.width;
        for modality in 0..modalities {
            factor.push(match self.project {
                true => {
                    projection.push(Linear::xavier(self.width, width, init)?);
                    Linear::normal(outputs, self.width, deviation, init)?
                }
                false => {
                    let own = widths.get(modality).copied().unwrap_or(width);
                    Linear::uniform(outputs, own, init)?
                }
            });
        }
        let output = match self.output {
            true => Some(Linear::xavier(width, self.width, init)?),
            false => None,
        };
        Ok(Box::new(Mutan {
            projection,
            factor,
            output,
            rank: self.rank,
        }))
    }
}

/// `O Σ_r ⊙_i M_i^{(r)} tanh(W_i x_i)`.
pub struct Mutan<E: Scalar, D: Backend<E>> {
    /// W_i of each modality, `[t, width]`; none where features are taken as they are.
    pub projection: Vec<Linear<E, D>>,
    /// M_i^{(1)} to M_i^{(R)} of each modality, one below the other: `[R · t, t]`, or as wide as the feature.
    pub factor: Vec<Linear<E, D>>,
    /// O, `[width, t]`, if it is not left out.
    pub output: Option<Linear<E, D>>,
    /// R.
    pub rank: usize,
}

parameters!(Mutan {
    projection,
    factor,
    output
});

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for Mutan<E, D> {
    fn output_dim(&self) -> usize {
        let output = self.output.as_ref().map(Linear::outputs);
        output.unwrap_or_else(|| self.terms())
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let mut factors = Vec::with_capacity(x.len());
        for (index, (factor, x)) in self.factor.iter().zip(x).enumerate() {
            let projection = self.projection.get(index);
            factors.push(pass.run(x, |x| match projection {
                Some(projection) => factor.forward(projection.forward(x).tanh()),
                None => factor.forward(x),
            }));
        }
        let product = pass.fold(factors, |product, factor| product * factor)?;
        Ok(pass.run(&product, |product| {
            let terms = (product.shape().0, self.rank, self.terms());
            let sum = product.reshape_like(&terms).sum::<_, Axis<1>>();
            match &self.output {
                Some(output) => output.forward(sum),
                None => sum,
            }
        }))
    }
}

impl<E: Scalar, D: Backend<E>> Mutan<E, D> {
    /// t.
    fn terms(&self) -> usize {
        let outputs = self.factor.first().map_or(0, Linear::outputs);
        outputs / self.rank.max(1)
    }
}
