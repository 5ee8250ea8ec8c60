//! dfdx code as an operation: on slices, on all threads, it is what it is in tensors.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_layers::core::operations::arguments;
use equilibria_layers::core::{apply, Equilibrium};
use equilibria_layers::modules::Linear;
use equilibria_layers::prelude::*;
use equilibria_layers::solvers::{backward::implicit::Implicit, solver};
use equilibria_testing::{check_equilibrium, check_row_map, random_matrix};

const WIDTH: usize = 6;

/// `(x V) ⊙ (x Vᵀ)`: the same parameter twice.
#[derive(Clone)]
struct TwoProducts;

impl TensorCode for TwoProducts {
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        parameters: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>> {
        let ([x], [v, again]) = (arguments(x)?, arguments(parameters.to_vec())?);
        let copy = x.with_empty_tape();
        let transposed = again.retaped::<T>().permute::<_, Axes2<1, 0>>();
        Ok(x.matmul(v.retaped::<T>()) * copy.matmul(transposed))
    }
}

/// `tanh(W z + b + x) + 0.1 (z V) ⊙ (z Vᵀ)`, with dfdx code in the midst of the vocabulary.
#[derive(Clone)]
struct Mixed<E: Scalar, D: Backend<E>> {
    w: Linear<E, D>,
    v: Matrix<E, D>,
}

parameters!(Mixed { w, v });

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Mixed<E, D> {
    fn state_dim(&self) -> usize {
        WIDTH
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![WIDTH]
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let code = Tensors::new(TwoProducts, &[&self.v, &self.v]);
        let products = Value::of(&code, &[z]);
        Ok((self.w.of(z) + &x[0]).tanh() + products * 0.1)
    }
}

fn mixed(device: &Cpu) -> Mixed<f64, Cpu> {
    let init = &mut Initializer::new(device, 1);
    Mixed {
        w: Linear::normal(WIDTH, WIDTH, 0.2, init).expect("memory"),
        v: init.normal((WIDTH, WIDTH), 0.3).expect("memory"),
    }
}

#[test]
fn rows_give_what_tensors_give() {
    let device = Cpu::default();
    let z = random_matrix(&device, (7, WIDTH), 2).expect("memory");
    let x = [random_matrix(&device, (7, WIDTH), 3).expect("memory")];
    let error = check_row_map(&mixed(&device), &z, &x).expect("it runs");
    let error = error.expect("a program");
    assert!(error < 1e-12, "{error:e}");
}

#[test]
fn gradients_of_its_equilibrium_are_right() {
    let device = Cpu::default();
    let stop = Stop::at(Tolerance::relative(1e-12));
    let backward = Implicit {
        stop: stop.clone(),
        ..Implicit::default()
    };
    let anderson = solver("anderson").expect("it is there");
    let mut model = Equilibrium::new(mixed(&device), anderson, Arc::new(backward) as Arc<_>);
    model.stop = stop;
    let x = random_matrix(&device, (5, WIDTH), 4).expect("memory");
    let error = check_equilibrium(&model, &[x], 1e-4).expect("it converges");
    assert!(error < 1e-7, "{error:e}");
}

/// Code whose result is too wide.
#[derive(Clone)]
struct TooWide;

impl TensorCode for TooWide {
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        _: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let copy = x.with_empty_tape();
        Ok((x, copy).concat_along(Axis::<1>))
    }
}

#[derive(Clone)]
struct Wrong;

parameters!(Wrong);

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Wrong {
    fn state_dim(&self) -> usize {
        WIDTH
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![WIDTH]
    }

    fn step(&self, z: &Value<E, D>, _: &[Value<E, D>]) -> Result<Value<E, D>> {
        Ok(Value::of(&Tensors::new(TooWide, &[]), &[z]))
    }
}

#[test]
fn what_the_code_gets_wrong_is_an_error_that_says_it() {
    let device = Cpu::default();
    let x: [Matrix<f64, Cpu>; 1] = [random_matrix(&device, (3, WIDTH), 5).expect("memory")];
    let expected = "the result of an operation in dfdx code";
    let error = apply(&Wrong, x[0].clone(), &x).expect_err("too wide");
    assert!(error.to_string().contains(expected), "{error}");
    let model = Equilibrium::new(
        Wrong,
        solver("picard").expect("it is there"),
        Arc::new(Implicit::default()) as Arc<_>,
    );
    let error = model.forward(&x, NoneTape).err().expect("too wide");
    assert!(error.to_string().contains(expected), "{error}");
}
