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
    /// Reference: H. Ben-younes, R. Cadene, M. Cord, N. Thome, MUTAN: Multimodal Tucker Fusion for Visual Question
    /// Answering, ICCV 2017, part 3.
    pub struct MutanConfig: FusionConfig {
        /// Width of u_i and of the sum, t of the paper, from 1 to 4096.
        pub width: usize = 64,
        /// Number of terms R, from 1 to 1024.
        pub rank: usize = 5,
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
}

impl Build<Fusions> for MutanConfig {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: FusionRequest<'_, D>,
    ) -> Result<Box<dyn Fusion<E, D>>> {
        let FusionRequest {
            modalities,
            width,
            init,
        } = request;
        // Each M_i^{(r)} is square, and as large as Xavier would have it alone.
        let deviation = (1.0 / self.width as f64).sqrt();
        let mut projection = Vec::with_capacity(modalities);
        let mut factor = Vec::with_capacity(modalities);
        for _ in 0..modalities {
            projection.push(Linear::xavier(self.width, width, init)?);
            let outputs = self.rank * self.width;
            factor.push(Linear::normal(outputs, self.width, deviation, init)?);
        }
        Ok(Box::new(Mutan {
            projection,
            factor,
            output: Linear::xavier(width, self.width, init)?,
            rank: self.rank,
        }))
    }
}

/// `O Σ_r ⊙_i M_i^{(r)} tanh(W_i x_i)`.
pub struct Mutan<E: Scalar, D: Backend<E>> {
    /// W_i of each modality, `[t, width]`.
    pub projection: Vec<Linear<E, D>>,
    /// M_i^{(1)} to M_i^{(R)} of each modality, one below the other: `[R · t, t]`.
    pub factor: Vec<Linear<E, D>>,
    /// O, `[width, t]`.
    pub output: Linear<E, D>,
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
        self.output.outputs()
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let maps = self.projection.iter().zip(&self.factor);
        let factors: Vec<_> = maps
            .zip(x)
            .map(|((projection, factor), x)| {
                pass.run(x, |x| factor.forward(projection.forward(x).tanh()))
            })
            .collect();
        let product = pass.fold(factors, |product, factor| product * factor)?;
        Ok(pass.run(&product, |product| {
            let terms = (product.shape().0, self.rank, self.output.inputs());
            let sum = product.reshape_like(&terms).sum::<_, Axis<1>>();
            self.output.forward(sum)
        }))
    }
}
