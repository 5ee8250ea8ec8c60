//! Numbers as large as a parameter that are kept from step to step, where the parameter is.

use std::any::Any;

use dfdx::prelude::HasShape;
use equilibria_core::{from_host, to_host, Backend, Error, Matrix, Result, Scalar};

/// A copy of a parameter, or something else of its shape: on the host, or on the device of the parameter.
pub struct Kept<E>(Place<E>);

enum Place<E> {
    Host(Vec<E>),
    Device(Box<dyn Numbers<E>>),
}

/// A matrix whose device is forgotten.
trait Numbers<E> {
    fn to_host(&self) -> Vec<E>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

struct OnItsDevice<E: Scalar, D: Backend<E>>(Matrix<E, D>);

impl<E: Scalar, D: Backend<E>> Numbers<E> for OnItsDevice<E, D> {
    fn to_host(&self) -> Vec<E> {
        to_host(&self.0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl<E> Default for Kept<E> {
    fn default() -> Self {
        Self(Place::Host(Vec::new()))
    }
}

impl<E> From<Vec<E>> for Kept<E> {
    fn from(values: Vec<E>) -> Self {
        Self(Place::Host(values))
    }
}

impl<E: Scalar> Kept<E> {
    /// A copy of a parameter.
    pub fn of<D: Backend<E>>(tensor: &Matrix<E, D>) -> Result<Self> {
        Ok(Self(match D::on_device() {
            Some(device) => Place::Device(Box::new(OnItsDevice(device.copy(tensor)?))),
            None => Place::Host(to_host(tensor)),
        }))
    }

    /// A matrix that nobody else works on, where it is.
    pub fn on_its_device<D: Backend<E>>(matrix: Matrix<E, D>) -> Self {
        Self(Place::Device(Box::new(OnItsDevice(matrix))))
    }

    /// The matrix, if it is on a device of this type.
    pub fn matrix_mut<D: Backend<E>>(&mut self) -> Option<&mut Matrix<E, D>> {
        match &mut self.0 {
            Place::Device(numbers) => {
                let numbers = numbers.as_any_mut().downcast_mut::<OnItsDevice<E, D>>();
                numbers.map(|numbers| &mut numbers.0)
            }
            Place::Host(_) => None,
        }
    }

    /// The numbers, row-major; none where there is nothing yet.
    pub fn to_host(&self) -> Vec<E> {
        match &self.0 {
            Place::Host(values) => values.clone(),
            Place::Device(numbers) => numbers.to_host(),
        }
    }

    /// Gives a parameter of the same shape these numbers.
    pub fn give<D: Backend<E>>(&self, tensor: &mut Matrix<E, D>) -> Result<()> {
        if let (Place::Device(numbers), Some(device)) = (&self.0, D::on_device()) {
            if let Some(OnItsDevice(values)) = numbers.as_any().downcast_ref::<OnItsDevice<E, D>>()
            {
                return device.assign(tensor, values);
            }
        }
        D::overwrite(tensor, &self.to_host())
    }

    /// The numbers on the host, zeros at first.
    pub(super) fn on_host(&mut self, length: usize) -> &mut [E] {
        if let Place::Device(numbers) = &self.0 {
            self.0 = Place::Host(numbers.to_host());
        }
        match &mut self.0 {
            Place::Host(values) => {
                values.resize(length, E::zero());
                values
            }
            Place::Device(_) => &mut [],
        }
    }

    /// The numbers on the device of a parameter, zeros at first.
    pub(super) fn on_device<D: Backend<E>>(
        &mut self,
        like: &Matrix<E, D>,
    ) -> Result<&mut Matrix<E, D>> {
        let is_there =
            matches!(&self.0, Place::Device(numbers) if numbers.as_any().is::<OnItsDevice<E, D>>());
        if !is_there {
            let (rows, columns) = *like.shape();
            let mut values = self.to_host();
            let matrix = match values.is_empty() {
                true => (like.device().try_zeros_like(like.shape())).map_err(Error::device)?,
                false => {
                    values.resize(rows * columns, E::zero());
                    from_host(like.device(), values, (rows, columns))?
                }
            };
            *self = Self::on_its_device(matrix);
        }
        let missing = || Error::Missing {
            what: "the numbers of a device".to_owned(),
            remedy: "report this",
        };
        self.matrix_mut().ok_or_else(missing)
    }
}
