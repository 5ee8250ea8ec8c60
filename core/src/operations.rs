//! The operations that `+`, `-`, `*` and `/` stand for, functions of single numbers, and any dfdx code as an operation.

mod divide;
mod multiply;
mod pointwise;
mod reciprocal;
mod scale;
mod sum;
mod tensors;

pub use divide::Divide;
pub use multiply::Multiply;
pub use pointwise::{Pointwise, PointwiseRows, ARGUMENT, BOTH, RESULT};
pub use reciprocal::Reciprocal;
pub use scale::{Scale, NEGATIVE};
pub use sum::Sum;
pub(crate) use tensors::RowsOfCode;
pub use tensors::{TensorCode, Tensors};

use crate::{Error, Result};

/// The width that all arguments have.
///
/// # Errors
/// [`Error::Shape`] if they differ.
pub fn same_width(name: &str, arguments: &[usize]) -> Result<usize> {
    match arguments {
        [first, others @ ..] if others.iter().all(|width| width == first) => Ok(*first),
        _ => Err(Error::Shape {
            what: format!("the arguments of {name}"),
            expected: "one width".to_owned(),
            got: format!("{arguments:?}"),
        }),
    }
}

/// As many arguments as an operation takes.
///
/// # Errors
/// [`Error::Missing`] if there are more or fewer.
pub fn arguments<X, const N: usize>(arguments: Vec<X>) -> Result<[X; N]> {
    let count = arguments.len();
    <[X; N]>::try_from(arguments).map_err(|_| Error::Missing {
        what: format!("{N} arguments of an operation, which got {count},"),
        remedy: "give as many as it takes",
    })
}
