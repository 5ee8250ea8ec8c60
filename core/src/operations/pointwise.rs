//! Functions of single numbers.

use std::sync::Arc;

use dfdx::prelude::*;

use crate::operation::{At, Gradients, Neighbor, Reads, RowOperation, Scratch};
use crate::simd::{run, Simd, WithSimd};
use crate::{
    from_host, recorded, to_host, AnyTape, Backend, Element, Error, Matrix, Operation, Result,
    Scalar,
};

/// An [`Operation`] `y = g(x)`, number by number.
///
/// A value and two derivatives are enough; they are inlined into loops that run in the widest registers there are, if they are marked
/// `#[inline(always)]` and have no branches but choices between two numbers.
///
/// ```
/// use equilibria_core::operations::{Pointwise, ARGUMENT};
/// use equilibria_core::{Element, Reads};
///
/// /// `y = x³`.
/// #[derive(Clone, Copy)]
/// struct Cube;
///
/// impl Pointwise for Cube {
///     const NAME: &'static str = "cube";
///     const READS: Reads = ARGUMENT;
///
///     #[inline(always)]
///     fn value<E: Element>(&self, x: E) -> E {
///         x * x * x
///     }
///
///     #[inline(always)]
///     fn derivative<E: Element>(&self, x: E, _y: E) -> E {
///         E::of(3.0) * x * x
///     }
///
///     #[inline(always)]
///     fn second<E: Element>(&self, x: E, _y: E) -> E {
///         E::of(6.0) * x
///     }
/// }
/// ```
pub trait Pointwise: Copy + Send + Sync + 'static {
    /// What it is called in messages.
    const NAME: &'static str;

    /// What [`derivative`](Self::derivative) and [`second`](Self::second) read: [`ARGUMENT`], [`RESULT`] or [`BOTH`]. Instead of
    /// what they do not, they are given any number.
    const READS: Reads;

    /// See [`RowOperation::neighbor`]. Default: nothing of the kind.
    const NEIGHBOR: Option<Neighbor> = None;

    /// g(x).
    fn value<E: Element>(&self, x: E) -> E;

    /// g′(x), with y = g(x). Where g has a kink it is that of one side.
    fn derivative<E: Element>(&self, x: E, y: E) -> E;

    /// g″(x), with y = g(x); 0 where g is piecewise linear.
    fn second<E: Element>(&self, x: E, y: E) -> E;

    /// The function in dfdx operations. Default: on the host, with [`value`](Self::value) and [`derivative`](Self::derivative), also
    /// of numbers that are on another device; there, dfdx operations save two copies.
    fn on_tensor<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Matrix<E, D, T>,
    ) -> Result<Matrix<E, D, T>> {
        on_host(*self, x)
    }
}

/// [`Pointwise::READS`] of derivatives in terms of x.
pub const ARGUMENT: Reads = Reads {
    arguments: true,
    result: false,
};

/// [`Pointwise::READS`] of derivatives in terms of y.
pub const RESULT: Reads = Reads {
    arguments: false,
    result: true,
};

/// [`Pointwise::READS`] of derivatives in terms of x and y.
pub const BOTH: Reads = Reads {
    arguments: true,
    result: true,
};

impl<E: Scalar, D: Backend<E>, P: Pointwise> Operation<E, D> for P {
    const NAME: &'static str = P::NAME;

    fn on_tensors<T: AnyTape<E, D>>(&self, x: Vec<Matrix<E, D, T>>) -> Result<Matrix<E, D, T>> {
        let [x] = super::arguments(x)?;
        self.on_tensor(x)
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(PointwiseRows(*self))
    }
}

fn on_host<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    function: impl Pointwise,
    x: Matrix<E, D, T>,
) -> Result<Matrix<E, D, T>> {
    let (x, tape) = x.try_contiguous().map_err(Error::device)?.split_tape();
    let argument = to_host(&x);
    let mut result = vec![E::zero(); argument.len()];
    each(&mut result, [&argument; 3], |x, _, _| function.value(x));
    let y = from_host(x.device(), result.clone(), *x.shape())?;
    Ok(recorded(y, tape, move |gradients, y_bar| {
        let mut delta = vec![E::zero(); y_bar.len()];
        each(&mut delta, [&argument, &result, y_bar], |x, y, y_bar| {
            function.derivative(x, y) * y_bar
        });
        D::put_gradient(gradients, &x, delta)
    }))
}

/// A pointwise operation on rows.
pub struct PointwiseRows<P>(pub P);

impl<E: Element, P: Pointwise> RowOperation<E> for PointwiseRows<P> {
    fn reads(&self) -> Reads {
        P::READS
    }

    fn neighbor(&self) -> Option<Neighbor> {
        P::NEIGHBOR
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        let function = self.0;
        each(y, [x[0], x[0], x[0]], move |x, _, _| function.value(x));
    }

    fn jvp(&self, at: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            let [x, y] = point::<E, P>(at, x_dot);
            let function = self.0;
            each(y_dot, [x, y, x_dot], move |x, y, x_dot| {
                function.derivative(x, y) * x_dot
            });
        }
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            let [x, y] = point::<E, P>(at, y_bar);
            let function = self.0;
            each(x_bar, [x, y, y_bar], move |x, y, y_bar| {
                function.derivative(x, y) * y_bar
            });
        }
    }

    fn bend(
        &self,
        at: &At<'_, E>,
        p: &[E],
        x_dot: &[Option<&[E]>],
        x_bar: &mut [Option<&mut [E]>],
        _: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) -> bool {
        let ([Some(x_dot)], [Some(x_bar)]) = (x_dot, x_bar) else {
            return false;
        };
        let [product] = scratch.parts(p.len());
        each(product, [p, x_dot, p], |p, x_dot, _| p * x_dot);
        let [x, y] = point::<E, P>(at, p);
        let function = self.0;
        each(x_bar, [x, y, product], move |x, y, product| {
            function.second(x, y) * product
        });
        true
    }
}

/// x and y, or as many other numbers in place of what is not read.
fn point<'a, E: Element, P: Pointwise>(at: &At<'a, E>, other: &'a [E]) -> [&'a [E]; 2] {
    let x = if P::READS.arguments { at.x[0] } else { other };
    let y = if P::READS.result { at.y } else { other };
    [x, y]
}

/// `out = f(a, b, c)`, number by number, in the widest registers there are. f has its own copy of what it reads: behind a reference the
/// compiler could not tell it from what is written.
fn each<E: Element>(out: &mut [E], arguments: [&[E]; 3], f: impl Fn(E, E, E) -> E) {
    run(Each { out, arguments, f });
}

struct Each<'a, E, F> {
    out: &'a mut [E],
    arguments: [&'a [E]; 3],
    f: F,
}

impl<E: Element, F: Fn(E, E, E) -> E> WithSimd for Each<'_, E, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [a, b, c] = self.arguments;
        let (count, f) = (self.out.len(), self.f);
        let (a, b, c) = (&a[..count], &b[..count], &c[..count]);
        for (index, out) in self.out.iter_mut().enumerate() {
            *out = f(a[index], b[index], c[index]);
        }
    }
}
