//! A step recorded for a device that has kernels of its own.

// Only CUDA reads what is recorded here.
#![cfg_attr(not(feature = "cuda"), allow(dead_code))]

use crate::device_code::DeviceCode;
use crate::{Backend, Matrix, Scalar};

/// A value of a step. The first one is the state, the next ones are the injected inputs.
pub(crate) struct CodeNode<E: Scalar, D: Backend<E>> {
    pub width: usize,
    /// None for the state and the inputs.
    pub made_by: Option<CodeMade<E, D>>,
}

/// How a value is made.
pub(crate) struct CodeMade<E: Scalar, D: Backend<E>> {
    pub code: DeviceCode,
    /// Nodes before this one.
    pub arguments: Vec<usize>,
    /// With the number of each among those of the layer, if it is one of them.
    pub parameters: Vec<(Matrix<E, D>, Option<usize>)>,
}
