//! Functions of single numbers.

use std::sync::Arc;

use dfdx::prelude::*;

use crate::operation::{At, Gradients, Neighbor, Neighbors, Reads, RowOperation, Scratch};
use crate::simd::{run, Simd, WithSimd};
use crate::{
    from_host, recorded, to_host, try_contiguous, AnyTape, Backend, DeviceCode, Element, Formulas,
    Matrix, OnDevice, Operation, Result, Scalar,
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

    /// The function in CUDA C++, for devices that have kernels of their own. Default: layers with it run in dfdx operations there, and
    /// the function as [`on_tensor`](Self::on_tensor) has it.
    fn formulas(&self) -> Option<Formulas> {
        None
    }

    /// The function in dfdx operations, where no kernel is made of its [`formulas`](Self::formulas). Default: on the host, with
    /// [`value`](Self::value) and [`derivative`](Self::derivative), also of numbers that are on another device.
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
        match (D::on_device(), self.formulas()) {
            (Some(device), Some(formulas)) => in_kernels(device, formulas, x),
            _ => self.on_tensor(x),
        }
    }

    fn device_code(&self) -> Option<DeviceCode> {
        self.formulas().map(DeviceCode::Pointwise)
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(PointwiseRows::<_, false>(*self))
    }
}

/// Where the numbers are, by kernels.
fn in_kernels<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    device: &'static dyn OnDevice<E, D>,
    formulas: Formulas,
    x: Matrix<E, D, T>,
) -> Result<Matrix<E, D, T>> {
    let (x, mut tape) = try_contiguous(x)?.split_tape();
    let y = device.pointwise(&formulas, &x)?;
    if T::OWNS_TAPE {
        let result = y.clone();
        tape.add_backward_op(move |gradients| {
            gradients.try_alloc_for(&x)?;
            gradients.try_alloc_for(&result)?;
            // It cannot fail: there is memory, and the forward pass has compiled the kernel.
            let _ = device.pointwise_back(&formulas, gradients, &x, &result);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

fn on_host<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    function: impl Pointwise,
    x: Matrix<E, D, T>,
) -> Result<Matrix<E, D, T>> {
    let (x, tape) = try_contiguous(x)?.split_tape();
    let argument = to_host(&x);
    let mut result = vec![E::zero(); argument.len()];
    each(&mut result, [&argument; 4], move |[x, ..]| {
        function.value(x)
    });
    let y = from_host(x.device(), result.clone(), *x.shape())?;
    Ok(recorded(y, tape, move |gradients, y_bar| {
        let mut delta = vec![E::zero(); y_bar.len()];
        let points = [&argument[..], &result[..], y_bar, y_bar];
        each(&mut delta, points, move |[x, y, y_bar, _]| {
            function.derivative(x, y) * y_bar
        });
        D::put_gradient(gradients, &x, delta)
    }))
}

/// A pointwise operation on rows: `y = g(x₁)`, or `y = g(x₁ + x₂)` where something constant is `ADDED`.
pub struct PointwiseRows<P, const ADDED: bool>(pub P);

impl<P: Pointwise, const ADDED: bool> PointwiseRows<P, ADDED> {
    /// The argument of g.
    #[inline(always)]
    fn argument<E: Element>(first: E, second: E) -> E {
        match ADDED {
            true => first + second,
            false => first,
        }
    }

    /// x₁, x₂ and y, or as many other numbers in place of what is not read.
    fn point<'a, E: Element>(at: &At<'a, E>, other: &'a [E]) -> [&'a [E]; 3] {
        let x = if P::READS.arguments { at.x } else { &[] };
        let y = if P::READS.result { at.y } else { other };
        let [first, second] = [x.first(), x.get(1)].map(|x| x.copied().unwrap_or(other));
        [first, second, y]
    }

    /// `out = g′ ⊙ v`.
    fn times_derivative<E: Element>(&self, at: &At<'_, E>, v: &[E], out: &mut [E]) {
        let ([first, second, y], function) = (Self::point(at, v), self.0);
        each(out, [first, second, y, v], move |[first, second, y, v]| {
            function.derivative(Self::argument(first, second), y) * v
        });
    }
}

impl<E: Element, P: Pointwise, const ADDED: bool> RowOperation<E> for PointwiseRows<P, ADDED> {
    fn reads(&self) -> Reads {
        P::READS
    }

    fn neighbor(&self) -> Option<Neighbor> {
        P::NEIGHBOR.filter(|_| !ADDED)
    }

    fn taking_along(&self, neighbors: Neighbors) -> Option<Arc<dyn RowOperation<E>>> {
        let added = Neighbors {
            added: true,
            ..Neighbors::default()
        };
        let takes = !ADDED && neighbors == added;
        takes.then(|| Arc::new(PointwiseRows::<P, true>(self.0)) as _)
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        let function = self.0;
        let second = if ADDED { x[1] } else { x[0] };
        each(y, [x[0], second, x[0], x[0]], move |[first, second, ..]| {
            function.value(Self::argument(first, second))
        });
    }

    fn jvp(&self, at: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot), ..] = x_dot {
            self.times_derivative(at, x_dot, y_dot);
        }
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        let mut wanted = x_bar.iter_mut().flatten();
        if let Some(first) = wanted.next() {
            self.times_derivative(at, y_bar, first);
            wanted.for_each(|other| other.copy_from_slice(first));
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
        let mut wanted = x_bar.iter_mut().flatten();
        let ([Some(x_dot), ..], Some(first_bar)) = (x_dot, wanted.next()) else {
            return false;
        };
        let [product] = scratch.parts(p.len());
        each(product, [p, x_dot, p, p], |[p, x_dot, ..]| p * x_dot);
        let ([first, second, y], function) = (Self::point(at, p), self.0);
        let points = [first, second, y, &*product];
        each(first_bar, points, move |[first, second, y, product]| {
            function.second(Self::argument(first, second), y) * product
        });
        wanted.for_each(|other| other.copy_from_slice(first_bar));
        true
    }
}

/// `out = f([a, b, c, d])`, number by number, in the widest registers there are. f has its own copy of what it reads: behind a reference
/// the compiler could not tell it from what is written.
fn each<E: Element>(out: &mut [E], arguments: [&[E]; 4], f: impl Fn([E; 4]) -> E) {
    run(Each { out, arguments, f });
}

struct Each<'a, E, F> {
    out: &'a mut [E],
    arguments: [&'a [E]; 4],
    f: F,
}

impl<E: Element, F: Fn([E; 4]) -> E> WithSimd for Each<'_, E, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (count, f) = (self.out.len(), self.f);
        let [a, b, c, d] = self.arguments.map(|argument| &argument[..count]);
        for (index, out) in self.out.iter_mut().enumerate() {
            *out = f([a[index], b[index], c[index], d[index]]);
        }
    }
}
