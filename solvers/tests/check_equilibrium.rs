//! What `check_equilibrium` passes, and what it refuses to judge.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::operations::{arguments, TensorCode, Tensors};
use equilibria_core::prelude::*;
use equilibria_core::Equilibrium;
use equilibria_solvers::backward::implicit::Implicit;
use equilibria_solvers::forward::anderson::Anderson;
use equilibria_testing::{check_equilibrium, random_matrix, AffineMap};

const DIM: usize = 3;
const BATCH: usize = 4;

/// Solves are good to 1e-13, so that differences over 1e-4 are good to 1e-9, and truncated at some 1e-8.
const STEP: f64 = 1e-4;
const ALLOWED: f64 = 1e-7;

fn matrix(shape: (usize, usize), seed: u64) -> Matrix<f64, Cpu> {
    random_matrix(&Cpu::default(), shape, seed).expect("memory")
}

fn x() -> [Matrix<f64, Cpu>; 1] {
    [matrix((BATCH, DIM), 2)]
}

fn exact<L>(layer: L) -> Equilibrium<L> {
    let stop = Stop {
        max_evaluations: 400,
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::relative(1e-13))
    };
    let solver: Arc<dyn FixedPointSolver> = Arc::new(Anderson::default());
    let backward: Arc<dyn BackwardStrategy> = Arc::new(Implicit {
        stop: stop.clone(),
        ..Implicit::default()
    });
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.stop = stop;
    equilibrium
}

/// f(z; x) = x ⊙ tanh(z W² + b): with b = 0, z* = 0 and no gradient reaches W.
#[derive(Clone)]
struct Gate<E: Scalar, D: Backend<E>> {
    w: Matrix<E, D>,
    b: Matrix<E, D>,
    /// Whether the square is on the tape.
    taped: bool,
}

parameters!(Gate { w, b });

/// `x ⊙ tanh(z W² + b)`.
#[derive(Clone)]
struct GateStep {
    taped: bool,
}

impl TensorCode for GateStep {
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        parameters: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>> {
        let ([z, x], [w, b]) = (arguments(x)?, arguments(parameters.to_vec())?);
        let shape = *z.shape();
        let square = match self.taped {
            true => w.retaped::<T>().square(),
            false => w.square().put_tape(T::default()),
        };
        let b = b.retaped::<T>().reshape_like(&(shape.1,));
        let sum = z.matmul(square) + b.broadcast_like::<_, Axis<0>>(&shape);
        Ok(sum.tanh() * x)
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Gate<E, D> {
    fn state_dim(&self) -> usize {
        self.w.shape().0
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let step = GateStep { taped: self.taped };
        Ok(Value::of(
            &Tensors::new(step, &[&self.w, &self.b]),
            &[z, &x[0]],
        ))
    }
}

fn gate(taped: bool) -> Gate<f64, Cpu> {
    Gate {
        w: matrix((DIM, DIM), 1) * 0.3,
        b: Cpu::default().zeros_like(&(1, DIM)),
        taped,
    }
}

#[test]
fn a_parameter_off_the_tape_is_seen_behind_a_bias_of_zero() {
    let error = check_equilibrium(&exact(gate(true)), &x(), STEP).expect("sound");
    assert!(error < ALLOWED, "{error:e}");
    let error = check_equilibrium(&exact(gate(false)), &x(), STEP).expect_err("wrong");
    assert!(matches!(&error, Error::ZeroGradient { parameters } if parameters == &["w"]));
    let message = error.to_string();
    assert!(message.contains("nothing was checked of w") && message.contains("retaped"));
}

/// f(z; x) = z W + x + 0 · idle.
#[derive(Clone)]
struct Idle<E: Scalar, D: Backend<E>> {
    map: AffineMap<E, D>,
    idle: Matrix<E, D>,
}

parameters!(Idle { map, idle });

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Idle<E, D> {
    fn state_dim(&self) -> usize {
        self.map.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        self.map.input_dims()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        self.map.step(z, x)
    }
}

fn affine(eigenvalues: [f64; DIM]) -> AffineMap<f64, Cpu> {
    AffineMap::new(&Cpu::default(), &eigenvalues, 1).expect("a map")
}

#[test]
fn parameters_without_a_gradient_are_named() {
    let layer = Idle {
        map: affine([0.5, -0.3, 0.1]),
        idle: matrix((1, 2), 5),
    };
    let error = check_equilibrium(&exact(layer), &x(), STEP).expect_err("nothing to check");
    assert!(
        matches!(&error, Error::ZeroGradient { parameters } if parameters == &["idle"]),
        "{error}"
    );
}

#[test]
fn what_is_not_solved_is_not_judged() {
    // Plain iteration would grow by 1.5 in each step; Anderson finds the fixed point of a linear map all the same.
    let mut diverging = exact(affine([1.5, -0.3, 0.1]));
    diverging.solver = Arc::new(equilibria_solvers::forward::picard::Picard::default());
    let error = check_equilibrium(&diverging, &x(), STEP).expect_err("it diverges");
    assert!(
        matches!(
            error,
            Error::Unconverged {
                solve: "forward",
                unconverged: BATCH,
                ..
            }
        ),
        "{error}"
    );
    let mut short = exact(affine([0.5, -0.3, 0.1]));
    short.backward = Arc::new(Implicit {
        stop: Stop {
            max_evaluations: 1,
            on_unconverged: OnUnconverged::Accept,
            ..Stop::at(Tolerance::relative(1e-13))
        },
        ..Implicit::default()
    });
    let error = check_equilibrium(&short, &x(), STEP).expect_err("one step is not enough");
    assert!(
        matches!(
            error,
            Error::Unconverged {
                solve: "adjoint",
                ..
            }
        ),
        "{error}"
    );
}

/// f(z; x) = z A + x, less the mean of a column over the batch: of z or of x.
#[derive(Clone)]
struct BatchMean<E: Scalar, D: Backend<E>> {
    map: AffineMap<E, D>,
    of_inputs: bool,
}

parameters!(BatchMean { map });

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for BatchMean<E, D> {
    fn state_dim(&self) -> usize {
        self.map.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        self.map.input_dims()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        let coupled = if self.of_inputs { &x[0] } else { z };
        Ok(self.map.step(z, x)? - Value::of(&Tensors::new(Mean, &[]), &[coupled]))
    }
}

/// The mean of all rows, in every row.
#[derive(Clone)]
struct Mean;

impl TensorCode for Mean {
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        _: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>> {
        let [x] = arguments(x)?;
        let shape = *x.shape();
        let mean = x.mean::<(usize,), Axis<0>>();
        Ok(mean.broadcast_like::<_, Axis<0>>(&shape))
    }
}

#[test]
fn a_step_that_couples_rows_is_told_which() {
    for of_inputs in [false, true] {
        let map = affine([0.2, -0.3, 0.1]);
        let layer = BatchMean { map, of_inputs };
        let error = check_equilibrium(&exact(layer.clone()), &x(), STEP).expect_err("coupled");
        assert!(
            matches!(error, Error::DependentRows { row: 2, other: 1 }),
            "{error}"
        );
        assert!(error
            .to_string()
            .starts_with("row 2 of `step` changes with row 1"));
        // Two rows are the least that can depend on each other.
        let two = [matrix((2, DIM), 2)];
        assert!(check_equilibrium(&exact(layer), &two, STEP).is_err());
    }
}

#[test]
fn a_strategy_that_solves_nothing_is_judged_by_its_gradients() {
    let mut free = exact(affine([0.5, -0.3, 0.1]));
    free.backward = Arc::new(equilibria_solvers::backward::jacobian_free::JacobianFree::default());
    let error = check_equilibrium(&free, &x(), STEP).expect("solvable");
    assert!(error > 0.1, "{error:e}");
}
