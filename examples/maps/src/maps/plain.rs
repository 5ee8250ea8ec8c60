//! Two of the maps in plain dfdx operations.

use dfdx::prelude::*;
use equilibria::operations::arguments;
use equilibria::prelude::*;

use super::{Residual, Tanh, GROUPS};

/// The same map as a layer's step, in dfdx code.
#[derive(Clone)]
pub struct Plain<L>(pub L);

parameters!(Plain<L>.0);

/// Some map in dfdx code.
pub trait Plainly<E: Scalar, D: Backend<E>>: ImplicitLayer<E, D> + Clone {
    /// What does it.
    type Code: TensorCode;

    /// What does it.
    fn code(&self) -> Self::Code;
}

impl<E: Scalar, D: Backend<E>, L: Plainly<E, D>> ImplicitLayer<E, D> for Plain<L> {
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        self.0.input_dims()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let named = self.0.named();
        let parameters: Vec<&Matrix<E, D>> = named.iter().map(|(_, each)| each).collect();
        let code = Tensors::new(self.0.code(), &parameters);
        Ok(Value::of(&code, &[z, &x[0]]))
    }
}

/// `tanh(W z + b + U x)`.
#[derive(Clone)]
pub struct TanhCode;

impl<E: Scalar, D: Backend<E>> Plainly<E, D> for Tanh<E, D> {
    type Code = TanhCode;

    fn code(&self) -> TanhCode {
        TanhCode
    }
}

impl TensorCode for TanhCode {
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        parameters: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>> {
        let ([z, x], [w, b, u]) = (arguments(x)?, arguments(parameters.to_vec())?);
        Ok((affine(z, &w, &b) + product(x, &u)).tanh())
    }
}

/// The residual block.
#[derive(Clone)]
pub struct ResidualCode;

impl<E: Scalar, D: Backend<E>> Plainly<E, D> for Residual<E, D> {
    type Code = ResidualCode;

    fn code(&self) -> ResidualCode {
        ResidualCode
    }
}

impl TensorCode for ResidualCode {
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        parameters: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>> {
        let [z, x] = arguments(x)?;
        let [hat_w, hat_b, tilde_w, tilde_b, w1, b1, w2, b2, w3, b3] =
            arguments(parameters.to_vec())?;
        let skip = z.with_empty_tape();
        let hat = normalize(affine(z, &hat_w, &hat_b), &w1, &b1).relu();
        let tilde = normalize(affine(hat, &tilde_w, &tilde_b) + x, &w2, &b2);
        Ok(normalize((tilde + skip).relu(), &w3, &b3))
    }
}

fn product<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    w: &Matrix<E, D>,
) -> Matrix<E, D, T> {
    x.matmul(w.retaped::<T>().permute::<_, Axes2<1, 0>>())
}

fn row<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    vector: &Matrix<E, D>,
    rows: usize,
) -> Matrix<E, D, T> {
    let width = vector.shape().1;
    let vector = vector.retaped::<T>().reshape_like(&(width,));
    vector.broadcast_like::<_, Axis<0>>(&(rows, width))
}

fn affine<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    w: &Matrix<E, D>,
    b: &Matrix<E, D>,
) -> Matrix<E, D, T> {
    let rows = x.shape().0;
    product(x, w) + row::<E, D, T>(b, rows)
}

fn normalize<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    x: Matrix<E, D, T>,
    w: &Matrix<E, D>,
    b: &Matrix<E, D>,
) -> Matrix<E, D, T> {
    let shape = *x.shape();
    let grouped = x.reshape_like(&(shape.0, GROUPS, shape.1 / GROUPS));
    let normal = grouped.normalize::<Axis<2>>(1e-5).reshape_like(&shape);
    normal * row::<E, D, T>(w, shape.0) + row::<E, D, T>(b, shape.0)
}
