//! Where a dfdx tensor lies.
//!
//! dfdx keeps the storage of a tensor to itself, but shows it to whoever prints the tensor. That is the one public way to the address of
//! numbers on a device, and it costs no copy; a test below notices if a version of dfdx prints something else.

use std::fmt::{self, Write};

use dfdx::prelude::{Cuda, ReshapeTo};

use crate::{Backend, Error, Matrix, Result, Scalar};

/// What is printed before an address, and after it.
const BEFORE: &str = "cu_device_ptr: ";
const AFTER: char = ',';

/// The address of the first number of a tensor on a device. It is good as long as the tensor is there.
pub(crate) fn address<E: Scalar>(tensor: &Matrix<E, Cuda>) -> Result<u64>
where
    Cuda: Backend<E>,
{
    let mut printed = Printed::default();
    // Printing ends with an error once the address has been seen.
    let _ = write!(printed, "{tensor:?}");
    printed.address().ok_or_else(|| Error::Missing {
        what: "the address of a tensor".to_owned(),
        remedy: "use dfdx 0.13.0, whose tensors show it",
    })
}

/// Whether the numbers of a tensor lie row after row, each once.
pub(crate) fn is_row_major<E: Scalar>(tensor: &Matrix<E, Cuda>) -> Result<bool>
where
    Cuda: Backend<E>,
{
    // What is contiguous already stays where it is.
    let contiguous = tensor.clone().try_contiguous().map_err(Error::device)?;
    Ok(address(&contiguous)? == address(tensor)?)
}

/// What has been printed so far.
#[derive(Default)]
struct Printed(String);

impl Printed {
    fn address(&self) -> Option<u64> {
        let (_, rest) = self.0.split_once(BEFORE)?;
        let (digits, _) = rest.split_once(AFTER)?;
        digits.trim().parse().ok()
    }
}

impl Write for Printed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        match self.address() {
            Some(_) => Err(fmt::Error),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::*;

    use super::*;

    /// By the storage that dfdx hands out of a gradient: what is written there is what a tensor at the same address has.
    #[test]
    fn the_address_is_that_of_the_storage() {
        use cudarc::driver::DevicePtr;
        let device = crate::cuda::open(0).expect("a device");
        let t: Matrix<f32, Cuda> = device.tensor_from_vec(vec![1.0, 2.0, 3.0, 4.0], (2, 2));
        let same = t.clone();
        assert_eq!(address(&t).expect("shown"), address(&same).expect("shown"));
        let mut gradients = Gradients::leaky();
        let storage = gradients.get_or_alloc_mut(&t).expect("memory");
        assert_ne!(address(&t).expect("shown"), *storage.device_ptr());
        assert!(is_row_major(&t).expect("memory"));
        assert!(!is_row_major(&t.clone().permute::<_, Axes2<1, 0>>()).expect("memory"));
        let row: Tensor<(usize,), f32, Cuda> = device.tensor_from_vec(vec![1.0, 2.0], (2,));
        let rows = row.broadcast_like::<_, Axis<0>>(&(3, 2));
        assert!(!is_row_major(&rows).expect("memory"));
    }
}
