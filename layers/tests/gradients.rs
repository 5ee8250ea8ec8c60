//! Gradients through equilibria, against central differences and against theory, in f64.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::{to_host, AnyLayer, Equilibrium, StepOnly};
use equilibria_layers::core::parameters;
use equilibria_layers::solvers::backward::implicit::Implicit;
use equilibria_layers::solvers::backward::jacobian_free::JacobianFree;
use equilibria_layers::solvers::forward::anderson::Anderson;
use equilibria_layers::solvers::regularizers::jacobian::Jacobian;
use equilibria_layers::Vocabulary;
use equilibria_layers::{Initializer, LayerConfig, LayerRequest, Layers};
use equilibria_testing::{
    central_difference, check_equilibrium, perturb, random_matrix, relative_difference,
};

const WIDTH: usize = 6;
const BATCH: usize = 3;

/// Solves are good to 1e-13, so differences over `STEP` are good to some 1e-13 / 2e-5 = 5e-9 (times ‖(I − J)⁻¹‖, a few),
/// and truncated at STEP² = 4e-10 times a third derivative: `ALLOWED` has room for both.
const STEP: f64 = 2e-5;
const ALLOWED: f64 = 1e-7;

fn tight() -> Stop {
    Stop {
        max_evaluations: 400,
        on_unconverged: OnUnconverged::Error,
        ..Stop::at(Tolerance::relative(1e-13))
    }
}

fn matrix(seed: u64) -> Matrix<f64, Cpu> {
    random_matrix(&Cpu::default(), (BATCH, WIDTH), seed).expect("memory")
}

fn layer(config: Value, deviation: f64) -> AnyLayer<f64, Cpu> {
    let device = Cpu::default();
    let config = registry::make::<dyn LayerConfig>(&config).expect("it parses");
    let request = LayerRequest {
        state: WIDTH,
        inputs: &[WIDTH],
        init: &mut Initializer::new(&device, 1),
    };
    let mut layer = <Cpu as Backend<f64>>::build::<Layers>(&*config, request).expect("it builds");
    perturb(&mut layer, deviation, 2).expect("memory");
    layer
}

fn affine_tanh() -> AnyLayer<f64, Cpu> {
    layer(json!({ "type": "affine-tanh" }), 0.05)
}

/// Two groups of three: one or two features would be normalized to constants.
fn residual_block(skip: bool) -> AnyLayer<f64, Cpu> {
    let config = json!({ "type": "residual-block", "groups": 2, "deviation": 0.2, "skip": skip });
    layer(config, 0.05)
}

fn exact<L>(layer: L) -> Equilibrium<L> {
    let solver: Arc<dyn FixedPointSolver> = Arc::new(Anderson::default());
    let backward: Arc<dyn BackwardStrategy> = Arc::new(Implicit {
        stop: tight(),
        ..Implicit::default()
    });
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.stop = tight();
    equilibrium
}

/// f(z; x) = tanh(z W + x) / 2: `step` alone, as a user would write it.
#[derive(Clone)]
struct Half<E: Scalar, D: Backend<E>> {
    w: Matrix<E, D>,
}

parameters!(Half { w });

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Half<E, D> {
    fn state_dim(&self) -> usize {
        self.w.shape().0
    }

    fn step(
        &self,
        z: &equilibria_core::Value<E, D>,
        x: &[equilibria_core::Value<E, D>],
    ) -> Result<equilibria_core::Value<E, D>> {
        Ok((z.product_transposed(&self.w) + &x[0]).tanh() * 0.5)
    }
}

fn half() -> Half<f64, Cpu> {
    let w = random_matrix(&Cpu::default(), (WIDTH, WIDTH), 9).expect("memory");
    Half { w: w * 0.5 }
}

fn assert_exact<L: ImplicitLayer<f64, Cpu>>(layer: L, what: &str) {
    let error = check_equilibrium(&exact(layer), &[matrix(5)], STEP).expect("solvable");
    assert!(error < ALLOWED, "{what}: {error:e}");
}

#[test]
fn implicit_gradients_of_registered_layers_are_exact() {
    assert_exact(affine_tanh(), "affine-tanh, kernel");
    assert_exact(StepOnly(affine_tanh()), "affine-tanh, step");
    for skip in [false, true] {
        assert_exact(residual_block(skip), "residual-block, kernel");
        assert_exact(StepOnly(residual_block(skip)), "residual-block, step");
    }
}

#[test]
fn a_layer_of_ones_own_needs_only_a_step() {
    assert_exact(half(), "half");
}

/// A model of two equilibria, the second fed by the first.
#[derive(Clone)]
struct Chain {
    all: Vec<Equilibrium<AnyLayer<f64, Cpu>>>,
}

impl Parameters<f64, Cpu> for Chain {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {
        self.all.visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {
        self.all.visit_mut(path, visitor);
    }
}

#[test]
fn equilibria_compose_on_one_tape() {
    let all = vec![exact(affine_tanh()), exact(AnyLayer::new(half()))];
    let error = central_difference(&Chain { all }, &[matrix(5)], STEP, |chain, x| {
        let first = chain.all[0].forward(x, OwnedTape::default())?.z;
        let (input, tape) = (first * 3.0).split_tape();
        let second = chain.all[1].forward(std::slice::from_ref(&input), tape)?.z;
        // The first state reaches the loss on two ways.
        Ok((second * matrix(6) + input).sum())
    });
    assert!(error.expect("solvable") < ALLOWED);
}

/// All gradients of ⟨c, z⟩, parameters first.
fn gradients<L: ImplicitLayer<f64, Cpu>>(
    layer: &L,
    x: &Matrix<f64, Cpu>,
    z: Matrix<f64, Cpu, OwnedTape<f64, Cpu>>,
) -> Vec<Vec<f64>> {
    let mut gradients = (z * matrix(6)).sum::<Rank0, _>().backward();
    let parameters = layer.named().into_iter().map(|(_, tensor)| tensor);
    parameters
        .chain([x.clone()])
        .map(|tensor| {
            gradients.try_alloc_for(&tensor).expect("memory");
            to_host(&gradients.get(&tensor))
        })
        .collect()
}

#[test]
fn jacobian_free_is_the_gradient_of_one_step() {
    let layer = residual_block(false);
    let x = matrix(5);
    let mut fast = exact(layer.clone());
    fast.backward = Arc::new(JacobianFree::default());
    let mut plain = exact(StepOnly(layer.clone()));
    plain.backward = fast.backward.clone();
    for kernel in [true, false] {
        let input = [x.clone()];
        let solved = match kernel {
            true => fast
                .forward(&input, OwnedTape::default())
                .expect("solvable"),
            false => plain
                .forward(&input, OwnedTape::default())
                .expect("solvable"),
        };
        let (z, tape) = solved.z.split_tape();
        let one_step = equilibria_core::apply(&layer, z.leaky_trace(), &input).expect("a value");
        let expected = gradients(&layer, &x, one_step);
        for (got, expected) in gradients(&layer, &x, z.put_tape(tape))
            .iter()
            .zip(&expected)
        {
            // The same operations on the same numbers; a kernel only sums in another order.
            let allowed = if kernel { 1e-12 } else { 0.0 };
            assert!(
                relative_difference(got, expected) <= allowed,
                "kernel: {kernel}"
            );
        }
        assert_eq!(
            solved.adjoint.take().expect("no failure"),
            Some(Report::default())
        );
    }
}

#[test]
fn the_gradient_of_the_jacobian_penalty_is_exact() {
    let z = matrix(7);
    for (layer, what) in [
        (affine_tanh(), "affine-tanh"),
        (residual_block(true), "residual-block"),
    ] {
        let mut equilibrium = exact(layer);
        let jacobian = Jacobian {
            weight: 0.7,
            probes: 2,
            step: 1e-5,
            ..Jacobian::default()
        };
        equilibrium.regularizers.push(Arc::new(jacobian));
        // The penalty is exact; the difference inside its gradient is wrong by h² = 1e-10 and ε / h = 2e-11.
        let error = central_difference(&equilibrium, &[matrix(5)], STEP, |equilibrium, x| {
            let penalty = equilibrium.penalty(&z, x, OwnedTape::default(), 13)?;
            Ok((penalty * 2.0).sum())
        });
        assert!(error.expect("a value") < ALLOWED, "{what}");
    }
}

#[test]
fn an_unconverged_forward_solve_can_be_an_error() {
    let mut equilibrium = exact(affine_tanh());
    equilibrium.stop.max_evaluations = 2;
    let error = equilibrium
        .forward(&[matrix(5)], NoneTape)
        .err()
        .expect("refused");
    let forward = matches!(
        error,
        Error::Unconverged {
            solve: "forward",
            unconverged: BATCH,
            ..
        }
    );
    assert!(forward, "{error}");
}

#[test]
fn an_unconverged_adjoint_solve_cannot_go_unnoticed() {
    let (layer, x) = (affine_tanh(), matrix(5));
    let mut equilibrium = exact(layer.clone());
    let mut implicit = Implicit {
        stop: tight(),
        ..Implicit::default()
    };
    implicit.stop.max_evaluations = 2;
    equilibrium.backward = Arc::new(implicit.clone());
    let solved = equilibrium
        .forward(std::slice::from_ref(&x), OwnedTape::default())
        .expect("solvable");
    assert!(solved.adjoint.take().expect("nothing yet").is_none());
    let all = gradients(&layer, &x, solved.z);
    assert!(
        all.iter().flatten().all(|gradient| gradient.is_nan()),
        "{all:?}"
    );
    let error = solved.adjoint.take().expect_err("unsolved");
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

    implicit.stop.on_unconverged = OnUnconverged::Accept;
    equilibrium.backward = Arc::new(implicit);
    let solved = equilibrium
        .forward(std::slice::from_ref(&x), OwnedTape::default())
        .expect("solvable");
    let all = gradients(&layer, &x, solved.z);
    assert!(
        all.iter().flatten().all(|gradient| gradient.is_finite()),
        "{all:?}"
    );
    let report = solved
        .adjoint
        .take()
        .expect("accepted")
        .expect("the tape has run");
    assert_eq!(report.count(Status::MaxEvaluations), BATCH);
}
