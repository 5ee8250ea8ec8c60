//! Tensor fusion.

use dfdx::prelude::*;
use equilibria_core::prelude::*;

use crate::layers::modules::Linear;
use crate::model::{Fusion, FusionConfig, FusionRequest, Fusions};
use crate::pass::{Pass, Traced};

/// Most entries that the outer product may have: the output map has as many columns.
const LIMIT: usize = 65536;

plugin! {
    /// Tensor fusion network, an affine map of the outer product of all [P_i x_i + p_i; 1]: every interaction of every order.
    ///
    /// The outer product has (width + 1)^N entries, which is refused if it exceeds 65536. P_i brings the features to a
    /// width for which it does not; the paper's features are that narrow by themselves, and its subnetworks are the
    /// business of the backbone here.
    ///
    /// Reference: A. Zadeh, M. Chen, S. Poria, E. Cambria, L.-P. Morency, Tensor Fusion Network for Multimodal Sentiment
    /// Analysis, EMNLP 2017, part 4.2.
    pub struct TensorConfig: FusionConfig {
        /// Number of rows of P_i, at least 1, such that (width + 1)^N is at most 65536: up to 255 for two modalities,
        /// 39 for three, 15 for four, 8 for five, 5 for six.
        pub width: usize = 5,
    }
}

impl TensorConfig {
    /// (width + 1)^N, unless that exceeds the limit.
    fn entries(&self, modalities: usize) -> Result<usize> {
        let entries = u32::try_from(modalities)
            .ok()
            .and_then(|n| self.width.checked_add(1)?.checked_pow(n))
            .filter(|&entries| entries <= LIMIT);
        entries.ok_or_else(|| Error::Config {
            plugin: "tensor",
            field: "width",
            expected: "so small that (width + 1)^N is at most 65536 for N modalities",
            got: format!("{} for {modalities} modalities", self.width),
        })
    }
}

#[typetag::serde(name = "tensor")]
impl FusionConfig for TensorConfig {
    fn validate(&self) -> Result<()> {
        Error::require_at_least_one("tensor", "width", self.width)
    }
}

impl Build<Fusions> for TensorConfig {
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
        let entries = self.entries(modalities)?;
        let mut projection = Vec::with_capacity(modalities);
        for _ in 0..modalities {
            projection.push(Linear::xavier(self.width, width, init)?);
        }
        Ok(Box::new(TensorFusion {
            projection,
            output: Linear::xavier(width, entries, init)?,
        }))
    }
}

/// `O vec(⊗_i [P_i x_i + p_i; 1]) + o`.
pub struct TensorFusion<E: Scalar, D: Backend<E>> {
    /// P_i and p_i of each modality, `[narrow width, width]`.
    pub projection: Vec<Linear<E, D>>,
    /// O and o, `[width, (narrow width + 1)^N]`; the index of the last modality runs fastest.
    pub output: Linear<E, D>,
}

parameters!(TensorFusion { projection, output });

impl<E: Scalar, D: Backend<E>> Fusion<E, D> for TensorFusion<E, D> {
    fn output_dim(&self) -> usize {
        self.output.outputs()
    }

    fn fuse(&self, x: &[Matrix<E, D>], pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let maps = self.projection.iter().zip(x);
        let narrow: Vec<_> = maps
            .map(|(projection, x)| pass.run(x, |x| with_one(projection.forward(x))))
            .collect();
        let product = pass.fold(narrow, outer)?;
        Ok(pass.run(&product, |product| self.output.forward(product)))
    }
}

/// `[x; 1]` in every row.
fn with_one<E: Scalar, D: Backend<E>>(x: Traced<E, D>) -> Traced<E, D> {
    let ones: Matrix<E, D> = x.device().ones_like(&(x.shape().0, 1));
    (x, ones).concat_along(Axis::<1>).realize()
}

/// The outer product of every two rows: `[batch, m]` and `[batch, n]` to `[batch, m · n]`, with `a_i b_j` at `i · n + j`.
pub(crate) fn outer<E: Scalar, D: Backend<E>>(a: Traced<E, D>, b: Matrix<E, D>) -> Traced<E, D> {
    let ((rows, m), n) = (*a.shape(), b.shape().1);
    let a = a.broadcast_like::<_, Axis<2>>(&(rows, m, n));
    let b = b.retaped::<OwnedTape<E, D>>();
    let b = b.broadcast_like::<_, Axis<1>>(&(rows, m, n));
    (a * b).reshape_like(&(rows, m * n))
}
