//! Each backward strategy against its definition, in f64.

mod knowing;

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, to_host, Equilibrium};
use equilibria_solvers::backward::dense::Dense;
use equilibria_solvers::backward::jacobian_free::JacobianFree;
use equilibria_solvers::backward::neumann::Neumann;
use equilibria_solvers::backward::phantom::Phantom;
use equilibria_solvers::backward::reversible::Reversible;
use equilibria_solvers::backward::shine::Shine;
use equilibria_solvers::backward::unrolled::Unrolled;
use equilibria_solvers::forward::anderson::Anderson;
use equilibria_testing::{relative_difference, AffineMap};
use nalgebra::{DMatrix, DVector};

use knowing::{
    collect, equilibrium, gradients, knowledge, map, matrix, tight, transposed_jacobian, Tanh, DIM,
};

const BATCH: usize = 3;
const NOISE: f64 = 0.04;

/// The u that a strategy pulls back for the cotangent v: the gradient by x of ⟨v, z A + x⟩.
fn pulled_back(strategy: impl BackwardStrategy + 'static, v: &Matrix<f64, Cpu>) -> Vec<f64> {
    let equilibrium = equilibrium(map(NOISE), Arc::new(strategy) as Arc<dyn BackwardStrategy>);
    let x = [matrix((BATCH, DIM), 5)];
    let (mut all, report) = gradients(&equilibrium, &x, v).expect("solvable");
    assert_eq!(report, Report::default(), "nothing is solved");
    all.remove(1)
}

#[test]
fn inexact_strategies_are_their_truncated_series() {
    let v = matrix((BATCH, DIM), 6);
    let a = transposed_jacobian(&map(NOISE));
    let expected = |of: &dyn Fn(DVector<f64>) -> DVector<f64>| -> Vec<f64> {
        let v = to_host(&v);
        let rows = v.chunks_exact(DIM).map(DVector::from_column_slice);
        rows.flat_map(|v| of(v).as_slice().to_vec()).collect()
    };
    let power = |matrix: &DMatrix<f64>, exponent: usize| {
        (0..exponent).fold(DMatrix::identity(DIM, DIM), |power, _| power * matrix)
    };
    let check = |name: &str, got: Vec<f64>, expected: Vec<f64>| {
        // Some 100 operations on numbers of order 1, each rounded to 1e-16.
        let difference = relative_difference(&got, &expected);
        assert!(difference < 1e-13, "{name}: {difference:e}");
    };

    let got = pulled_back(JacobianFree::default(), &v);
    check("jacobian-free", got, to_host(&v));
    for terms in [1, 2, 7] {
        let series = |v: DVector<f64>| (0..terms).map(|k| power(&a, k) * &v).sum();
        let got = pulled_back(Neumann { terms }, &v);
        check("neumann", got, expected(&series));
    }
    for (steps, damping) in [(1, 1.0), (1, 0.3), (4, 1.0), (5, 0.5)] {
        let b = DMatrix::identity(DIM, DIM) * (1.0 - damping) + &a * damping;
        let series = |v: DVector<f64>| (0..steps).map(|k| power(&b, k) * &v * damping).sum();
        let got = pulled_back(Phantom { steps, damping }, &v);
        check("phantom", got, expected(&series));
    }
    let (left, right) = knowledge();
    let (left, right) = (DVector::from(left.to_vec()), DVector::from(right.to_vec()));
    let shine = Shine {
        exact: false,
        ..Shine::default()
    };
    let got = pulled_back(shine, &v);
    check("shine", got, expected(&|v| &v + &right * left.dot(&v)));
}

/// The tape of dfdx differentiates the same steps without any of our code.
#[test]
fn unrolled_and_phantom_are_the_gradient_of_their_steps() {
    let (x, v) = ([matrix((BATCH, DIM), 5)], matrix((BATCH, DIM), 6));
    let layer = Tanh { w: map(NOISE).a };
    for (steps, damping) in [(1, 1.0), (4, 1.0), (3, 0.6)] {
        let strategies: [Arc<dyn BackwardStrategy>; 2] = [
            Arc::new(Unrolled { steps, damping }),
            Arc::new(Phantom { steps, damping }),
        ];
        for (strategy, from_solution) in strategies.into_iter().zip([false, true]) {
            let equilibrium = equilibrium(layer.clone(), strategy);
            let start = matrix((BATCH, DIM), 7);
            let solved = equilibrium
                .forward_from(start.clone(), &x, OwnedTape::default())
                .expect("solvable");
            let (z, tape) = solved.z.split_tape();
            let mut last = if from_solution { z.clone() } else { start }.leaky_trace();
            for _ in 0..steps {
                let (kept, tape) = last.split_tape();
                let value = equilibria_core::apply(&layer, kept.clone().put_tape(tape), &x)
                    .expect("a value");
                let kept = kept.retaped::<OwnedTape<f64, Cpu>>() * (1.0 - damping);
                last = value * damping + kept;
            }
            let expected = collect(&layer, &x, (last * v.clone()).sum());
            let got = collect(&layer, &x, (z.put_tape(tape) * v.clone()).sum());
            for (got, expected) in got.iter().zip(&expected) {
                // The same operations up to their order; roundings as above.
                let difference = relative_difference(got, expected);
                assert!(difference < 1e-13, "{steps} steps: {difference:e}");
            }
        }
    }
}

/// The tape of dfdx keeps all states; going back computes them again.
#[test]
fn reversible_is_the_gradient_of_its_steps() {
    let (x, v) = ([matrix((BATCH, DIM), 5)], matrix((BATCH, DIM), 6));
    let layer = Tanh { w: map(NOISE).a };
    let start = matrix((BATCH, DIM), 7);
    for (steps, damping) in [(1, 0.8), (3, 0.8), (6, 0.5)] {
        let strategy = Reversible {
            steps,
            damping,
            ..Reversible::default()
        };
        let solved = equilibrium(layer.clone(), Arc::new(strategy));
        let solved = solved.forward_from(start.clone(), &x, OwnedTape::default());
        let solved = solved.expect("solvable");
        let got = collect(&layer, &x, (solved.z * v.clone()).sum());
        let report = solved.adjoint.take().expect("recovered").expect("it ran");
        assert_eq!(report.unconverged(), 0);

        let (mut y, mut z) = (start.clone(), start.clone());
        let mut tape = OwnedTape::default();
        let mut mix = |old: &Matrix<f64, Cpu>, at: &Matrix<f64, Cpu>| {
            let value =
                equilibria_core::apply(&layer, at.clone().put_tape(std::mem::take(&mut tape)), &x);
            let kept = old.retaped::<OwnedTape<f64, Cpu>>() * (1.0 - damping);
            let (next, grown) = (value.expect("a value") * damping + kept).split_tape();
            tape = grown;
            next
        };
        for _ in 0..steps {
            y = mix(&y, &z);
            z = mix(&z, &y);
        }
        let expected = collect(&layer, &x, (z.put_tape(tape) * v.clone()).sum());
        for (got, expected) in got.iter().zip(&expected) {
            // Rounding errors grow by (1 − β)⁻² a step: 1e-16 · 25³ or 4⁶.
            let difference = relative_difference(got, expected);
            assert!(difference < 1e-11, "{steps} steps: {difference:e}");
        }
    }
}

/// Where going back loses all digits, there is no gradient but an error.
#[test]
fn reversible_refuses_what_it_cannot_go_back() {
    let (x, v) = ([matrix((BATCH, DIM), 5)], matrix((BATCH, DIM), 6));
    let layer = Tanh { w: map(NOISE).a };
    let refusal = |strategy: Reversible| {
        let equilibrium = equilibrium(layer.clone(), Arc::new(strategy));
        let outcome = gradients(&equilibrium, &x, &v);
        outcome.expect_err("refused").to_string()
    };
    let message = refusal(Reversible {
        steps: 12,
        damping: 0.8,
        ..Reversible::default()
    });
    assert!(message.contains("12, where 11 are the most"), "{message}");
    // 25⁻¹¹ ε leaves some digits of the start at most.
    let message = refusal(Reversible {
        steps: 11,
        damping: 0.8,
        recovery: 1e-9,
        ..Reversible::default()
    });
    assert!(message.contains("adjoint"), "{message}");
}

/// f(z; x₀, x₁) = x₀ ⊙ z + x₁: every sample has a Jacobian of its own, diag x₀.
#[derive(Clone)]
struct Slopes;

impl Parameters<f64, Cpu> for Slopes {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {}

    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {}
}

impl ImplicitLayer<f64, Cpu> for Slopes {
    fn state_dim(&self) -> usize {
        2
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![2, 2]
    }

    fn step(&self, z: &Value<f64, Cpu>, x: &[Value<f64, Cpu>]) -> Result<Value<f64, Cpu>> {
        Ok(z * &x[0] + &x[1])
    }
}

fn dense(layer: Slopes, on_unconverged: OnUnconverged) -> Equilibrium<Slopes> {
    let strategy: Arc<dyn BackwardStrategy> = Arc::new(Dense {
        on_unconverged,
        ..Dense::default()
    });
    let solver: Arc<dyn FixedPointSolver> = Arc::new(Anderson::default());
    Equilibrium::new(layer, solver, strategy)
}

#[test]
fn a_singular_sample_is_reported_and_leaves_the_others_alone() {
    let matrix = |values: [f64; 6]| -> Matrix<f64, Cpu> {
        from_host(&Cpu::default(), values.to_vec(), (3, 2)).expect("memory")
    };
    // Slope 1 with offset 0: every point is a fixed point, none is determined.
    let x = [
        matrix([0.5, -1.0, 1.0, 0.5, 3.0, 0.0]),
        matrix([1.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
    ];
    let v = matrix([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let accepting = dense(Slopes, OnUnconverged::Accept);
    let (all, report) = gradients(&accepting, &x, &v).expect("accepted");
    let statuses: Vec<Status> = report.samples.iter().map(|s| s.status).collect();
    let expected = [Status::Converged, Status::Singular, Status::Converged];
    assert_eq!(statuses, expected);
    // u = v / (1 − slope), and u = v where there is no solution.
    let u = [2.0, 0.5, 1.0, 1.0, -0.5, 1.0];
    assert!(relative_difference(&all[1], &u) < 1e-15, "{all:?}");
    // Jᵀu + v − u = (1, 0.5) of Jᵀu + v = (2, 1.5) for that sample.
    let residuals: Vec<f64> = report.samples.iter().map(|s| s.relative_residual).collect();
    assert!(relative_difference(&residuals, &[0.0, (1.25_f64 / 6.25).sqrt(), 0.0]) < 1e-15);
    let evaluations: Vec<usize> = report.samples.iter().map(|s| s.evaluations).collect();
    assert_eq!(evaluations, [3; 3], "two columns and the residual");

    let error = gradients(&dense(Slopes, OnUnconverged::Error), &x, &v).expect_err("refused");
    let start =
        "adjoint solve: 1 of 3 samples unsolved (sample 2: singular at relative residual 4.47e-1)";
    assert!(error.to_string().starts_with(start), "{error}");
}

#[test]
fn dense_needs_no_contraction_and_refuses_large_states() {
    let device = Cpu::default();
    let map: AffineMap<f64, Cpu> = AffineMap::new(&device, &[1.5, -3.0, 0.2], 1).expect("a map");
    let (x, v) = ([matrix((BATCH, 3), 2)], matrix((BATCH, 3), 3));
    let mut equilibrium = equilibrium(map.clone(), Arc::new(Dense::default()) as Arc<_>);
    equilibrium.solver = Arc::new(Anderson::default());
    equilibrium.stop = Stop::at(Tolerance::relative(1e-6));
    let (all, report) = gradients(&equilibrium, &x, &v).expect("solvable");
    // A is symmetric: u = (I − A)⁻¹ v is the fixed point for the input v. Some 50 roundings times ‖(I − A)⁻¹‖ = 2.
    assert!(relative_difference(&all[1], &map.solution(&v)) < 1e-14);
    let worst = report.worst().expect("samples").1.relative_residual;
    assert!(worst < 1e-15 * 10.0, "{worst:e}");

    let small = Dense {
        max_dim: 2,
        ..Dense::default()
    };
    equilibrium.backward = Arc::new(small);
    let error = gradients(&equilibrium, &x, &v).expect_err("refused");
    let message =
        "`dense`: `max_dim` must be at least the dimension of the state, got 2 for dimension 3";
    assert_eq!(error.to_string(), message);
}

#[test]
fn shine_starts_at_the_solution_if_the_inverse_is_exact() {
    let shine: Arc<dyn BackwardStrategy> = Arc::new(Shine {
        stop: tight(),
        ..Shine::default()
    });
    let (x, v) = ([matrix((BATCH, DIM), 5)], matrix((BATCH, DIM), 6));
    let (_, report) = gradients(&equilibrium(map(0.0), shine.clone()), &x, &v).expect("solvable");
    let steps: Vec<usize> = report.samples.iter().map(|s| s.steps).collect();
    assert_eq!(steps, [1; BATCH], "{report:?}");

    // A solve that starts at the solution has nothing to learn: M = I.
    let solved = equilibrium(map(0.0), shine.clone());
    let z = solved.forward(&x, NoneTape).expect("solvable").z;
    let (z, tape) = solved
        .forward_from(z, &x, OwnedTape::default())
        .map(|solved| solved.z.split_tape())
        .expect("solvable");
    let loss = (z.put_tape(tape) * v.clone()).sum::<Rank0, _>();
    let got = loss.backward().get(&x[0]).as_vec();
    assert!(got.iter().all(|g| g.is_finite()), "{got:?}");

    let mut ignorant = equilibrium(map(0.0), shine);
    ignorant.solver = Arc::new(Anderson::default());
    let error = gradients(&ignorant, &x, &v).expect_err("no inverse");
    assert_eq!(
        error.to_string(),
        "`shine`: `the forward solver` must be one that learns an inverse, `solver = { type = \"broyden\" }`, \
         got one that has learned nothing"
    );
}
