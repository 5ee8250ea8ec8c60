//! Scratch memory that is used again.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use dfdx::prelude::HasShape;
use equilibria_core::parallel::lock;
use equilibria_core::{copy_to_host, Backend, Matrix, Scalar};

/// Memory for a host copy that is made in every step of a training: to ask for it anew each time, and to clear it, would take
/// as long as the copy does. It stays as long as its owner, whose clones share it.
#[derive(Clone, Default)]
pub(super) struct Scratch<E>(Arc<Mutex<Vec<E>>>);

/// A host copy, row-major, that leaves its memory to the next one.
pub(super) struct Copied<E> {
    values: Vec<E>,
    scratch: Scratch<E>,
}

impl<E: Scalar> Scratch<E> {
    /// A copy of `tensor`.
    pub fn copy<D: Backend<E>>(&self, tensor: &Matrix<E, D>) -> Copied<E> {
        let (rows, columns) = *tensor.shape();
        let mut values = self.exchange(Vec::new());
        values.resize(rows * columns, E::zero());
        copy_to_host(tensor, &mut values);
        Copied {
            values,
            scratch: self.clone(),
        }
    }
}

impl<E> Scratch<E> {
    /// Takes the memory that is here, if any is, and leaves another.
    fn exchange(&self, values: Vec<E>) -> Vec<E> {
        std::mem::replace(&mut *lock(&self.0), values)
    }
}

impl<E> Deref for Copied<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        &self.values
    }
}

impl<E> Drop for Copied<E> {
    fn drop(&mut self) {
        self.scratch.exchange(std::mem::take(&mut self.values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::prelude::Cpu;
    use equilibria_core::from_host;

    /// Two copies at the same time have memory of their own; a later one has that of one of them, and not its numbers.
    #[test]
    fn memory_is_used_again() {
        let tensor = |values: Vec<f64>| -> Matrix<f64, Cpu> {
            let shape = (1, values.len());
            from_host(&Cpu::default(), values, shape).expect("memory")
        };
        let scratch = Scratch::default();
        let (first, second) = (
            scratch.copy(&tensor(vec![1.0, 2.0, 3.0])),
            scratch.clone().copy(&tensor(vec![4.0])),
        );
        assert_eq!((&*first, &*second), (&[1.0, 2.0, 3.0][..], &[4.0][..]));
        drop(second);
        let place = first.as_ptr();
        drop(first);
        let third = scratch.copy(&tensor(vec![5.0, 6.0]));
        assert_eq!(*third, [5.0, 6.0]);
        assert!(std::ptr::eq(third.as_ptr(), place));
    }
}
