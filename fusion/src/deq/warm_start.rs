//! Solves that start where the last one of the same sample ended.

use std::collections::HashMap;
use std::sync::Mutex;

use dfdx::prelude::*;
use equilibria_core::parallel::lock;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, to_host};

use crate::pass::Pass;

mod on_device;

use on_device::Tables;

/// The last equilibrium of every state of every sample.
///
/// Between two epochs parameters change little, and so do equilibria: the second solve is shorter. Samples are told
/// apart by [`Pass::samples`]; without it, as in evaluation, solves start at 0 and nothing is kept. The same number must
/// mean the same sample in every pass; where it does not, a solve only takes longer.
///
/// Memory: one number per entry of a state, N + 1 states per sample, where the states are.
#[derive(Debug, Default)]
pub struct WarmStart<E>(Mutex<HashMap<(usize, usize), Vec<E>>>, Mutex<Tables<E>>);

impl<E: Scalar> WarmStart<E> {
    /// The known states `part` of the samples of the pass, 0 for a new sample; of the shape of `x`.
    pub(super) fn recall<D: Backend<E>>(
        &self,
        part: usize,
        x: &Matrix<E, D>,
        pass: &Pass<E, D>,
    ) -> Result<Option<Matrix<E, D>>> {
        let Some(samples) = samples_of(x, pass)? else {
            return Ok(None);
        };
        let shape = *x.shape();
        if let Some(device) = D::on_device() {
            let mut tables = lock(&self.1);
            return tables.recall(part, (x, samples), &self.0, device).map(Some);
        }
        let mut start = vec![E::zero(); shape.0 * shape.1];
        let known = lock(&self.0);
        for (row, &sample) in start.chunks_exact_mut(shape.1).zip(samples) {
            if let Some(state) = known.get(&(part, sample)).filter(|z| z.len() == shape.1) {
                row.copy_from_slice(state);
            }
        }
        from_host(x.device(), start, shape).map(Some)
    }

    /// Keeps the states `z`, `[batch, width]`, but for those a failed solve has left non-finite.
    pub(super) fn remember<D: Backend<E>>(
        &self,
        part: usize,
        z: &Matrix<E, D>,
        pass: &Pass<E, D>,
    ) -> Result<()> {
        let samples = samples_of(z, pass)?.unwrap_or_default();
        if let Some(device) = D::on_device() {
            let mut tables = lock(&self.1);
            return tables.remember(part, (z, samples), &self.0, device);
        }
        let values = to_host(z);
        let mut known = lock(&self.0);
        for (state, &sample) in values.chunks_exact(z.shape().1).zip(samples) {
            if state.iter().all(|value| value.is_finite()) {
                known.insert((part, sample), state.to_vec());
            }
        }
        Ok(())
    }

    /// All states of some samples, by the names `PART.SAMPLE`, in order.
    pub(super) fn memory(&self, of: &dyn Fn(usize) -> bool) -> Vec<(String, Vec<E>)> {
        let known = lock(&self.0);
        let all = known.iter().filter(|((_, sample), _)| of(*sample));
        let all = all.map(|(&key, state)| (key, state.clone()));
        let on_device = lock(&self.1).states();
        let on_device = on_device.into_iter().filter(|((_, sample), _)| of(*sample));
        let mut all: Vec<_> = all.chain(on_device).collect();
        all.sort_by_key(|(key, _)| *key);
        all.into_iter()
            .map(|((part, sample), state)| (format!("{part}.{sample}"), state))
            .collect()
    }

    /// Takes an entry of [`memory`](Self::memory) back; another name means nothing here.
    pub(super) fn restore(&self, name: &str, state: Vec<E>) {
        let key = name.split_once('.');
        let key = key.and_then(|(part, sample)| Some((part.parse().ok()?, sample.parse().ok()?)));
        if let Some(key) = key {
            lock(&self.0).insert(key, state);
        }
    }
}

/// The samples of the pass, one for each row of `x`.
fn samples_of<'p, E: Scalar, D: Backend<E>>(
    x: &Matrix<E, D>,
    pass: &'p Pass<E, D>,
) -> Result<Option<&'p [usize]>> {
    let (samples, rows) = (pass.samples.as_deref(), x.shape().0);
    match samples {
        Some(samples) if samples.len() != rows => Err(Error::Shape {
            what: "the samples of a pass".to_owned(),
            expected: format!("[{rows}], one number per row"),
            got: format!("[{}]", samples.len()),
        }),
        samples => Ok(samples),
    }
}
