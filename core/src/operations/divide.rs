//! Quotients of entries.

use std::sync::Arc;

use crate::operation::{At, Gradients, Reads, RowOperation, Scratch};
use crate::{vectorized, AnyTape, Backend, DeviceCode, Element, Matrix, Operation, Result, Scalar};

/// `y = x₁ / x₂`, entry by entry.
pub struct Divide;

impl<E: Scalar, D: Backend<E>> Operation<E, D> for Divide {
    const NAME: &'static str = "/";

    fn on_tensors<T: AnyTape<E, D>>(
        &self,
        arguments: Vec<Matrix<E, D, T>>,
    ) -> Result<Matrix<E, D, T>> {
        let [first, second] = super::arguments(arguments)?;
        Ok(first / second)
    }

    fn device_code(&self) -> Option<DeviceCode> {
        Some(DeviceCode::Divide)
    }

    fn on_rows(&self, _widths: &[usize]) -> Arc<dyn RowOperation<E>> {
        Arc::new(Self)
    }
}

impl<E: Element> RowOperation<E> for Divide {
    fn reads(&self) -> Reads {
        super::BOTH
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        divide(x[0], x[1], y);
    }

    fn jvp(&self, at: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        match x_dot {
            [Some(first), None] => divide(first, at.x[1], y_dot),
            [first, Some(second)] => {
                match first {
                    Some(first) => y_dot.copy_from_slice(first),
                    None => y_dot.fill(E::zero()),
                }
                subtract_product_and_divide(at.y, second, at.x[1], y_dot);
            }
            _ => y_dot.fill(E::zero()),
        }
    }

    fn vjp(&self, at: &At<'_, E>, y_bar: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        let [first, second] = x_bar else { return };
        if let Some(first) = first {
            divide(y_bar, at.x[1], first);
        }
        if let Some(second) = second {
            second.fill(E::zero());
            subtract_product_and_divide(at.y, y_bar, at.x[1], second);
        }
    }

    /// `⟨p, ẏ⟩ = Σ q (ẋ₁ − y ẋ₂)` with q = p / x₂.
    fn bend(
        &self,
        at: &At<'_, E>,
        p: &[E],
        x_dot: &[Option<&[E]>],
        x_bar: &mut [Option<&mut [E]>],
        _: &mut Gradients<'_, E>,
        _: &mut Scratch<E>,
    ) -> bool {
        let ([first_bar, second_bar], [first_dot, second_dot]) = (x_bar, x_dot) else {
            return false;
        };
        if let Some(first_bar) = first_bar {
            match second_dot {
                Some(second_dot) => bend_first(p, at.x[1], second_dot, first_bar),
                None => first_bar.fill(E::zero()),
            }
        }
        if let Some(second_bar) = second_bar {
            second_bar.fill(E::zero());
            if let Some(first_dot) = first_dot {
                add_bend_second(p, at.x[1], first_dot, -E::one(), second_bar);
            }
            if let Some(second_dot) = second_dot {
                add_twice_bent(p, (at.x[1], at.y), second_dot, second_bar);
            }
        }
        true
    }
}

vectorized! {
    /// `y = a / b`.
    fn divide<'a, E, S>(_simd: S, a: &'a [E], b: &'a [E], y: &'a mut [E]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a / b;
        }
    }

    /// `out ← (out − a b) / c`.
    fn subtract_product_and_divide<'a, E, S>(_simd: S, a: &'a [E], b: &'a [E], c: &'a [E], out: &'a mut [E]) {
        for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
            *out = (*out - a * b) / c;
        }
    }

    /// `x̄₁ = −p ẋ₂ / x₂²`.
    fn bend_first<'a, E, S>(_simd: S, p: &'a [E], x: &'a [E], x_dot: &'a [E], bar: &'a mut [E]) {
        for (((bar, &p), &x), &x_dot) in bar.iter_mut().zip(p).zip(x).zip(x_dot) {
            *bar = -(p / x) * (x_dot / x);
        }
    }

    /// `x̄₂ ← x̄₂ + c p ẋ₁ / x₂²`.
    fn add_bend_second<'a, E, S>(_simd: S, p: &'a [E], x: &'a [E], x_dot: &'a [E], c: E, bar: &'a mut [E]) {
        for (((bar, &p), &x), &x_dot) in bar.iter_mut().zip(p).zip(x).zip(x_dot) {
            *bar += c * (p / x) * (x_dot / x);
        }
    }

    /// `x̄₂ ← x̄₂ + 2 p y ẋ₂ / x₂²`.
    fn add_twice_bent<'a, E, S>(_simd: S, p: &'a [E], at: (&'a [E], &'a [E]), x_dot: &'a [E], bar: &'a mut [E]) {
        let (x, y) = at;
        for ((((bar, &p), &x), &y), &x_dot) in bar.iter_mut().zip(p).zip(x).zip(y).zip(x_dot) {
            let bent = (p / x) * (x_dot / x) * y;
            *bar += bent + bent;
        }
    }
}
