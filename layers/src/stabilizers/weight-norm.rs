//! Weight normalization.

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, to_host};

use crate::stabilizer::{all_weights, Stabilizer, StabilizerConfig, Stabilizers, Traced};

plugin! {
    /// Weight normalization: every row of a matrix is scaled to a given length, w_r = t v_r / ‖v_r‖₂.
    ///
    /// With `clip`, only rows longer than t are. Rows of zeros stay. A row length of t bounds each entry of W z by t ‖z‖₂,
    /// and ‖W‖₂ by t times the root of the number of rows.
    ///
    /// Reference: T. Salimans, D. P. Kingma, Weight Normalization, NeurIPS 2016, eq. 2, with g = t held fixed; S. Bai,
    /// J. Z. Kolter, V. Koltun, Deep Equilibrium Models, NeurIPS 2019, apply it to keep the solve stable.
    pub struct WeightNorm: StabilizerConfig {
        /// Ends of the names of the parameters it applies to; vectors are never touched.
        pub parameters: Vec<String> = all_weights(),
        /// Length t of a row, above 0.
        pub target: f64 = 1.0,
        /// Whether shorter rows are left as they are.
        pub clip: bool = true,
    }
}

#[typetag::serde(name = "weight-norm")]
impl StabilizerConfig for WeightNorm {
    fn validate(&self) -> Result<()> {
        Error::require_positive("weight-norm", "target", self.target)
    }
}

impl Build<Stabilizers> for WeightNorm {
    fn build<E: Scalar, D: Backend<E>>(&self, (): ()) -> Result<Box<dyn Stabilizer<E, D>>> {
        self.validate()?;
        Ok(Box::new(self.clone()))
    }
}

impl<E: Scalar, D: Backend<E>> Stabilizer<E, D> for WeightNorm {
    fn name(&self) -> &'static str {
        "weight-norm"
    }

    fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// ‖v‖ is computed as ⟨v, v̂⟩ with the unit vector v̂ = v / ‖v‖ held constant: the value is the same, and so is the
    /// derivative, ⟨v̂, dv⟩, but a row of zeros, which has no v̂, needs no division.
    fn effective(&self, raw: Traced<E, D>) -> Result<Traced<E, D>> {
        let shape = *raw.shape();
        let (raw, tape) = raw.split_tape();
        let (directions, lengths) = match D::ON_HOST {
            true => self.on_host(&raw)?,
            false => self.in_tensor_operations(&raw)?,
        };
        let along = raw.retaped::<OwnedTape<E, D>>() * directions;
        let lengths = along.sum::<(usize,), Axis<1>>() + lengths;
        let factors = (lengths / E::of(self.target)).recip();
        Ok(raw.put_tape(tape) * factors.broadcast_like::<_, Axis<1>>(&shape))
    }
}

/// The directions v̂ of rows v, and what is added to ⟨v, v̂⟩: rows that are left alone have v̂ = 0 and the "length" t.
type Parts<E, D> = (Matrix<E, D>, Tensor<(usize,), E, D>);

impl WeightNorm {
    fn on_host<E: Scalar, D: Backend<E>>(&self, raw: &Matrix<E, D>) -> Result<Parts<E, D>> {
        let (shape, device) = (*raw.shape(), raw.device());
        let mut lengths = Vec::with_capacity(shape.0);
        let mut scale = |square: f64| {
            let length = square.sqrt();
            let left_alone = length <= 0.0 || (self.clip && length <= self.target);
            lengths.push(E::of(if left_alone { self.target } else { 0.0 }));
            if left_alone {
                0.0
            } else {
                1.0 / length
            }
        };
        let mut directions = to_host(raw);
        for row in directions.chunks_exact_mut(shape.1.max(1)) {
            let scale = scale(row.iter().map(|v| v.wide() * v.wide()).sum());
            row.iter_mut().for_each(|v| *v = E::of(v.wide() * scale));
        }
        let lengths = device.try_tensor_from_vec(lengths, (shape.0,));
        let directions = from_host(device, directions, shape)?;
        Ok((directions, lengths.map_err(Error::device)?))
    }

    /// Where they are: the host sees none of the numbers.
    fn in_tensor_operations<E: Scalar, D: Backend<E>>(
        &self,
        raw: &Matrix<E, D>,
    ) -> Result<Parts<E, D>> {
        let shape = *raw.shape();
        let zeros = (raw.device().try_zeros_like(&(shape.0,))).map_err(Error::device)?;
        let lengths = raw.clone().square().sum::<(usize,), Axis<1>>().sqrt();
        let left_alone = lengths.le(E::of(if self.clip { self.target } else { 0.0 }));
        let scales = (left_alone.clone()).try_choose(zeros.clone(), lengths.recip());
        let scales = scales.map_err(Error::device)?;
        let added = left_alone.try_choose(zeros.clone() + E::of(self.target), zeros);
        let directions = raw.clone() * scales.broadcast_like::<_, Axis<1>>(&shape);
        Ok((directions, added.map_err(Error::device)?))
    }
}
