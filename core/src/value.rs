//! Values: what the equation of a layer is written with.

mod arithmetic;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use dfdx::prelude::*;

use crate::input::separate;
use crate::program::Recorded;
use crate::{AnyTape, Backend, Error, Matrix, Operation, Result, Scalar};

/// A batch of rows, `[batch, width]`, in the equation of a layer: a state, an injected input, or what operations made of them.
///
/// The same equation runs in three ways, and an author need not know in which: on dfdx tensors, on dfdx tensors on a tape, or as a
/// recording, from which a program for the CPU is made.
///
/// An operation that does not fit, for instance because widths differ, gives a value that carries the error, and so do
/// operations on that; [`Equilibrium`](crate::Equilibrium) reports the first one.
pub struct Value<E: Scalar, D: Backend<E>>(Kind<E, D>);

enum Kind<E: Scalar, D: Backend<E>> {
    /// Numbers.
    Plain(Matrix<E, D>),
    /// Numbers on a tape, which all values of a step share, and a mark that copies of the value share: dfdx refuses a tensor
    /// that is two operands of one operation.
    Traced(Matrix<E, D>, SharedTape<E, D>, Rc<()>),
    /// The place of a value in a recording.
    Recorded(Recorded<E, D>),
    /// What went wrong.
    Failed(Rc<RefCell<Option<Error>>>),
}

/// A matrix with a tape of its own.
type Traced<E, D> = Matrix<E, D, OwnedTape<E, D>>;

/// One tape for all values of a step.
pub(crate) type SharedTape<E, D> = Rc<RefCell<OwnedTape<E, D>>>;

impl<E: Scalar, D: Backend<E>> Value<E, D> {
    /// Numbers without a tape.
    pub fn plain(matrix: Matrix<E, D>) -> Self {
        Self(Kind::Plain(matrix))
    }

    /// A value that stands for an error.
    pub fn failed(error: Error) -> Self {
        Self(Kind::Failed(Rc::new(RefCell::new(Some(error)))))
    }

    /// Numbers on a tape that is shared. No other value may have the same tensor.
    fn traced(matrix: Matrix<E, D>, tape: &SharedTape<E, D>) -> Self {
        Self(Kind::Traced(matrix, tape.clone(), Rc::new(())))
    }

    pub(crate) fn recorded(recorded: Recorded<E, D>) -> Self {
        Self(Kind::Recorded(recorded))
    }

    /// `(batch, width)`; the batch of a recording is 0, for it is good for any, and both are where an operation has failed.
    pub fn shape(&self) -> (usize, usize) {
        match &self.0 {
            Kind::Plain(matrix) | Kind::Traced(matrix, ..) => *matrix.shape(),
            Kind::Recorded(recorded) => (0, recorded.width()),
            Kind::Failed(_) => (0, 0),
        }
    }

    /// Numbers per row; 0 where an operation has failed.
    pub fn width(&self) -> usize {
        self.shape().1
    }

    /// The result of an operation on `arguments`, of which there is one at least.
    pub fn of(operation: &impl Operation<E, D>, arguments: &[&Self]) -> Self {
        match Self::try_of(operation, arguments) {
            Ok(value) => value,
            Err(error) => Self::failed(error),
        }
    }

    /// The result of an operation that reads no argument and is the same for every row, such as a parameter: in the step, and with as
    /// many rows as this value. In tensors the operation is given this value, for its batch.
    pub fn beside(&self, operation: &impl Operation<E, D>) -> Self {
        let Kind::Recorded(recorded) = &self.0 else {
            return Self::of(operation, &[self]);
        };
        let width = operation.width(&[]);
        match width.and_then(|width| recorded.operation(operation, (&[], &[]), width)) {
            Ok(recorded) => Self::recorded(recorded),
            Err(error) => Self::failed(error),
        }
    }

    fn try_of<O: Operation<E, D>>(operation: &O, arguments: &[&Self]) -> Result<Self> {
        if let Some(failed) = arguments.iter().find(|x| matches!(x.0, Kind::Failed(_))) {
            return Ok((*failed).clone());
        }
        let widths: Vec<usize> = arguments.iter().map(|x| x.width()).collect();
        let width = operation.width(&widths)?;
        match arguments.first().map(|x| &x.0) {
            Some(Kind::Recorded(first)) => {
                let recorded = arguments.iter().map(|x| match &x.0 {
                    Kind::Recorded(recorded) => Ok(recorded),
                    _ => Err(mixed(O::NAME)),
                });
                let recorded = recorded.collect::<Result<Vec<_>>>()?;
                let arguments = (&recorded[..], &widths[..]);
                Ok(Self::recorded(
                    first.operation(operation, arguments, width)?,
                ))
            }
            Some(Kind::Plain(_)) => {
                let tensors = Self::tensors(O::NAME, arguments)?;
                Ok(Self::plain(operation.on_tensors(tensors)?))
            }
            Some(Kind::Traced(_, tape, _)) => {
                let tensors = Self::traced_tensors(O::NAME, arguments, tape)?;
                let (result, grown) = operation.on_tensors(tensors)?.split_tape();
                tape.replace(grown);
                Ok(Self::traced(result, tape))
            }
            Some(Kind::Failed(_)) | None => Err(Error::Missing {
                what: format!("the arguments of {}", O::NAME),
                remedy: "give one at least",
            }),
        }
    }

    fn tensors(name: &str, arguments: &[&Self]) -> Result<Vec<Matrix<E, D>>> {
        let matrices = arguments.iter().map(|x| match &x.0 {
            Kind::Plain(matrix) => Ok(matrix.clone()),
            _ => Err(mixed(name)),
        });
        matrices.collect()
    }

    /// The first one brings the tape along, which dfdx joins with those of the others.
    fn traced_tensors(
        name: &str,
        arguments: &[&Self],
        tape: &SharedTape<E, D>,
    ) -> Result<Vec<Traced<E, D>>> {
        let mut seen: Vec<&Rc<()>> = Vec::with_capacity(arguments.len());
        let mut tensors = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let Kind::Traced(matrix, _, mark) = &argument.0 else {
                return Err(mixed(name));
            };
            let own = match tensors.is_empty() {
                true => tape.take(),
                false => OwnedTape::default(),
            };
            let tensor = matrix.clone().put_tape(own);
            tensors.push(match seen.iter().any(|seen| Rc::ptr_eq(seen, mark)) {
                true => separate(tensor),
                false => tensor,
            });
            seen.push(mark);
        }
        Ok(tensors)
    }

    /// The matrix without its tape.
    ///
    /// # Errors
    /// The first error that an operation has met; [`Error::Missing`] for a recording, which has no numbers.
    pub fn into_matrix(self) -> Result<Matrix<E, D>> {
        match self.0 {
            Kind::Plain(matrix) | Kind::Traced(matrix, ..) => Ok(matrix),
            Kind::Recorded(_) => Err(Error::Missing {
                what: "the numbers of a recorded value".to_owned(),
                remedy: "take part in the equation by operations alone",
            }),
            Kind::Failed(error) => Err(taken(&error)),
        }
    }

    pub(crate) fn into_recorded(self) -> Result<Recorded<E, D>> {
        match self.0 {
            Kind::Recorded(recorded) => Ok(recorded),
            Kind::Failed(error) => Err(taken(&error)),
            _ => Err(mixed("the step")),
        }
    }

    /// Calls `equation` with a state and inputs on the tape that z brings along, which goes on with the result.
    ///
    /// They are copied, row-major, and the copies recorded: operations meet no views, and where an input is the state as well, each has
    /// its own gradient.
    ///
    /// # Errors
    /// Those of the equation.
    pub fn on_tape<T: AnyTape<E, D>>(
        z: Matrix<E, D, T>,
        x: &[Matrix<E, D>],
        equation: impl FnOnce(&Self, &[Self]) -> Result<Self>,
    ) -> Result<Matrix<E, D, T>> {
        let (z, tape) = z.split_tape();
        let (result, tape) = tape.share(|shared| {
            let copy = |matrix: &Matrix<E, D>| match shared {
                Some(tape) => {
                    let (copy, grown) = separate(matrix.clone().put_tape(tape.take())).split_tape();
                    tape.replace(grown);
                    Self::traced(copy, tape)
                }
                None => Self::plain(matrix.clone().contiguous()),
            };
            let z = copy(&z);
            let x: Vec<Self> = x.iter().map(copy).collect();
            equation(&z, &x)?.into_matrix()
        })?;
        Ok(result.put_tape(tape))
    }
}

/// The first to ask is told; whoever comes later learns that there was an error.
fn taken(error: &RefCell<Option<Error>>) -> Error {
    error.take().unwrap_or_else(|| Error::Missing {
        what: "a value of which an operation has failed".to_owned(),
        remedy: "see the error reported before",
    })
}

fn mixed(name: &str) -> Error {
    Error::Missing {
        what: format!("an argument of {name} that belongs to the same step as the others"),
        remedy: "make all values from those that the step is given",
    }
}

impl<E: Scalar, D: Backend<E>> Clone for Value<E, D> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Kind::Plain(matrix) => Kind::Plain(matrix.clone()),
            Kind::Traced(matrix, tape, mark) => {
                Kind::Traced(matrix.clone(), tape.clone(), mark.clone())
            }
            Kind::Recorded(recorded) => Kind::Recorded(recorded.clone()),
            Kind::Failed(error) => Kind::Failed(error.clone()),
        })
    }
}

impl<E: Scalar, D: Backend<E>> fmt::Debug for Value<E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Plain(_) => "plain",
            Kind::Traced(..) => "traced",
            Kind::Recorded(_) => "recorded",
            Kind::Failed(_) => "failed",
        };
        write!(f, "Value({kind}, {:?})", self.shape())
    }
}
