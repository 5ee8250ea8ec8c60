//! What operations on single numbers have in common.

use equilibria_core::simd::{run, Simd, WithSimd};
use equilibria_core::{At, Element, Gradients, Neighbor, Reads, RowOperation, Scratch};

/// `y = g(x)`, number by number.
pub trait Pointwise<E: Element>: Copy + Send + Sync {
    /// What [`derivative`](Self::derivative) and [`second`](Self::second) read; instead of what they do not, they are given any
    /// number.
    const READS: Reads;

    /// See [`RowOperation::neighbor`]. Default: nothing of the kind.
    const NEIGHBOR: Option<Neighbor> = None;

    /// g(x).
    fn value(self, x: E) -> E;

    /// g′(x), with y = g(x).
    fn derivative(self, x: E, y: E) -> E;

    /// g″(x), with y = g(x); 0 where g is piecewise linear.
    fn second(self, x: E, y: E) -> E;
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

/// A pointwise operation on rows.
pub struct PointwiseRows<P>(pub P);

impl<E: Element, P: Pointwise<E>> RowOperation<E> for PointwiseRows<P> {
    fn reads(&self) -> Reads {
        P::READS
    }

    fn neighbor(&self) -> Option<Neighbor> {
        P::NEIGHBOR
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        each(y, [x[0], x[0], x[0]], |x, _, _| self.0.value(x));
    }

    fn jvp(&self, at: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let [Some(x_dot)] = x_dot {
            let [x, y] = point::<E, P>(at, x_dot);
            each(y_dot, [x, y, x_dot], |x, y, x_dot| {
                self.0.derivative(x, y) * x_dot
            });
        }
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        if let [Some(x_bar)] = x_bar {
            let [x, y] = point::<E, P>(at, y_bar);
            each(x_bar, [x, y, y_bar], |x, y, y_bar| {
                self.0.derivative(x, y) * y_bar
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
        each(x_bar, [x, y, product], |x, y, product| {
            self.0.second(x, y) * product
        });
        true
    }
}

/// x and y, or as many other numbers in place of what is not read.
fn point<'a, E: Element, P: Pointwise<E>>(at: &At<'a, E>, other: &'a [E]) -> [&'a [E]; 2] {
    let x = if P::READS.arguments { at.x[0] } else { other };
    let y = if P::READS.result { at.y } else { other };
    [x, y]
}

/// `out = f(a, b, c)`, number by number, in the widest registers there are.
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

/// Makes an [`Operation`](equilibria_core::Operation) of a pointwise function.
macro_rules! pointwise {
    ($operation:ident, $name:literal, |$this:ident, $x:ident| $tensors:expr, |$of:ident| $rows:expr) => {
        impl<E: equilibria_core::Scalar, D: equilibria_core::Backend<E>>
            equilibria_core::Operation<E, D> for $operation
        {
            const NAME: &'static str = $name;

            fn width(&self, arguments: &[usize]) -> equilibria_core::Result<usize> {
                equilibria_core::operations::same_width($name, arguments)
            }

            fn on_tensors<T: equilibria_core::AnyTape<E, D>>(
                &self,
                arguments: Vec<equilibria_core::Matrix<E, D, T>>,
            ) -> equilibria_core::Result<equilibria_core::Matrix<E, D, T>> {
                let ($this, [$x]) = (self, equilibria_core::operations::arguments(arguments)?);
                $tensors
            }

            fn on_rows(
                &self,
                _widths: &[usize],
            ) -> std::sync::Arc<dyn equilibria_core::RowOperation<E>> {
                let $of = self;
                std::sync::Arc::new($crate::operations::pointwise::PointwiseRows($rows))
            }
        }
    };
}

pub(crate) use pointwise;
