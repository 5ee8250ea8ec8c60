//! Dropout inside the maps of DEQ fusion.

use dfdx::prelude::*;
use equilibria_core::{Backend, Error, Matrix, Result, Scalar};

use super::DeqFusion;
use crate::pass::Pass;

/// Keeps the masks of this fusion apart from those of a backbone, which counts from 0.
const FIRST_SITE: u64 = 1 << 32;

impl<E: Scalar, D: Backend<E>> DeqFusion<E, D> {
    /// The dropout masks of the modalities, for states of the shapes of `x`; `None` without dropout.
    pub(super) fn masks(
        &self,
        x: &[Matrix<E, D>],
        pass: &Pass<E, D>,
    ) -> Result<Option<Vec<Matrix<E, D>>>> {
        let masks = (FIRST_SITE..)
            .zip(x)
            .map(|(site, x)| pass.mask(x, self.dropout, site));
        let masks: Vec<_> = masks.collect::<Result<_>>()?;
        Ok(masks.into_iter().collect())
    }

    /// The dropout mask of `[z_1 | … | z_N | z_fuse]`, states of the shapes of their inputs; `None` without dropout.
    pub(super) fn joint_mask(
        &self,
        x: &[Matrix<E, D>],
        x_fuse: &Matrix<E, D>,
        pass: &Pass<E, D>,
    ) -> Result<Option<Matrix<E, D>>> {
        let Some(mut masks) = self.masks(x, pass)? else {
            return Ok(None);
        };
        // Dropout is inside f_θ: f_fuse sees all of z_fuse.
        let ones = x_fuse.device().try_ones_like(x_fuse.shape());
        masks.push(ones.map_err(Error::device)?);
        Ok(side_by_side(masks))
    }
}

/// `[a | b | …]`; `None` if there is nothing to put together.
pub(super) fn side_by_side<E: Scalar, D: Backend<E>>(
    parts: Vec<Matrix<E, D>>,
) -> Option<Matrix<E, D>> {
    parts
        .into_iter()
        .reduce(|left: Matrix<E, D>, right: Matrix<E, D>| {
            (left, right).concat_along(Axis::<1>).realize()
        })
}
