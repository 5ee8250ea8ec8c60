//! From a plain configuration to something generic over dtype and device.
//!
//! A trait that configuration files can name cannot be generic (typetag), and a layer must be. So a plugin author writes
//! the generic [`Build::build`]; [`BuildAny`] lists its instances, one method per dtype and device, and
//! [`Backend::build`] picks the right one.

use dfdx::prelude::Cpu;
#[cfg(feature = "cuda")]
use dfdx::prelude::Cuda;

use crate::{Backend, Result, Scalar};

/// A family of generic things a configuration can describe, e.g. implicit layers.
pub trait Family {
    /// What a configuration needs to know to build one on device `D`.
    type Request<'a, D: 'a>;
    /// What is built.
    type Product<E: Scalar, D: Backend<E>>;
}

/// Builds a member of a family for any dtype and device. Written by plugin authors.
pub trait Build<F: Family> {
    /// Builds it.
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: F::Request<'_, D>,
    ) -> Result<F::Product<E, D>>;
}

/// [`Build`] without generic methods. Implemented for every [`Build`].
pub trait BuildAny<F: Family> {
    /// Builds it for f32 on the CPU.
    fn cpu_f32(&self, request: F::Request<'_, Cpu>) -> Result<F::Product<f32, Cpu>>;
    /// Builds it for f64 on the CPU.
    fn cpu_f64(&self, request: F::Request<'_, Cpu>) -> Result<F::Product<f64, Cpu>>;
    /// Builds it for f32 on CUDA.
    #[cfg(feature = "cuda")]
    fn cuda_f32(&self, request: F::Request<'_, Cuda>) -> Result<F::Product<f32, Cuda>>;
    /// Builds it for f64 on CUDA.
    #[cfg(feature = "cuda")]
    fn cuda_f64(&self, request: F::Request<'_, Cuda>) -> Result<F::Product<f64, Cuda>>;
}

impl<F: Family, B: Build<F>> BuildAny<F> for B {
    fn cpu_f32(&self, request: F::Request<'_, Cpu>) -> Result<F::Product<f32, Cpu>> {
        self.build(request)
    }

    fn cpu_f64(&self, request: F::Request<'_, Cpu>) -> Result<F::Product<f64, Cpu>> {
        self.build(request)
    }

    #[cfg(feature = "cuda")]
    fn cuda_f32(&self, request: F::Request<'_, Cuda>) -> Result<F::Product<f32, Cuda>> {
        self.build(request)
    }

    #[cfg(feature = "cuda")]
    fn cuda_f64(&self, request: F::Request<'_, Cuda>) -> Result<F::Product<f64, Cuda>> {
        self.build(request)
    }
}
