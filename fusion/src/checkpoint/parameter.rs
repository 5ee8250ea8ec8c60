//! The values of one parameter, however a file keeps them, and what is wrong where there are none.

use std::collections::BTreeSet;

use equilibria_core::Scalar;
use safetensors::tensor::TensorView;
use safetensors::SafeTensors;

use super::array::dtype;
use super::names::{Kept, Names};
use super::reparametrization::{spectral_norm, weight_norm};
use super::{Checkpoint, CheckpointError};
use crate::dtype::floats;

impl Checkpoint {
    pub(super) fn array<'f>(
        &self,
        file: &SafeTensors<'f>,
        name: &str,
    ) -> Result<TensorView<'f>, CheckpointError> {
        file.tensor(name).map_err(|_| CheckpointError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
            nearest: None,
        })
    }

    /// Numbers and shape of an array.
    pub(super) fn read_array(
        &self,
        file: &SafeTensors<'_>,
        name: &str,
    ) -> Result<(Vec<f64>, Vec<usize>), CheckpointError> {
        let view = self.array(file, name)?;
        let numbers = floats(view.dtype(), view.data());
        let numbers = numbers.ok_or_else(|| CheckpointError::ElementType {
            path: self.path.clone(),
            name: name.to_owned(),
            got: format!("{:?}", view.dtype()),
        })?;
        Ok((numbers, view.shape().to_vec()))
    }

    /// The values of a parameter of the model, however they are kept.
    pub(super) fn parameter<E: Scalar>(
        &self,
        file: &SafeTensors<'_>,
        name: &str,
        shape: (usize, usize),
        kept: &Kept<'_>,
    ) -> Result<Vec<E>, CheckpointError> {
        let numbers = self.put_together::<E>(file, shape, kept)?;
        let values: Vec<E> = numbers.into_iter().map(E::of).collect();
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(_) if self.is_undirected(file, kept)? => Err(CheckpointError::Undirected {
                path: self.path.clone(),
                name: name.to_owned(),
                stored: kept.arrays().into_iter().map(str::to_owned).collect(),
            }),
            Some(entry) => Err(CheckpointError::NonFinite {
                path: self.path.clone(),
                name: name.to_owned(),
                row: entry / shape.1 + 1,
                column: entry % shape.1 + 1,
                dtype: format!("{:?}", dtype::<E>()),
            }),
        }
    }

    /// The numbers of a parameter of the shape `[rows, columns]`, from all the arrays that keep it.
    fn put_together<E: Scalar>(
        &self,
        file: &SafeTensors<'_>,
        (rows, columns): (usize, usize),
        kept: &Kept<'_>,
    ) -> Result<Vec<f64>, CheckpointError> {
        let needed = [rows, columns];
        let fitting = |array: &str| -> Result<_, CheckpointError> {
            let (numbers, shape) = self.read_array(file, array)?;
            match fits(&shape, &needed) {
                true => Ok((numbers, shape)),
                false => Err(self.mismatch::<E>(file, array, format!("{needed:?}"))),
            }
        };
        match *kept {
            Kept::Plain(array) => Ok(fitting(array)?.0),
            Kept::Joined(ref arrays) => {
                let mut all = Vec::with_capacity(rows * columns);
                for array in arrays {
                    let (numbers, shape) = self.read_array(file, array)?;
                    let whole = match shape[..] {
                        [length] => rows == 1 && length > 0,
                        [count, width] => count > 0 && width == columns,
                        _ => false,
                    };
                    if !whole || all.len() + numbers.len() > rows * columns {
                        let expected = format!("a part of {needed:?} in {} arrays", arrays.len());
                        return Err(self.mismatch::<E>(file, array, expected));
                    }
                    all.extend(numbers);
                }
                match (all.len() == rows * columns, arrays.last()) {
                    (false, Some(last)) => {
                        let expected = format!("the end of {needed:?} in {} arrays", arrays.len());
                        Err(self.mismatch::<E>(file, last, expected))
                    }
                    _ => Ok(all),
                }
            }
            Kept::WeightNorm { g, v } => {
                let (direction, shape) = fitting(v)?;
                let (lengths, of) = self.read_array(file, g)?;
                let expected = format!("[{rows}, 1], [1, {columns}] or []");
                weight_norm((&lengths, &of), (&direction, &shape))
                    .ok_or_else(|| self.mismatch::<E>(file, g, expected))
            }
            Kept::SpectralNorm { weight, u, v } => {
                let (matrix, shape) = fitting(weight)?;
                let ((left, _), (right, _)) =
                    (self.read_array(file, u)?, self.read_array(file, v)?);
                let expected = format!("[{rows}], and of v [{columns}]");
                spectral_norm((&matrix, &shape), &left, &right)
                    .ok_or_else(|| self.mismatch::<E>(file, u, expected))
            }
        }
    }

    /// Whether a parameter that is not finite is made of arrays that are, some of them 0: what it is divided by.
    fn is_undirected(
        &self,
        file: &SafeTensors<'_>,
        kept: &Kept<'_>,
    ) -> Result<bool, CheckpointError> {
        if let Kept::Plain(_) | Kept::Joined(_) = kept {
            return Ok(false);
        }
        let mut has_zero = false;
        for array in kept.arrays() {
            let (numbers, _) = self.read_array(file, array)?;
            if numbers.iter().any(|number| !number.is_finite()) {
                return Ok(false);
            }
            has_zero |= numbers.contains(&0.0);
        }
        Ok(has_zero)
    }

    pub(super) fn missing(
        &self,
        name: &str,
        names: &Names<'_>,
        taken: &BTreeSet<&str>,
    ) -> CheckpointError {
        let (path, name, stored) = (self.path.clone(), name.to_owned(), names.parts(name));
        match stored.is_empty() {
            true => CheckpointError::Missing {
                nearest: names.nearest(&name, taken),
                path,
                name,
            },
            false => CheckpointError::Reparametrized { path, name, stored },
        }
    }

    pub(super) fn mismatch<E: Scalar>(
        &self,
        file: &SafeTensors<'_>,
        array: &str,
        expected: String,
    ) -> CheckpointError {
        let got = file.tensor(array).ok();
        let got = got.map(|view| format!("{:?} {:?}", view.dtype(), view.shape()));
        CheckpointError::Mismatch {
            path: self.path.clone(),
            name: array.to_owned(),
            expected: format!("{:?} {expected}", dtype::<E>()),
            got: got.unwrap_or_default(),
        }
    }
}

/// Whether an array has the shape of a parameter: one row may be a vector, or one of each head, a single number may have no dimension, and
/// the columns of a convolution, `[outputs, inputs, side, side]`, are all but its first axis: the numbers stand in the same order. So do
/// those of one that sees one point of a row at a time, `[outputs, inputs, 1]`.
fn fits(stored: &[usize], needed: &[usize; 2]) -> bool {
    match (stored, needed) {
        ([], needed) => *needed == [1, 1],
        ([length], [1, columns]) => length == columns,
        ([1, width], [1, columns]) => width == columns,
        ([heads, width], [1, columns]) => *width > 1 && heads * width == *columns,
        ([rows, inputs, 1], needed) => [*rows, *inputs] == *needed,
        ([rows, inputs, height, width], needed) => {
            // An array without rows may claim any number of the others.
            let numbers = (inputs.checked_mul(*height)).and_then(|all| all.checked_mul(*width));
            height == width && *rows == needed[0] && numbers == Some(needed[1])
        }
        (stored, needed) => stored == needed,
    }
}
