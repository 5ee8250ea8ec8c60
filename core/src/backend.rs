//! Dtypes and devices: the only file that knows which ones exist.

use std::sync::Arc;

use dfdx::prelude::*;

use crate::build::{BuildAny, Family};
#[cfg(feature = "cuda")]
use crate::cuda::{accumulate, address, is_row_major, CudaSpace, CudaTraining};
use crate::layout::Layout;
use crate::operation::RowOperation;
use crate::operations::{RowsOfCode, TensorCode};
use crate::plumbing::{Space, TensorSpace};
use crate::simd;
use crate::{AnyLayer, Element, Error, OnDevice, Result};

/// A matrix of runtime shape, the one tensor type of the framework: `[rows, columns]`, vectors are `[1, d]`.
pub type Matrix<E, D, T = NoneTape> = Tensor<(usize, usize), E, D, T>;

/// Element types: f32 and f64.
pub trait Scalar: Dtype + Element {}

impl Scalar for f32 {}
impl Scalar for f64 {}

/// A dfdx device that Equilibria runs on: [`Cpu`], and `Cuda` with the feature `cuda`.
pub trait Backend<E: Scalar>: Device<E> {
    /// Whether the memory of this device is that of the host, on which the [maps of layers](crate::RowMap) run.
    const ON_HOST: bool;

    /// Builds what a configuration describes for this dtype and device.
    fn build<F: Family>(
        config: &(impl BuildAny<F> + ?Sized),
        request: F::Request<'_, Self>,
    ) -> Result<F::Product<E, Self>>;

    /// The space in which jobs run on this device, for a layer with its injected inputs, each `[batch, width]`. Default: one in dfdx
    /// operations.
    #[doc(hidden)]
    fn space(
        layer: &AnyLayer<E, Self>,
        device: &Self,
        inputs: &[Matrix<E, Self>],
        batch: usize,
    ) -> Result<Box<dyn Space<E, Self>>> {
        let space = TensorSpace::new(layer, device.clone(), inputs, batch);
        Ok(Box::new(space))
    }

    /// What training does on this device without a copy to the host; `None` where the host has the numbers. Default: `None`.
    fn on_device() -> Option<&'static dyn OnDevice<E, Self>> {
        None
    }

    /// Per-row inner products `⟨a_s, b_s⟩` in f64.
    fn row_dots(a: &Matrix<E, Self>, b: &Matrix<E, Self>) -> Vec<f64>;

    /// Gives `tensor` new values, row-major. Its identity stays, by which gradients are found; where it is a view on CUDA it
    /// becomes a tensor of its own.
    ///
    /// # Panics
    /// If there are not as many values as entries.
    fn overwrite(tensor: &mut Matrix<E, Self>, values: &[E]) -> Result<()>;

    /// Adds `delta` to the gradient of `tensor`.
    fn accumulate(
        gradients: &mut Gradients<E, Self>,
        tensor: &Matrix<E, Self>,
        delta: &Matrix<E, Self>,
    ) -> Result<()>;

    /// Takes the gradient of `tensor` out, row-major; 0, which no values at all stand for as well, stays behind, or nothing is
    /// taken of a view. [`put_gradient`](Self::put_gradient) must follow before the tape goes on.
    fn take_gradient(
        gradients: &mut Gradients<E, Self>,
        tensor: &Matrix<E, Self>,
    ) -> Result<Vec<E>>;

    /// Adds row-major host values to the gradient of `tensor`.
    fn put_gradient(
        gradients: &mut Gradients<E, Self>,
        tensor: &Matrix<E, Self>,
        values: Vec<E>,
    ) -> Result<()>;

    /// Lets `add` add to the gradient of `tensor` as row-major host values: to the gradient itself, or to zeros that are added
    /// to that of a view.
    fn add_to_gradient(
        gradients: &mut Gradients<E, Self>,
        tensor: &Matrix<E, Self>,
        add: impl FnOnce(&mut [E]),
    ) -> Result<()>;

    /// Shows the gradient of `tensor`, 0 if there is none, as row-major host values.
    fn with_gradient<R>(
        gradients: &mut Gradients<E, Self>,
        tensor: &Matrix<E, Self>,
        look: impl FnOnce(&[E]) -> R,
    ) -> Result<R>;

    /// dfdx code as an operation on slices, which run on the CPU.
    #[doc(hidden)]
    fn rows_of_code<C: TensorCode>(
        code: &C,
        parameters: &[Matrix<E, Self>],
        widths: &[usize],
    ) -> Arc<dyn RowOperation<E>>;

    /// Waits until a device has done all that it was asked for, which the host has. Default: nothing to wait for.
    fn wait(device: &Self) -> Result<()> {
        let _ = device;
        Ok(())
    }

    /// Whether the numbers of a matrix lie row after row, each once.
    #[doc(hidden)]
    fn is_row_major(tensor: &Matrix<E, Self>) -> Result<bool>;

    /// Whether two tensors are the same numbers in the same place. While one of them is kept, the numbers cannot change:
    /// what writes to shared storage copies it first. False where this cannot be told.
    fn same_storage(a: &Matrix<E, Self>, b: &Matrix<E, Self>) -> bool;
}

/// Copies a tensor to the host, row-major.
pub fn to_host<E: Scalar, D: Backend<E>>(tensor: &Matrix<E, D>) -> Vec<E> {
    let (rows, columns) = *tensor.shape();
    let mut values = vec![E::default(); rows * columns];
    copy_to_host(tensor, &mut values);
    values
}

/// [`to_host`] in a place that is there already.
///
/// # Panics
/// If `values` is not as long as the tensor has numbers.
pub fn copy_to_host<E: Scalar, D: Backend<E>>(tensor: &Matrix<E, D>, values: &mut [E]) {
    tensor.clone().contiguous().copy_into(values);
}

/// Makes a matrix from row-major host values.
///
/// # Errors
/// [`Error::Shape`] unless there are as many values as entries, [`Error::Device`] if memory runs out.
pub fn from_host<E: Scalar, D: Backend<E>>(
    device: &D,
    values: Vec<E>,
    shape: (usize, usize),
) -> Result<Matrix<E, D>> {
    if values.len() != shape.0 * shape.1 {
        return Err(Error::Shape {
            what: "the values of a matrix".to_owned(),
            expected: format!("{shape:?}, row-major"),
            got: format!("{} values", values.len()),
        });
    }
    device
        .try_tensor_from_vec(values, shape)
        .map_err(Error::device)
}

macro_rules! cpu_backend {
    ($dtype:ty, $pick:ident) => {
        impl Backend<$dtype> for Cpu {
            const ON_HOST: bool = true;

            fn build<F: Family>(
                config: &(impl BuildAny<F> + ?Sized),
                request: F::Request<'_, Self>,
            ) -> Result<F::Product<$dtype, Self>> {
                config.$pick(request)
            }

            fn row_dots(a: &Matrix<$dtype, Self>, b: &Matrix<$dtype, Self>) -> Vec<f64> {
                let columns = a.shape().1.max(1);
                let (a, b) = (to_host(a), to_host(b));
                let rows = a.chunks_exact(columns).zip(b.chunks_exact(columns));
                rows.map(|(a, b)| simd::dot(a, b)).collect()
            }

            fn overwrite(tensor: &mut Matrix<$dtype, Self>, values: &[$dtype]) -> Result<()> {
                if Layout::of(tensor).is_row_major() {
                    tensor.copy_from(values);
                    return Ok(());
                }
                let columns = tensor.shape().1;
                for (index, &value) in values.iter().enumerate() {
                    tensor[[index / columns, index % columns]] = value;
                }
                Ok(())
            }

            fn accumulate(
                gradients: &mut Gradients<$dtype, Self>,
                tensor: &Matrix<$dtype, Self>,
                delta: &Matrix<$dtype, Self>,
            ) -> Result<()> {
                let delta = to_host(delta);
                Self::add_to_gradient(gradients, tensor, |g| simd::add_scaled(g, 1.0, &delta))
            }

            fn add_to_gradient(
                gradients: &mut Gradients<$dtype, Self>,
                tensor: &Matrix<$dtype, Self>,
                add: impl FnOnce(&mut [$dtype]),
            ) -> Result<()> {
                let (rows, columns) = *tensor.shape();
                let layout = Layout::of(tensor);
                let gradient = gradients.get_or_alloc_mut(tensor).map_err(Error::device)?;
                if layout.is_row_major() {
                    gradient.resize(rows * columns, 0.0);
                    add(gradient);
                } else {
                    let mut values = vec![0.0; rows * columns];
                    add(&mut values);
                    layout.scatter(gradient, &values);
                }
                Ok(())
            }

            fn take_gradient(
                gradients: &mut Gradients<$dtype, Self>,
                tensor: &Matrix<$dtype, Self>,
            ) -> Result<Vec<$dtype>> {
                if !Layout::of(tensor).is_row_major() {
                    return Ok(Vec::new());
                }
                let gradient = gradients.get_or_alloc_mut(tensor).map_err(Error::device)?;
                Ok(std::mem::take(&mut **gradient))
            }

            fn put_gradient(
                gradients: &mut Gradients<$dtype, Self>,
                tensor: &Matrix<$dtype, Self>,
                values: Vec<$dtype>,
            ) -> Result<()> {
                let layout = Layout::of(tensor);
                let gradient = gradients.get_or_alloc_mut(tensor).map_err(Error::device)?;
                if !layout.is_row_major() {
                    layout.scatter(gradient, &values);
                } else if gradient.is_empty() {
                    **gradient = values;
                } else {
                    simd::add_scaled(gradient, 1.0, &values);
                }
                Ok(())
            }

            fn with_gradient<R>(
                gradients: &mut Gradients<$dtype, Self>,
                tensor: &Matrix<$dtype, Self>,
                look: impl FnOnce(&[$dtype]) -> R,
            ) -> Result<R> {
                let layout = Layout::of(tensor);
                let gradient = gradients.get_or_alloc_mut(tensor).map_err(Error::device)?;
                Ok(match layout.is_row_major() {
                    true => look(gradient),
                    false => look(&layout.gather(gradient)),
                })
            }

            fn rows_of_code<C: TensorCode>(
                code: &C,
                parameters: &[Matrix<$dtype, Self>],
                widths: &[usize],
            ) -> Arc<dyn RowOperation<$dtype>> {
                Arc::new(RowsOfCode::new(code, parameters, widths))
            }

            fn is_row_major(tensor: &Matrix<$dtype, Self>) -> Result<bool> {
                Ok(Layout::of(tensor).is_row_major())
            }

            fn same_storage(a: &Matrix<$dtype, Self>, b: &Matrix<$dtype, Self>) -> bool {
                let (rows, columns) = *a.shape();
                if a.shape() != b.shape() || rows * columns == 0 {
                    return false;
                }
                // The ends of the first row and column tell the strides.
                let corners = [[0, 0], [0, columns - 1], [rows - 1, 0]];
                corners.iter().all(|&at| std::ptr::eq(&a[at], &b[at]))
            }
        }
    };
}

cpu_backend!(f32, cpu_f32);
cpu_backend!(f64, cpu_f64);

/// How many entries of `tensor` share the place of each: more than 1 where it is broadcast.
#[cfg(feature = "cuda")]
fn sharers<E: Scalar, D: Backend<E>>(tensor: &Matrix<E, D>) -> Matrix<E, D> {
    let gradients = tensor.leaky_trace().sum::<Rank0, _>().backward();
    gradients.get(tensor)
}

#[cfg(feature = "cuda")]
macro_rules! cuda_backend {
    ($dtype:ty, $pick:ident) => {
        impl Backend<$dtype> for Cuda {
            const ON_HOST: bool = false;

            fn build<F: Family>(
                config: &(impl BuildAny<F> + ?Sized),
                request: F::Request<'_, Self>,
            ) -> Result<F::Product<$dtype, Self>> {
                config.$pick(request)
            }

            fn row_dots(a: &Matrix<$dtype, Self>, b: &Matrix<$dtype, Self>) -> Vec<f64> {
                let (a, b) = (a.clone().to_dtype::<f64>(), b.clone().to_dtype::<f64>());
                (a * b).sum::<(usize,), Axis<1>>().as_vec()
            }

            fn overwrite(tensor: &mut Matrix<$dtype, Self>, values: &[$dtype]) -> Result<()> {
                if is_row_major(tensor)? {
                    tensor.copy_from(values);
                } else {
                    *tensor = from_host(tensor.device(), values.to_vec(), *tensor.shape())?;
                }
                Ok(())
            }

            /// The sum for a view is computed as the gradient of a throw-away graph and exchanged for the old one. The graph is one of
            /// the tensor, so that the sum lies in memory as its gradient does; where several entries share a place, each holds the whole
            /// gradient of that place.
            fn accumulate(
                gradients: &mut Gradients<$dtype, Self>,
                tensor: &Matrix<$dtype, Self>,
                delta: &Matrix<$dtype, Self>,
            ) -> Result<()> {
                if is_row_major(tensor)? {
                    return accumulate(gradients, tensor, delta);
                }
                gradients.get_or_alloc_mut(tensor).map_err(Error::device)?;
                let sum: Matrix<$dtype, Self> =
                    gradients.get(tensor) / sharers(tensor) + delta.clone();
                let mut scratch = (tensor.leaky_trace() * sum).sum::<Rank0, _>().backward();
                let new = scratch.get_or_alloc_mut(tensor).map_err(Error::device)?;
                let old = gradients.get_or_alloc_mut(tensor).map_err(Error::device)?;
                std::mem::swap(new, old);
                Ok(())
            }

            fn take_gradient(
                gradients: &mut Gradients<$dtype, Self>,
                tensor: &Matrix<$dtype, Self>,
            ) -> Result<Vec<$dtype>> {
                let old = gradients.get_or_alloc_mut(tensor).map_err(Error::device)?;
                let mut scratch = Gradients::leaky();
                let taken = scratch.get_or_alloc_mut(tensor).map_err(Error::device)?;
                std::mem::swap(taken, old);
                Ok(to_host(&(scratch.get(tensor) / sharers(tensor))))
            }

            fn add_to_gradient(
                gradients: &mut Gradients<$dtype, Self>,
                tensor: &Matrix<$dtype, Self>,
                add: impl FnOnce(&mut [$dtype]),
            ) -> Result<()> {
                let (rows, columns) = *tensor.shape();
                let mut values = vec![0.0; rows * columns];
                add(&mut values);
                Self::put_gradient(gradients, tensor, values)
            }

            fn put_gradient(
                gradients: &mut Gradients<$dtype, Self>,
                tensor: &Matrix<$dtype, Self>,
                values: Vec<$dtype>,
            ) -> Result<()> {
                let values = from_host(tensor.device(), values, *tensor.shape())?;
                Self::accumulate(gradients, tensor, &values)
            }

            fn with_gradient<R>(
                gradients: &mut Gradients<$dtype, Self>,
                tensor: &Matrix<$dtype, Self>,
                look: impl FnOnce(&[$dtype]) -> R,
            ) -> Result<R> {
                gradients.get_or_alloc_mut(tensor).map_err(Error::device)?;
                Ok(look(&to_host(&gradients.get(tensor))))
            }

            fn rows_of_code<C: TensorCode>(
                code: &C,
                parameters: &[Matrix<$dtype, Self>],
                widths: &[usize],
            ) -> Arc<dyn RowOperation<$dtype>> {
                let cpu = Cpu::default();
                let on_cpu =
                    |each: &Matrix<$dtype, Self>| cpu.tensor_from_vec(to_host(each), *each.shape());
                let parameters: Vec<_> = parameters.iter().map(on_cpu).collect();
                Arc::new(RowsOfCode::new(code, &parameters, widths))
            }

            fn on_device() -> Option<&'static dyn OnDevice<$dtype, Self>> {
                Some(&CudaTraining)
            }

            fn wait(device: &Self) -> Result<()> {
                device.try_synchronize().map_err(Error::device)
            }

            fn is_row_major(tensor: &Matrix<$dtype, Self>) -> Result<bool> {
                is_row_major(tensor)
            }

            fn space(
                layer: &AnyLayer<$dtype, Self>,
                device: &Self,
                inputs: &[Matrix<$dtype, Self>],
                batch: usize,
            ) -> Result<Box<dyn Space<$dtype, Self>>> {
                Ok(Box::new(CudaSpace::new(layer, device, inputs, batch)?))
            }

            fn same_storage(a: &Matrix<$dtype, Self>, b: &Matrix<$dtype, Self>) -> bool {
                let rows = |tensor| is_row_major(tensor).unwrap_or(false);
                a.shape() == b.shape()
                    && matches!((address(a), address(b)), (Ok(a), Ok(b)) if a == b)
                    && rows(a) == rows(b)
            }
        }
    };
}

#[cfg(feature = "cuda")]
cuda_backend!(f32, cuda_f32);
#[cfg(feature = "cuda")]
cuda_backend!(f64, cuda_f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_takes_as_many_values_as_it_has_entries() {
        let matrix = |count| from_host::<f32, _>(&Cpu::default(), vec![0.5; count], (2, 3));
        let error = matrix(5).expect_err("one value is missing").to_string();
        assert_eq!(
            error,
            "the values of a matrix: expected (2, 3), row-major, got 5 values"
        );
        assert_eq!(matrix(6).expect("six values").as_vec().len(), 6);
    }
}
