//! Regularizers against the host and against central differences, in f64.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::operations::{arguments, TensorCode, Tensors};
use equilibria_core::prelude::*;
use equilibria_core::seed::mix;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::{parameters, to_host, Equilibrium};
use equilibria_solvers::backward::jacobian_free::JacobianFree;
use equilibria_solvers::forward::picard::Picard;
use equilibria_solvers::regularizers::fixed_point_correction::FixedPointCorrection;
use equilibria_solvers::regularizers::spectral_radius::SpectralRadius;
use equilibria_testing::{central_difference, random_matrix, relative_difference, Loss};

const DIM: usize = 4;
const BATCH: usize = 3;
const SEED: u64 = 13;

/// Step of the outer differences: truncation STEP² = 4e-10 times third derivatives of order 1, rounding ε / STEP = 1e-11.
const STEP: f64 = 2e-5;

/// f(z; x) = tanh(z W + x): derivatives differ from point to point.
#[derive(Clone)]
struct Tanh<E: Scalar, D: Backend<E>> {
    w: Matrix<E, D>,
}

parameters!(Tanh { w });

/// `tanh(z W + x)`.
#[derive(Clone)]
struct Step;

impl TensorCode for Step {
    fn run<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
        &self,
        x: Vec<Matrix<E, D, T>>,
        parameters: &[Matrix<E, D>],
    ) -> Result<Matrix<E, D, T>> {
        let ([z, x], [w]) = (arguments(x)?, arguments(parameters.to_vec())?);
        Ok((z.matmul(w.retaped::<T>()) + x).tanh())
    }
}

impl<E: Scalar, D: Backend<E>> ImplicitLayer<E, D> for Tanh<E, D> {
    fn state_dim(&self) -> usize {
        self.w.shape().0
    }

    fn step(
        &self,
        z: &equilibria_core::Value<E, D>,
        x: &[equilibria_core::Value<E, D>],
    ) -> Result<equilibria_core::Value<E, D>> {
        Ok(equilibria_core::Value::of(
            &Tensors::new(Step, &[&self.w]),
            &[z, &x[0]],
        ))
    }
}

type Model = Equilibrium<Tanh<f64, Cpu>>;

fn matrix(seed: u64) -> Matrix<f64, Cpu> {
    random_matrix(&Cpu::default(), (BATCH, DIM), seed).expect("memory")
}

fn model(regularizer: impl Regularizer + 'static) -> Model {
    let w = random_matrix(&Cpu::default(), (DIM, DIM), 9).expect("memory");
    let solver: Arc<dyn FixedPointSolver> = Arc::new(Picard::default());
    let backward: Arc<dyn BackwardStrategy> = Arc::new(JacobianFree::default());
    let mut model = Equilibrium::new(Tanh { w: w * 0.5 }, solver, backward);
    model.regularizers.push(Arc::new(regularizer));
    model
}

/// The penalty's gradient, but the value of `frozen`: what the penalty is if all it holds constant is constant.
fn with_value(
    model: &Model,
    z: &Matrix<f64, Cpu>,
    x: &[Matrix<f64, Cpu>],
    frozen: f64,
) -> Result<Loss> {
    let penalty = model.penalty(z, x, OwnedTape::default(), SEED)?;
    let value = to_host(&penalty.retaped::<NoneTape>())[0];
    Ok((penalty + (frozen - value)).sum())
}

fn value(model: &Model, z: &Matrix<f64, Cpu>, x: &[Matrix<f64, Cpu>]) -> f64 {
    let penalty = model.penalty(z, x, NoneTape, SEED).expect("a value");
    to_host(&penalty)[0]
}

/// Jᵀw at z for given w.
fn product(model: &Model, at: &[Matrix<f64, Cpu>; 2], x: &[Matrix<f64, Cpu>]) -> Result<Vec<f64>> {
    let parts = model.inspect(at, x, |space, slots| {
        space.linearize(slots[0])?;
        space.vjp(slots[1], slots[1])?;
        space.vectors().read(slots[1])
    })?;
    Ok(parts.concat())
}

fn squares(rows: &[f64]) -> Vec<f64> {
    let rows = rows.chunks_exact(DIM);
    rows.map(|row| row.iter().map(|v| v * v).sum()).collect()
}

#[test]
fn the_spectral_radius_penalty_is_that_of_its_power_iteration() {
    let (z, x) = (matrix(7), [matrix(5)]);
    // One bound that all samples exceed, and one that some do.
    for (bound, exceeding) in [(0.05, BATCH), (0.62, 1)] {
        let iterations = 4;
        let model = model(SpectralRadius {
            weight: 0.7,
            bound,
            iterations,
            step: 1e-5,
        });
        let probe = model.inspect(std::slice::from_ref(&z), &x, |space, slots| {
            space.fill_normal(slots[0], mix(SEED, 0))?;
            space.vectors().read(slots[0])
        });
        let mut w = probe.expect("a probe").concat();
        let tensor = |w: &[f64]| -> Matrix<f64, Cpu> {
            Cpu::default().tensor_from_vec(w.to_vec(), (BATCH, DIM))
        };
        for _ in 0..iterations {
            w = product(&model, &[z.clone(), tensor(&w)], &x).expect("finite");
            let squares = squares(&w);
            w.iter_mut()
                .enumerate()
                .for_each(|(index, w)| *w /= squares[index / DIM].sqrt());
        }
        let at = [z.clone(), tensor(&w)];
        let estimates = |model: &Model, x: &[Matrix<f64, Cpu>]| -> Result<Vec<f64>> {
            Ok(squares(&product(model, &at, x)?))
        };
        let frozen = |model: &Model, x: &[Matrix<f64, Cpu>]| -> Result<f64> {
            let excess = estimates(model, x)?.into_iter();
            let excess = excess.map(|square| (square - bound * bound).max(0.0));
            Ok(0.7 * excess.sum::<f64>() / BATCH as f64)
        };
        let above = estimates(&model, &x).expect("finite").into_iter();
        let above = above.filter(|square| *square > bound * bound).count();
        assert_eq!(above, exceeding, "the test is sharp");
        let expected = frozen(&model, &x).expect("finite");
        // The same sums in another order: some 100 roundings.
        assert!(relative_difference(&[value(&model, &z, &x)], &[expected]) < 1e-13);
        let error = central_difference(&model, &x, STEP, |model, x| {
            with_value(model, &z, x, frozen(model, x)?)
        });
        // The inner difference adds h² = 1e-10 and ε / h = 2e-11 to the outer one.
        let error = error.expect("finite");
        assert!(error < 1e-8, "bound {bound}: {error:e}");
    }
    let mild = model(SpectralRadius {
        bound: 50.0,
        ..SpectralRadius::default()
    });
    assert!(value(&mild, &z, &x).abs() <= 0.0);

    // A strictly triangular W: four products are 0 exactly, and no division by that 0 shows.
    let mut nilpotent = model(SpectralRadius {
        bound: 0.0,
        ..SpectralRadius::default()
    });
    let entries = to_host(&nilpotent.layer.w).into_iter().enumerate();
    let upper = entries.map(|(index, w)| if index / DIM < index % DIM { w } else { 0.0 });
    nilpotent.layer.w = Cpu::default().tensor_from_vec(upper.collect(), (DIM, DIM));
    assert!(value(&nilpotent, &z, &x).abs() <= 0.0);
}

#[test]
fn fixed_point_correction_is_the_distance_of_intermediate_states() {
    let (z, x) = (matrix(7), [matrix(5)]);
    for (states, spacing, damping) in [(1, 1, 1.0), (3, 1, 1.0), (2, 3, 0.6)] {
        let model = model(FixedPointCorrection {
            weight: 0.7,
            states,
            spacing,
            decay: 0.8,
            damping,
        });
        let mut at: Matrix<f64, Cpu> = z.clone() * 0.0;
        let mut points = Vec::new();
        for step in 1..=states * spacing {
            let value = equilibria_core::apply(&model.layer, at.clone(), &x).expect("a value");
            at = at * (1.0 - damping) + value * damping;
            if step % spacing == 0 {
                points.push(at.clone());
            }
        }
        let frozen = |model: &Model, x: &[Matrix<f64, Cpu>]| -> Result<f64> {
            let mut sum = 0.0;
            for (index, point) in points.iter().enumerate() {
                let error =
                    to_host(&(equilibria_core::apply(&model.layer, point.clone(), x)? - z.clone()));
                let weight = 0.8_f64.powi((states - 1 - index) as i32);
                sum += weight * squares(&error).iter().sum::<f64>();
            }
            Ok(0.7 * sum / (DIM * BATCH) as f64)
        };
        let expected = frozen(&model, &x).expect("finite");
        // The same sums in another order: some 100 roundings.
        assert!(relative_difference(&[value(&model, &z, &x)], &[expected]) < 1e-13);
        let error = central_difference(&model, &x, STEP, |model, x| {
            with_value(model, &z, x, frozen(model, x)?)
        });
        let error = error.expect("finite");
        assert!(error < 1e-8, "{states} states: {error:e}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let refused = |config: Value, message: &str| {
        let made = registry::make::<dyn Regularizer>(&config).expect("it parses");
        let error = made.validate().expect_err("out of range");
        assert_eq!(error.to_string(), message);
    };
    let name = "spectral-radius";
    for (field, value, range) in [
        ("bound", json!(-0.5), "finite and at least 0, got -0.5"),
        ("iterations", json!(0), "at least 1, got 0"),
        ("step", json!(0.0), "finite and above 0, got 0"),
    ] {
        let message = format!("`{name}`: `{field}` must be {range}");
        refused(json!({ "type": name, field: value }), &message);
    }
    let name = "fixed-point-correction";
    for (field, value, range) in [
        ("states", json!(0), "at least 1, got 0"),
        ("spacing", json!(0), "at least 1, got 0"),
        ("decay", json!(0.0), "in (0, 1], got 0"),
        ("damping", json!(1.5), "in (0, 1], got 1.5"),
    ] {
        let message = format!("`{name}`: `{field}` must be {range}");
        refused(json!({ "type": name, field: value }), &message);
    }
}
