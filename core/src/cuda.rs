//! CUDA devices: vectors and recorded programs in kernels of our own, on dfdx tensors.
//!
//! | file | what |
//! |---|---|
//! | `address` | where a dfdx tensor lies |
//! | `engine` | kernels compiled at run time, launches, products, copies: all that is unsafe |
//! | `kernels` | their sources, and what each is given |
//! | `store` | the vectors of a solve |
//! | `program` | the step of a layer, recorded |
//! | `space` | both together |
//! | `training` | gradients, updates, masks and rows, in place |

mod address;
mod engine;
mod kernels;
mod program;
mod space;
mod store;
mod training;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::OnceLock;

use cudarc::driver::result;
use dfdx::prelude::{Axis, BroadcastTo, Cache, Cuda, ReshapeTo, Tensor, ZerosTensor};

use crate::{Error, Result};

pub(crate) use address::{address, is_row_major};
pub(crate) use engine::{Engine, Real};
pub(crate) use space::CudaSpace;
pub(crate) use training::{accumulate, CudaTraining};

/// The GPU of this number, from 0. Memory that tensors give back is kept for the next ones.
///
/// # Errors
/// [`Error::NoGpu`] if there is no such GPU, or none that can be used, or without the headers of CUDA.
pub fn open(number: usize) -> Result<Cuda> {
    let failed = |reason: String| Error::NoGpu { number, reason };
    // What cudarc does by itself panics where there is no GPU.
    let count = result::init().and_then(|()| result::device::get_count());
    let count = count.map_err(|error| failed(format!("the driver says {error:?}")))?;
    if number as i128 >= i128::from(count) {
        return Err(failed(format!("there are {count}")));
    }
    let device = Cuda::try_build(number, 0);
    let device = device.map_err(|error| failed(format!("{error:?}")))?;
    device.try_enable_cache().map_err(Error::device)?;
    // dfdx compiles some kernels when they are first wanted, with headers that lay where it was built, and panics without them.
    static COMPILES: OnceLock<bool> = OnceLock::new();
    let compiles = || catch_unwind(AssertUnwindSafe(|| compile(&device))).is_ok();
    if !COMPILES.get_or_init(compiles) {
        let reason = "dfdx finds no headers of CUDA where they lay when it was built, so build where it runs";
        return Err(failed(reason.to_owned()));
    }
    Ok(device)
}

/// Lets dfdx compile a kernel: copying a broadcast tensor is one of those.
fn compile(device: &Cuda) -> Option<()> {
    let zero: Tensor<(usize,), f32, _> = device.try_zeros_like(&(1,)).ok()?;
    let zeros = zero.try_broadcast_like::<(usize, usize), Axis<0>>(&(2, 1));
    let zeros = zeros.ok()?;
    zeros.try_contiguous().map(|_| ()).ok()
}
