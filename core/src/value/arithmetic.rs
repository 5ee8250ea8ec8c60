//! `+`, `-`, `*`, `/` and unary `-` on values, by reference or not, and with numbers.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::Value;
use crate::operations::{Divide, Multiply, Reciprocal, Scale, Sum};
use crate::{Backend, Scalar};

macro_rules! operator {
    ($trait:ident, $method:ident, $operation:expr) => {
        impl<E: Scalar, D: Backend<E>> $trait<&Value<E, D>> for &Value<E, D> {
            type Output = Value<E, D>;

            fn $method(self, other: &Value<E, D>) -> Value<E, D> {
                Value::of(&$operation, &[self, other])
            }
        }

        impl<E: Scalar, D: Backend<E>> $trait<Value<E, D>> for &Value<E, D> {
            type Output = Value<E, D>;

            fn $method(self, other: Value<E, D>) -> Value<E, D> {
                self.$method(&other)
            }
        }

        impl<E: Scalar, D: Backend<E>> $trait<&Value<E, D>> for Value<E, D> {
            type Output = Value<E, D>;

            fn $method(self, other: &Value<E, D>) -> Value<E, D> {
                (&self).$method(other)
            }
        }

        impl<E: Scalar, D: Backend<E>> $trait for Value<E, D> {
            type Output = Value<E, D>;

            fn $method(self, other: Value<E, D>) -> Value<E, D> {
                (&self).$method(&other)
            }
        }
    };
}

operator!(Add, add, Sum { factor: 1.0 });
operator!(Sub, sub, Sum { factor: -1.0 });
operator!(Mul, mul, Multiply);
operator!(Div, div, Divide);

impl<E: Scalar, D: Backend<E>> Mul<f64> for &Value<E, D> {
    type Output = Value<E, D>;

    fn mul(self, factor: f64) -> Value<E, D> {
        Value::of(
            &Scale {
                factor,
                offset: 0.0,
            },
            &[self],
        )
    }
}

impl<E: Scalar, D: Backend<E>> Mul<f64> for Value<E, D> {
    type Output = Value<E, D>;

    fn mul(self, factor: f64) -> Value<E, D> {
        &self * factor
    }
}

impl<E: Scalar, D: Backend<E>> Div<f64> for &Value<E, D> {
    type Output = Value<E, D>;

    fn div(self, divisor: f64) -> Value<E, D> {
        let factor = divisor.recip();
        Value::of(
            &Scale {
                factor,
                offset: 0.0,
            },
            &[self],
        )
    }
}

impl<E: Scalar, D: Backend<E>> Div<f64> for Value<E, D> {
    type Output = Value<E, D>;

    fn div(self, divisor: f64) -> Value<E, D> {
        &self / divisor
    }
}

impl<E: Scalar, D: Backend<E>> Add<f64> for &Value<E, D> {
    type Output = Value<E, D>;

    fn add(self, offset: f64) -> Value<E, D> {
        Value::of(
            &Scale {
                factor: 1.0,
                offset,
            },
            &[self],
        )
    }
}

impl<E: Scalar, D: Backend<E>> Add<f64> for Value<E, D> {
    type Output = Value<E, D>;

    fn add(self, offset: f64) -> Value<E, D> {
        &self + offset
    }
}

impl<E: Scalar, D: Backend<E>> Sub<f64> for &Value<E, D> {
    type Output = Value<E, D>;

    fn sub(self, offset: f64) -> Value<E, D> {
        self + -offset
    }
}

impl<E: Scalar, D: Backend<E>> Sub<f64> for Value<E, D> {
    type Output = Value<E, D>;

    fn sub(self, offset: f64) -> Value<E, D> {
        &self + -offset
    }
}

macro_rules! number_first {
    ($trait:ident, $method:ident, |$number:ident, $value:ident| $result:expr) => {
        impl<E: Scalar, D: Backend<E>> $trait<&Value<E, D>> for f64 {
            type Output = Value<E, D>;

            fn $method(self, $value: &Value<E, D>) -> Value<E, D> {
                let $number = self;
                $result
            }
        }

        impl<E: Scalar, D: Backend<E>> $trait<Value<E, D>> for f64 {
            type Output = Value<E, D>;

            fn $method(self, value: Value<E, D>) -> Value<E, D> {
                self.$method(&value)
            }
        }
    };
}

number_first!(Add, add, |number, value| value + number);
number_first!(Sub, sub, |number, value| Value::of(
    &Scale {
        factor: -1.0,
        offset: number
    },
    &[value]
));
number_first!(Mul, mul, |number, value| value * number);
number_first!(Div, div, |number, value| Value::of(
    &Reciprocal { of: number },
    &[value]
));

impl<E: Scalar, D: Backend<E>> Neg for &Value<E, D> {
    type Output = Value<E, D>;

    fn neg(self) -> Value<E, D> {
        self * -1.0
    }
}

impl<E: Scalar, D: Backend<E>> Neg for Value<E, D> {
    type Output = Value<E, D>;

    fn neg(self) -> Value<E, D> {
        &self * -1.0
    }
}
