//! Operations: the words that the equation of a layer is written in.

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::device_code::DeviceCode;
use crate::operations::same_width;
use crate::program::{Working, MOST_ARGUMENTS};
use crate::simd::add_scaled;
use crate::{AnyTape, Backend, Element, Matrix, ParameterGradient, Result, Scalar};

/// A differentiable operation on rows of numbers, one word of the vocabulary of [`Value`](crate::Value).
///
/// Row s of the result depends on row s of the arguments alone. An operation says what it is twice: in dfdx tensors, for any
/// device, and on slices, for the CPU. A layer names neither.
pub trait Operation<E: Scalar, D: Backend<E>> {
    /// What it is called in messages.
    const NAME: &'static str;

    /// Width of the result, for arguments of these widths. Default: that of the arguments, which all have the same.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for widths that do not fit.
    fn width(&self, arguments: &[usize]) -> Result<usize> {
        same_width(Self::NAME, arguments)
    }

    /// The operation in dfdx tensors, on a tape or not.
    fn on_tensors<T: AnyTape<E, D>>(
        &self,
        arguments: Vec<Matrix<E, D, T>>,
    ) -> Result<Matrix<E, D, T>>;

    /// The operation on slices, for arguments of these widths.
    fn on_rows(&self, widths: &[usize]) -> Arc<dyn RowOperation<E>>;

    /// What it is to a device with kernels of its own, with its parameters in the order of [`parameters`](Self::parameters). Default:
    /// it has no kernel there, and layers with it run in dfdx operations.
    fn device_code(&self) -> Option<DeviceCode> {
        None
    }

    /// Parameters that take part. Default: none.
    fn parameters(&self) -> Vec<Matrix<E, D>> {
        Vec::new()
    }
}

/// An [`Operation`] y = g(x₁, x₂, …; θ) on slices. All matrices are row-major, with as many rows as the caller likes.
pub trait RowOperation<E: Element>: Send + Sync {
    /// What would be wrong in every call, found before the first one: calls themselves cannot fail. Default: nothing.
    ///
    /// # Errors
    /// Those of the operation.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// What derivatives read. Default: nothing, as for linear operations without parameters.
    fn reads(&self) -> Reads {
        Reads::default()
    }

    /// Numbers per row of each matrix that [`apply`](Self::apply) leaves for derivatives. Default: none.
    fn record(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Whether x̄_i is ȳ itself, so that nothing need be computed. Default: it is not.
    fn passes(&self, _argument: usize) -> bool {
        false
    }

    /// What the operation is, if one beside it may take it along. Default: nothing of the kind.
    fn neighbor(&self) -> Option<Neighbor> {
        None
    }

    /// The operation together with some beside it, which is quicker than one after the other. Default: it takes none along.
    fn taking_along(&self, _neighbors: Neighbors) -> Option<Arc<dyn RowOperation<E>>> {
        None
    }

    /// The operation for an argument that is constant during a solve, if something can be prepared of it once. Default: nothing is.
    fn prepared(&self, _argument: usize) -> Option<Prepared<E>> {
        None
    }

    /// Whether the result counts as a constant in gradients, so that no cotangent is asked of it. Default: it does not.
    fn is_constant_in_gradients(&self) -> bool {
        false
    }

    /// Whether rows share so large a parameter that it pays to handle many of them together, as those of a matrix product do.
    /// Default: they do not, and a few rows are handled together with the operations before and after.
    fn shares_parameter(&self) -> bool {
        false
    }

    /// Equal parts of a row, such as tokens, on each of which it works as if it were a row. Default: the row itself.
    fn parts(&self) -> usize {
        1
    }

    /// Whether [`jvp`](Self::jvp) and [`bend`](Self::bend) are there. Default: they are.
    fn has_tangents(&self) -> bool {
        true
    }

    /// The same operation with products of factors rounded to bf16, where that is faster. What a row gives must not depend on
    /// others. Default: there is none.
    fn rounded(&self) -> Option<&dyn RowOperation<E>> {
        None
    }

    /// y = g(x). `record` has the matrices of [`record`](Self::record), or none where no derivative will be asked for.
    fn apply(&self, x: &[&[E]], y: &mut [E], record: &mut [&mut [E]], scratch: &mut Scratch<E>);

    /// ẏ = Σ_i (∂g/∂x_i) ẋ_i; where a tangent is missing it is 0, and one at least is there.
    fn jvp(
        &self,
        at: &At<'_, E>,
        x_dot: &[Option<&[E]>],
        y_dot: &mut [E],
        scratch: &mut Scratch<E>,
    );

    /// x̄_i = (∂g/∂x_i)ᵀ ȳ for those that are wanted.
    fn vjp(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        scratch: &mut Scratch<E>,
    );

    /// Adds (∂g/∂θ)ᵀ ȳ to the gradients of the parameters that have one. Only [`back`](Self::back) calls it. Default: there are no
    /// parameters.
    fn pull_back(
        &self,
        _at: &At<'_, E>,
        _y_bar: &[E],
        _gradients: &mut Gradients<'_, E>,
        _scratch: &mut Scratch<E>,
    ) {
    }

    /// [`pull_back`](Self::pull_back) and [`vjp`](Self::vjp) together. Default: one after the other.
    fn back(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        gradients: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) {
        self.pull_back(at, y_bar, gradients, scratch);
        self.vjp(at, y_bar, x_bar, scratch);
    }

    /// [`back`](Self::back) of ȳ with [`bend`](Self::bend) added, and in `p_bar` [`vjp`](Self::vjp) of p. Default: one after the
    /// other.
    fn back_with_tangent(
        &self,
        at: &At<'_, E>,
        [y_bar, p]: [&[E]; 2],
        x_dot: &[Option<&[E]>],
        [x_bar, p_bar]: [&mut [Option<&mut [E]>]; 2],
        gradients: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) {
        self.back(at, y_bar, x_bar, gradients, scratch);
        let mut bent = std::mem::take(&mut scratch.bent);
        bent.resize_with(x_bar.len().max(bent.len()), Vec::new);
        {
            let places = bent.iter_mut().zip(&*x_bar).map(|(bent, x_bar)| {
                let len = x_bar.as_ref()?.len();
                bent.resize(len.max(bent.len()), E::zero());
                Some(&mut bent[..len])
            });
            let mut places: ArrayVec<_, MOST_ARGUMENTS> = places.collect();
            if self.bend(at, p, x_dot, &mut places, gradients, scratch) {
                for (x_bar, place) in x_bar.iter_mut().zip(places) {
                    if let (Some(x_bar), Some(place)) = (x_bar, place) {
                        add_scaled(x_bar, E::one(), place);
                    }
                }
            }
        }
        scratch.bent = bent;
        self.vjp(at, p, p_bar, scratch);
    }

    /// The derivatives of ⟨p, ẏ⟩, with p and ẋ held constant: x̄_i, written where it is wanted, and those of θ, added to the
    /// gradients. Returns whether x̄ is not 0; where it is, nothing need be written. Default: g is linear and has no parameters.
    fn bend(
        &self,
        _at: &At<'_, E>,
        _p: &[E],
        _x_dot: &[Option<&[E]>],
        _x_bar: &mut [Option<&mut [E]>],
        _gradients: &mut Gradients<'_, E>,
        _scratch: &mut Scratch<E>,
    ) -> bool {
        false
    }
}

/// An operation for an argument that is constant during a solve.
pub struct Prepared<E> {
    /// What is made of the argument, once per solve; [constant in gradients](RowOperation::is_constant_in_gradients).
    pub preparation: Arc<dyn RowOperation<E>>,
    /// Numbers per row of that.
    pub width: usize,
    /// The operation, which is given them as one argument more, behind the others.
    pub operation: Arc<dyn RowOperation<E>>,
}

/// Operations that others may [take along](RowOperation::taking_along).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbor {
    /// `x₁ + x₂`.
    Sum,
    /// `x + b` with a parameter b; without an argument, b in every row.
    Shift,
    /// `max(x, 0)`.
    Rectifier,
}

/// What an operation is to take along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Neighbors {
    /// Before all else, the second argument is added to the first. It is constant during a solve: it has no tangent.
    pub added: bool,
    /// After that, the argument is rectified.
    pub rectified: bool,
    /// The result is rectified.
    pub result_rectified: bool,
}

/// What derivatives of an operation read beside its record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reads {
    /// Its arguments.
    pub arguments: bool,
    /// Its result.
    pub result: bool,
}

/// The point at which an operation is differentiated. What it does not [read](RowOperation::reads) may be empty.
pub struct At<'a, E> {
    /// Arguments.
    pub x: &'a [&'a [E]],
    /// Result.
    pub y: &'a [E],
    /// What [`RowOperation::apply`] has recorded.
    pub record: &'a [&'a [E]],
}

/// The gradients of an operation's parameters.
pub struct Gradients<'a, E> {
    /// Those of all parameters of the layer.
    pub(crate) all: &'a mut [ParameterGradient<E>],
    /// Which of them belongs to each parameter of the operation.
    pub(crate) own: &'a [Option<usize>],
}

impl<E> Gradients<'_, E> {
    /// That of the operation's parameter `index`; `None` for what is no parameter of the layer.
    pub fn of(&mut self, index: usize) -> Option<&mut ParameterGradient<E>> {
        let place = self.own.get(index).copied().flatten()?;
        self.all.get_mut(place)
    }
}

impl<E: Element> Gradients<'_, E> {
    /// The sums of the operation's two parameters; `None` unless both are parameters of the layer, and not the same.
    pub fn two(&mut self) -> Option<[&mut [E]; 2]> {
        let &[Some(first), Some(second)] = self.own else {
            return None;
        };
        let both = self.all.get_disjoint_mut([first, second]).ok()?;
        Some(both.map(ParameterGradient::sum))
    }
}

/// Memory that maps and operations work in, of any content. It grows to what was wanted most.
#[derive(Debug, Default)]
pub struct Scratch<E> {
    /// Numbers.
    pub numbers: Vec<E>,
    /// Packed factors of rounded products.
    pub rounded: Vec<u32>,
    /// What [`RowOperation::bend`] writes, by argument.
    bent: Vec<Vec<E>>,
    /// Values, tangents and cotangents of a program that is running.
    pub(crate) working: Working<E>,
}

impl<E: Element> Scratch<E> {
    /// `N` matrices of `len` numbers.
    pub fn parts<const N: usize>(&mut self, len: usize) -> [&mut [E]; N] {
        if self.numbers.len() < N * len {
            self.numbers.resize(N * len, E::zero());
        }
        let mut rest = &mut self.numbers[..];
        std::array::from_fn(|_| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(len);
            rest = others;
            part
        })
    }
}
