//! `+`, `-`, `*`, `/` and unary `-` on tokens, by reference or not, and with numbers.

use std::ops::{Add, Div, Mul, Neg, Sub};

use equilibria_core::operations::{Divide, Multiply, Reciprocal, Scale, Sum, NEGATIVE};
use equilibria_core::{Backend, Scalar};

use super::Tokens;
use crate::operations::Vocabulary;

macro_rules! operator {
    ($trait:ident, $method:ident, $operation:expr) => {
        impl<E: Scalar, D: Backend<E>> $trait<&Tokens<E, D>> for &Tokens<E, D> {
            type Output = Tokens<E, D>;

            fn $method(self, other: &Tokens<E, D>) -> Tokens<E, D> {
                Tokens::of(&$operation, &[self, other])
            }
        }

        impl<E: Scalar, D: Backend<E>> $trait<Tokens<E, D>> for &Tokens<E, D> {
            type Output = Tokens<E, D>;

            fn $method(self, other: Tokens<E, D>) -> Tokens<E, D> {
                self.$method(&other)
            }
        }

        impl<E: Scalar, D: Backend<E>> $trait<&Tokens<E, D>> for Tokens<E, D> {
            type Output = Tokens<E, D>;

            fn $method(self, other: &Tokens<E, D>) -> Tokens<E, D> {
                (&self).$method(other)
            }
        }

        impl<E: Scalar, D: Backend<E>> $trait for Tokens<E, D> {
            type Output = Tokens<E, D>;

            fn $method(self, other: Tokens<E, D>) -> Tokens<E, D> {
                (&self).$method(&other)
            }
        }
    };
}

operator!(Add, add, Sum { factor: 1.0 });
operator!(Sub, sub, Sum { factor: -1.0 });
operator!(Mul, mul, Multiply);
operator!(Div, div, Divide);

macro_rules! with_number {
    ($trait:ident, $method:ident, |$number:ident| $factor:expr, $offset:expr) => {
        impl<E: Scalar, D: Backend<E>> $trait<f64> for &Tokens<E, D> {
            type Output = Tokens<E, D>;

            fn $method(self, $number: f64) -> Tokens<E, D> {
                let (factor, offset) = ($factor, $offset);
                Tokens::of(&Scale { factor, offset }, &[self])
            }
        }

        impl<E: Scalar, D: Backend<E>> $trait<f64> for Tokens<E, D> {
            type Output = Tokens<E, D>;

            fn $method(self, number: f64) -> Tokens<E, D> {
                (&self).$method(number)
            }
        }
    };
}

with_number!(Add, add, |number| 1.0, number);
with_number!(Sub, sub, |number| 1.0, -number);
with_number!(Mul, mul, |number| number, 0.0);
with_number!(Div, div, |number| number.recip(), 0.0);

macro_rules! number_first {
    ($trait:ident, $method:ident, |$number:ident| $operation:expr) => {
        impl<E: Scalar, D: Backend<E>> $trait<&Tokens<E, D>> for f64 {
            type Output = Tokens<E, D>;

            fn $method(self, tokens: &Tokens<E, D>) -> Tokens<E, D> {
                let $number = self;
                Tokens::of(&$operation, &[tokens])
            }
        }

        impl<E: Scalar, D: Backend<E>> $trait<Tokens<E, D>> for f64 {
            type Output = Tokens<E, D>;

            fn $method(self, tokens: Tokens<E, D>) -> Tokens<E, D> {
                self.$method(&tokens)
            }
        }
    };
}

number_first!(Add, add, |offset| Scale {
    factor: 1.0,
    offset
});
number_first!(Sub, sub, |offset| Scale {
    factor: -1.0,
    offset
});
number_first!(Mul, mul, |factor| Scale {
    factor,
    offset: 0.0
});
number_first!(Div, div, |of| Reciprocal { of });

impl<E: Scalar, D: Backend<E>> Neg for &Tokens<E, D> {
    type Output = Tokens<E, D>;

    fn neg(self) -> Tokens<E, D> {
        Tokens::of(&NEGATIVE, &[self])
    }
}

impl<E: Scalar, D: Backend<E>> Neg for Tokens<E, D> {
    type Output = Tokens<E, D>;

    fn neg(self) -> Tokens<E, D> {
        -&self
    }
}
