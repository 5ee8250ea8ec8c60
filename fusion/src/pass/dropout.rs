//! Dropout in a pass.

use dfdx::prelude::*;
use equilibria_core::seed::mix;
use equilibria_core::{Backend, Matrix, Result, Scalar};

use super::Pass;
use crate::layers::modules::{dropout, dropout_mask, dropout_mask_rows, times_data};

/// Use of a seed that keeps masks apart from probes.
const MASKS: u64 = 0x6D61_736B;

impl<E: Scalar, D: Backend<E>> Pass<E, D> {
    /// Sets entries to zero with probability `p` and scales the others by `1 / (1 − p)`; does nothing in evaluation.
    /// `site` tells the masks of one pass apart.
    pub fn dropout(&mut self, x: &Matrix<E, D>, p: f64, site: u64) -> Result<Matrix<E, D>> {
        match self.mask_seed(p, site) {
            Some(_) if self.proper_part().is_some() => {
                let mask = self.mask(x, p, site)?;
                self.try_run(x, |x| match mask {
                    Some(mask) => times_data(x, &mask),
                    None => Ok(x),
                })
            }
            Some(seed) => self.try_run(x, |x| dropout(x, p, seed)),
            None => Ok(x.clone()),
        }
    }

    /// The mask of [`dropout`](Self::dropout) for a matrix of the shape of `x`; `None` where it does nothing.
    pub fn mask(&self, x: &Matrix<E, D>, p: f64, site: u64) -> Result<Option<Matrix<E, D>>> {
        self.mask_of(x.device(), *x.shape(), p, site)
    }

    /// The same for any shape.
    pub fn mask_of(
        &self,
        device: &D,
        shape: (usize, usize),
        p: f64,
        site: u64,
    ) -> Result<Option<Matrix<E, D>>> {
        let Some(seed) = self.mask_seed(p, site) else {
            return Ok(None);
        };
        match self.proper_part() {
            Some(part) => {
                let rows = (part.first_of(shape.0)?, part.all_of(shape.0)?);
                dropout_mask_rows(device, shape, rows, p, seed).map(Some)
            }
            None => dropout_mask(device, shape, p, seed).map(Some),
        }
    }

    fn mask_seed(&self, p: f64, site: u64) -> Option<u64> {
        let seed = self.seed.filter(|_| p > 0.0)?;
        Some(mix(mix(seed, MASKS), site))
    }
}
