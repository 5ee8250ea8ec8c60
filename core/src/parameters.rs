//! Named parameters: how optimizers, checkpoints and gradients reach the weights of a layer.

use dfdx::prelude::HasShape;

use crate::{Backend, Error, Matrix, Result, Scalar};

/// Something with trainable parameters, each a matrix with a name such as `theta.1.hat.weight`.
///
/// Both methods must visit the same parameters in the same order. [`parameters!`](crate::parameters!) writes them from a
/// list of fields.
pub trait Parameters<E: Scalar, D: Backend<E>> {
    /// Shows every parameter; `path` is the name of `self`, empty at the top.
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>));

    /// Hands out every parameter for change. A parameter that is replaced must keep its shape.
    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>));

    /// Names and tensors. Cheap: dfdx tensors share their storage, and keep the identity gradients are found by.
    fn named(&self) -> Vec<(String, Matrix<E, D>)> {
        let mut all = Vec::new();
        self.visit("", &mut |name, tensor| {
            all.push((name.to_owned(), tensor.clone()))
        });
        all
    }

    /// Gives every parameter new values, row-major, in the order of [`named`](Self::named).
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many values as each parameter has; those before it are new then.
    fn assign(&mut self, values: Vec<Vec<E>>) -> Result<()> {
        let (mut values, mut outcome) = (values.into_iter(), Ok(()));
        self.visit_mut("", &mut |name, tensor| {
            let shape @ (rows, columns) = *tensor.shape();
            let new = values.next().unwrap_or_default();
            if outcome.is_ok() {
                outcome = match new.len() == rows * columns {
                    true => D::overwrite(tensor, &new),
                    false => Err(Error::Shape {
                        what: format!("the new values of `{name}`"),
                        expected: format!("{shape:?}, row-major"),
                        got: format!("{} values", new.len()),
                    }),
                };
            }
        });
        outcome
    }
}

/// A parameter is the smallest thing that has one.
impl<E: Scalar, D: Backend<E>> Parameters<E, D> for Matrix<E, D> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        visitor(path, self);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        visitor(path, self);
    }
}

/// Elements are numbered from 1, as in the papers.
impl<E: Scalar, D: Backend<E>, P: Parameters<E, D>> Parameters<E, D> for Vec<P> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        for (index, part) in self.iter().enumerate() {
            part.visit(&join(path, &(index + 1).to_string()), visitor);
        }
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        for (index, part) in self.iter_mut().enumerate() {
            part.visit_mut(&join(path, &(index + 1).to_string()), visitor);
        }
    }
}

impl<E: Scalar, D: Backend<E>, P: Parameters<E, D>> Parameters<E, D> for Option<P> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        if let Some(part) = self {
            part.visit(path, visitor);
        }
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        if let Some(part) = self {
            part.visit_mut(path, visitor);
        }
    }
}

/// As what is in the box.
impl<E: Scalar, D: Backend<E>, P: Parameters<E, D> + ?Sized> Parameters<E, D> for Box<P> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        (**self).visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        (**self).visit_mut(path, visitor);
    }
}

/// The name of a part: `path.part`, or `part` alone at the top.
pub fn join(path: &str, part: &str) -> String {
    match path {
        "" => part.to_owned(),
        path => [path, ".", part].concat(),
    }
}

/// Implements [`Parameters`] for a struct generic over dtype and device by visiting the named fields in turn.
///
/// `parameters!(Linear { weight, bias });`
///
/// A struct that wraps something with parameters and has none of its own passes them on under their names:
///
/// `parameters!(Masked<L>.0);`
#[macro_export]
macro_rules! parameters {
    ($name:ident<$inner:ident>.$field:tt) => {
        impl<E: $crate::Scalar, D: $crate::Backend<E>, $inner: $crate::Parameters<E, D>>
            $crate::Parameters<E, D> for $name<$inner>
        {
            fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &$crate::Matrix<E, D>)) {
                $crate::Parameters::visit(&self.$field, path, visitor);
            }

            fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut $crate::Matrix<E, D>)) {
                $crate::Parameters::visit_mut(&mut self.$field, path, visitor);
            }
        }
    };
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl<E: $crate::Scalar, D: $crate::Backend<E>> $crate::Parameters<E, D> for $name<E, D> {
            fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &$crate::Matrix<E, D>)) {
                $($crate::Parameters::visit(
                    &self.$field,
                    &$crate::parameters::join(path, stringify!($field)),
                    visitor,
                );)*
            }

            fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut $crate::Matrix<E, D>)) {
                $($crate::Parameters::visit_mut(
                    &mut self.$field,
                    &$crate::parameters::join(path, stringify!($field)),
                    visitor,
                );)*
            }
        }
    };
}
