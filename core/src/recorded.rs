//! Operations on host memory, recorded on the tape.

use dfdx::prelude::*;

use crate::{AnyTape, Backend, Matrix, Result, Scalar};

/// Puts `y`, which an operation of our own has made, on the tape. On the way back `pull_back` is given the cotangent of `y`,
/// row-major, and adds to the gradients of what `y` was made from.
pub fn recorded<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    y: Matrix<E, D>,
    mut tape: T,
    pull_back: impl FnOnce(&mut Gradients<E, D>, &[E]) -> Result<()> + 'static,
) -> Matrix<E, D, T> {
    if T::OWNS_TAPE {
        let output = y.clone();
        tape.add_backward_op(move |gradients| {
            gradients.try_alloc_for(&output)?;
            // Only running out of memory can stop this, and dfdx reports that by itself.
            let _ = D::take_gradient(gradients, &output).and_then(|cotangent| {
                pull_back(gradients, &cotangent)?;
                D::put_gradient(gradients, &output, cotangent)
            });
            Ok(())
        });
    }
    y.put_tape(tape)
}
