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

    /// Shows the names of those that no optimizer changes, since the forward pass itself does: running statistics, PyTorch's buffers.
    /// Default: there are none.
    fn visit_statistics(&self, _path: &str, _visitor: &mut dyn FnMut(&str)) {}

    /// Moves parameters into the set that keeps the equation well posed, e.g. rows of a matrix into a ball: called after every step of
    /// an optimizer, and no gradient passes through it. Default: every value is allowed.
    ///
    /// # Errors
    /// [`Error::Device`] if memory runs out.
    fn project(&mut self) -> Result<()> {
        Ok(())
    }

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

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        for (index, part) in self.iter().enumerate() {
            part.visit_statistics(&join(path, &(index + 1).to_string()), visitor);
        }
    }

    fn project(&mut self) -> Result<()> {
        self.iter_mut().try_for_each(P::project)
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

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        if let Some(part) = self {
            part.visit_statistics(path, visitor);
        }
    }

    fn project(&mut self) -> Result<()> {
        self.iter_mut().try_for_each(P::project)
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

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        (**self).visit_statistics(path, visitor);
    }

    fn project(&mut self) -> Result<()> {
        (**self).project()
    }
}

/// The same parameters under other names, e.g. those of the original code: what reads a checkpoint by names reads one of that code.
#[derive(Debug, Clone)]
pub struct Renamed<P> {
    /// The parameters.
    pub inner: P,
    /// Pairs of a name here and another one; a name that is not listed stays as it is.
    pub names: Vec<(String, String)>,
}

impl<P> Renamed<P> {
    /// `inner` under the second name of each pair.
    pub fn new(inner: P, names: Vec<(String, String)>) -> Self {
        Self { inner, names }
    }
}

/// The second name of the pair whose first one is `name`; that name itself if there is none.
fn other<'n>(names: &'n [(String, String)], name: &'n str) -> &'n str {
    let pair = names.iter().find(|(ours, _)| ours == name);
    pair.map_or(name, |(_, other)| other)
}

impl<E: Scalar, D: Backend<E>, P: Parameters<E, D>> Parameters<E, D> for Renamed<P> {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<E, D>)) {
        (self.inner).visit("", &mut |name, tensor| {
            visitor(&join(path, other(&self.names, name)), tensor);
        });
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<E, D>)) {
        let Self { inner, names } = self;
        inner.visit_mut("", &mut |name, tensor| {
            visitor(&join(path, other(names, name)), tensor);
        });
    }

    fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
        (self.inner).visit_statistics("", &mut |name| {
            visitor(&join(path, other(&self.names, name)))
        });
    }

    fn project(&mut self) -> Result<()> {
        self.inner.project()
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
///
/// A struct that [projects](Parameters::project) its own matrices names the method that does:
///
/// `parameters!(Implicit { a, b }, project = restrict_rows);`
///
/// A struct without parameters, generic over neither:
///
/// `parameters!(Identity);`
#[macro_export]
macro_rules! parameters {
    ($name:ident) => {
        impl<E: $crate::Scalar, D: $crate::Backend<E>> $crate::Parameters<E, D> for $name {
            fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &$crate::Matrix<E, D>)) {}

            fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut $crate::Matrix<E, D>)) {}
        }
    };
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

            fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
                <_ as $crate::Parameters<E, D>>::visit_statistics(&self.$field, path, visitor);
            }

            fn project(&mut self) -> $crate::Result<()> {
                <_ as $crate::Parameters<E, D>>::project(&mut self.$field)
            }
        }
    };
    ($name:ident { $($field:ident),* $(,)? } $(, project = $project:ident)?) => {
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

            fn visit_statistics(&self, path: &str, visitor: &mut dyn FnMut(&str)) {
                $(<_ as $crate::Parameters<E, D>>::visit_statistics(
                    &self.$field,
                    &$crate::parameters::join(path, stringify!($field)),
                    visitor,
                );)*
            }

            fn project(&mut self) -> $crate::Result<()> {
                $(<_ as $crate::Parameters<E, D>>::project(&mut self.$field)?;)*
                $(self.$project()?;)?
                Ok(())
            }
        }
    };
}
