//! Bounded row sums.

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, to_host};

use crate::stabilizer::{all_weights, Stabilizer, StabilizerConfig, Stabilizers, Traced};

plugin! {
    /// Bounded row sums: rows whose absolute values sum up to more than a bound are scaled down to it, w_r = v_r min(1, t / ‖v_r‖₁).
    ///
    /// So ‖W‖_∞ ≤ t: below 1, z ↦ φ(W z + c) contracts in the largest entry for every φ of slope 1 at most, and `implicit` and `ignn` are
    /// well posed. They also project the matrix itself onto the ball after each optimizer step; this is a change of variables instead,
    /// through which the gradient passes: the same set of matrices, other training.
    ///
    /// Reference: L. El Ghaoui et al., Implicit Deep Learning, SIAM J. Math. Data Sci. 3, 2021, §2.3, for the norm; T. Salimans, D. P.
    /// Kingma, Weight Normalization, NeurIPS 2016, for the change of variables.
    pub struct RowSum: StabilizerConfig {
        /// Ends of the names of the parameters it applies to; vectors are never touched.
        pub parameters: Vec<String> = all_weights(),
        /// Largest sum t of the absolute values of a row, above 0.
        pub bound: f64 = 0.95,
    }
}

#[typetag::serde(name = "row-sum")]
impl StabilizerConfig for RowSum {
    fn validate(&self) -> Result<()> {
        Error::require_positive("row-sum", "bound", self.bound)
    }
}

impl Build<Stabilizers> for RowSum {
    fn build<E: Scalar, D: Backend<E>>(&self, (): ()) -> Result<Box<dyn Stabilizer<E, D>>> {
        self.validate()?;
        Ok(Box::new(self.clone()))
    }
}

impl<E: Scalar, D: Backend<E>> Stabilizer<E, D> for RowSum {
    fn name(&self) -> &'static str {
        "row-sum"
    }

    fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// ‖v‖₁ is computed as ⟨v, s⟩ with the signs s held constant, which has the same value and derivative. Rows within the bound have s
    /// = 0 and the "sum" t.
    fn effective(&self, raw: Traced<E, D>) -> Result<Traced<E, D>> {
        let shape = *raw.shape();
        let (raw, tape) = raw.split_tape();
        let (signs, sums) = match D::ON_HOST {
            true => self.on_host(&raw)?,
            false => self.in_tensor_operations(&raw)?,
        };
        let along = raw.retaped::<OwnedTape<E, D>>() * signs;
        let sums = along.sum::<(usize,), Axis<1>>() + sums;
        let factors = (sums / E::of(self.bound)).recip();
        Ok(raw.put_tape(tape) * factors.broadcast_like::<_, Axis<1>>(&shape))
    }
}

/// The signs of all numbers, whose products with them make sums of absolute values, and what is added to the sums: rows that are left
/// alone have signs 0 and the "sum" t.
type Parts<E, D> = (Matrix<E, D>, Tensor<(usize,), E, D>);

impl RowSum {
    fn on_host<E: Scalar, D: Backend<E>>(&self, raw: &Matrix<E, D>) -> Result<Parts<E, D>> {
        let (shape, device, mut signs) = (*raw.shape(), raw.device(), to_host(raw));
        let mut sums = Vec::with_capacity(shape.0);
        for row in signs.chunks_exact_mut(shape.1.max(1)) {
            let within = row.iter().map(|v| v.wide().abs()).sum::<f64>() <= self.bound;
            let sign = |v: E| {
                if within || v.wide() == 0.0 {
                    0.0
                } else {
                    v.wide().signum()
                }
            };
            row.iter_mut().for_each(|v| *v = E::of(sign(*v)));
            sums.push(E::of(if within { self.bound } else { 0.0 }));
        }
        let sums = device.try_tensor_from_vec(sums, (shape.0,));
        Ok((
            from_host(device, signs, shape)?,
            sums.map_err(Error::device)?,
        ))
    }

    /// Where they are: the host sees none of the numbers.
    fn in_tensor_operations<E: Scalar, D: Backend<E>>(
        &self,
        raw: &Matrix<E, D>,
    ) -> Result<Parts<E, D>> {
        let (shape, device) = (*raw.shape(), raw.device());
        let zeros = device.try_zeros_like(&shape).map_err(Error::device)?;
        let none = device.try_zeros_like(&(shape.0,)).map_err(Error::device)?;
        let one = E::one();
        let negative = raw
            .lt(E::zero())
            .try_choose(zeros.clone() - one, zeros.clone());
        let negative = negative.map_err(Error::device)?;
        let signs = raw.gt(E::zero()).try_choose(zeros + one, negative);
        let within = (raw.clone().abs().sum::<(usize,), Axis<1>>()).le(E::of(self.bound));
        let counts = (within.clone()).try_choose(none.clone(), none.clone() + one);
        let counts = counts.map_err(Error::device)?;
        let sums = within.try_choose(none.clone() + E::of(self.bound), none);
        let signs = signs.map_err(Error::device)? * counts.broadcast_like::<_, Axis<1>>(&shape);
        Ok((signs, sums.map_err(Error::device)?))
    }
}
