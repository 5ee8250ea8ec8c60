//! Initial values of parameters, from a seeded generator on the host: the same on every device.

use equilibria_core::{from_host, Backend, Error, Matrix, Result, Scalar};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Gamma, StandardNormal};

use crate::memory;

/// Makes parameters on a device, in a reproducible order.
///
/// # Errors
/// All its methods return [`Error::Memory`] if there is no room for a parameter.
pub struct Initializer<D> {
    device: D,
    rng: StdRng,
}

impl<D: Clone> Initializer<D> {
    /// A generator for `device`; the same seed gives the same parameters.
    pub fn new(device: &D, seed: u64) -> Self {
        Self {
            device: device.clone(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// The device parameters are made on.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// A constant matrix.
    pub fn constant<E: Scalar>(&mut self, shape: (usize, usize), value: f64) -> Result<Matrix<E, D>>
    where
        D: Backend<E>,
    {
        self.fill(shape, |_| value)
    }

    /// Independent normal entries of mean 0 and standard deviation `deviation`.
    pub fn normal<E: Scalar>(
        &mut self,
        shape: (usize, usize),
        deviation: f64,
    ) -> Result<Matrix<E, D>>
    where
        D: Backend<E>,
    {
        self.fill(shape, |rng| {
            deviation * rng.sample::<f64, _>(StandardNormal)
        })
    }

    /// Independent entries, uniform in (−`limit`, `limit`).
    pub fn uniform<E: Scalar>(&mut self, shape: (usize, usize), limit: f64) -> Result<Matrix<E, D>>
    where
        D: Backend<E>,
    {
        self.fill(shape, |rng| limit * (2.0 * rng.gen::<f64>() - 1.0))
    }

    /// Independent entries of a Gamma distribution of the given shape and rate, both above 0.
    ///
    /// # Errors
    /// [`Error::Config`] if one of them is not.
    pub fn gamma<E: Scalar>(
        &mut self,
        size: (usize, usize),
        shape: f64,
        rate: f64,
    ) -> Result<Matrix<E, D>>
    where
        D: Backend<E>,
    {
        let gamma = Gamma::new(shape, rate.recip()).map_err(|_| Error::Config {
            plugin: "initializer",
            field: "shape, rate",
            expected: "above 0",
            got: format!("{shape}, {rate}"),
        })?;
        self.fill(size, |rng| rng.sample(gamma))
    }

    /// Xavier (Glorot) normal weights `[outputs, inputs]`: deviation √(2 / (inputs + outputs)).
    pub fn xavier_normal<E: Scalar>(
        &mut self,
        outputs: usize,
        inputs: usize,
    ) -> Result<Matrix<E, D>>
    where
        D: Backend<E>,
    {
        let deviation = (2.0 / (inputs as f64 + outputs as f64)).sqrt();
        self.normal((outputs, inputs), deviation)
    }

    fn fill<E: Scalar>(
        &mut self,
        shape: (usize, usize),
        mut value: impl FnMut(&mut StdRng) -> f64,
    ) -> Result<Matrix<E, D>>
    where
        D: Backend<E>,
    {
        memory::require(shape, size_of::<E>())?;
        let values = (0..shape.0 * shape.1)
            .map(|_| E::of(value(&mut self.rng)))
            .collect();
        from_host(&self.device, values, shape)
    }
}
