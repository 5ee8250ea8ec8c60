//! A layer with the parameters and inputs of a golden file, and the arrays that all such files have.

use dfdx::prelude::*;
use equilibria_core::{
    apply, from_host, registry, solve, to_host, AdjointMap, AnyLayer, Backend, BackwardStrategy,
    Coef, Equilibrium, FixedPointSolver, ImplicitLayer, Matrix, OnUnconverged, Parameters,
    StepOnly, Stop, Tolerance, Vectors,
};
use equilibria_fusion::layers::{Initializer, LayerConfig, LayerRequest, Layers};
use serde_json::json;

use super::equilibrium::jacobian;
use super::file::Arrays;
use super::ledger::Ledger;
use super::spaces::in_all_of;
use super::tolerance::{SOLVED, STEP};
use super::zoo::Case;
use crate::{Error, Result};

/// Of gradients, relative to the largest entry of any of them.
const GRADIENT: f64 = 1e-9;

/// Dimension of Krylov spaces, at most: those of whole states, for the last digits.
const RESTART: usize = 500;

/// Evaluations of a solve from 0 that may come to another equilibrium than the stored one, or to none and go on for ever: enough where each
/// shrinks the residual by 1 %.
const FROM_ZERO: usize = 3000;

/// How far beside a stored equilibrium a solve begins that is to find it again, relative to its largest entry.
const BESIDE: f64 = 1e-4;

/// A layer by its configuration, with everything else from the file.
pub struct Subject<D: Backend<f64>> {
    /// The layer.
    pub layer: AnyLayer<f64, D>,
    /// Names of the inputs in the file, without `input.`.
    pub inputs: Vec<String>,
    /// The inputs, in the order of the layer.
    pub x: Vec<Matrix<f64, D>>,
    /// The solver of the equation, its configuration.
    pub solver: serde_json::Value,
    /// The solver of the adjoint equation, its configuration.
    pub adjoint_solver: serde_json::Value,
    /// Whether there may be several equilibria, of which the file has one.
    pub several: bool,
    names: Vec<(String, String)>,
    device: D,
}

impl<D: Backend<f64>> Subject<D> {
    /// The layer of a configuration with the arrays `param.*`, and the inputs of the given names: arrays `input.*`, whose first axis is
    /// the batch, or arrays of that very name, which may be the same for all samples.
    pub fn new(
        case: &Case<D>,
        config: serde_json::Value,
        state: usize,
        inputs: &[&str],
    ) -> Result<Self> {
        let (golden, device) = (&case.golden, &case.device);
        let config = registry::make::<dyn LayerConfig>(&config)?;
        let sizes = config.sizes();
        let mut x = Vec::new();
        for (index, name) in inputs.iter().enumerate() {
            let by_sample = golden.get(&format!("input.{name}"));
            let array = by_sample.or_else(|_| golden.get(name))?;
            let rows = |x: &Matrix<f64, D>| x.shape().0;
            let own = || array.shape.first().copied().unwrap_or(1);
            let batch = x.first().map_or_else(own, rows).max(1);
            let width = sizes.as_ref().and_then(|sizes| sizes.inputs.get(index));
            let values = match width {
                Some(&width) if array.values.len() == width => array.values.repeat(batch),
                _ => array.values.clone(),
            };
            if !values.len().is_multiple_of(batch) {
                let shape = &array.shape;
                let message = format!("array `{name}` must have {batch} rows, got shape {shape:?}");
                return Err(Error::golden(&golden.path, message));
            }
            let shape = (batch, values.len() / batch);
            x.push(from_host(device, values, shape)?);
        }
        let widths: Vec<usize> = x.iter().map(|x: &Matrix<f64, D>| x.shape().1).collect();
        let request = LayerRequest {
            state,
            inputs: &widths,
            init: &mut Initializer::new(device, 0),
        };
        let mut layer: AnyLayer<f64, D> = <D as Backend<f64>>::build::<Layers>(&*config, request)?;
        let mut subject = Self {
            layer: layer.clone(),
            inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
            x,
            solver: in_turn(&["newton-gmres", "squarem", "broyden", "newton-gmres"]),
            adjoint_solver: json!({ "type": "gmres", "restart": RESTART }),
            several: false,
            names: config.original_names(),
            device: device.clone(),
        };
        let mut values = Vec::new();
        for (name, tensor) in layer.named() {
            let (rows, columns) = *tensor.shape();
            let array = format!("param.{}", subject.original(&name));
            values.push(golden.need(&array, rows * columns)?.to_vec());
        }
        layer.assign(values)?;
        subject.layer = layer;
        Ok(subject)
    }

    /// The name of a parameter in the original code.
    pub fn original<'n>(&'n self, name: &'n str) -> &'n str {
        let known = self.names.iter().find(|(ours, _)| ours == name);
        known.map_or(name, |(_, theirs)| theirs)
    }

    /// Rows.
    pub fn batch(&self) -> usize {
        self.x.first().map_or(0, |x| x.shape().0)
    }

    /// Compares all arrays that are named as every file names them: one step, the Jacobian, the adjoint vector, the equilibrium, the
    /// loss and all gradients.
    pub fn compare(&self, golden: &Arrays, ledger: &mut Ledger) -> Result<()> {
        self.compare_step(golden, ledger)?;
        self.compare_jacobian(golden, ledger)?;
        self.compare_equilibrium(golden, ledger)
    }

    /// Compares `step_rand.*`, by the program and in tensors.
    pub fn compare_step(&self, golden: &Arrays, ledger: &mut Ledger) -> Result<()> {
        if !golden.has("step_rand.z") {
            return Ok(());
        }
        let size = self.batch() * self.layer.state_dim();
        let z = golden.need("step_rand.z", size)?;
        let u = golden.need("step_rand.u", size)?;
        for outcome in in_all_of(&self.layer, &self.x, |space| {
            let [at, cotangent, out] = [space.alloc()?, space.alloc()?, space.alloc()?];
            space.vectors_mut().write(at, z)?;
            space.apply(at, out)?;
            let value = space.vectors().read(out)?;
            space.linearize(at)?;
            space.vectors_mut().write(cotangent, u)?;
            space.vjp(cotangent, out)?;
            space.pull_back(cotangent)?;
            Ok((value, space.vectors().read(out)?))
        })? {
            let (value, product) = outcome.result;
            let mut check = |name: &str, got: &[f64]| {
                ledger.compare(golden, name, got, STEP * largest(golden, name));
            };
            check("step_rand.f", &value);
            check("step_rand.vjp", &product);
            for (name, gradient) in self.names().iter().zip(&outcome.gradients) {
                check(&format!("step_rand.grad.{name}"), gradient);
            }
        }
        Ok(())
    }

    /// Names of all parameters and inputs in the file: `param.*`, then `input.*`.
    fn names(&self) -> Vec<String> {
        let named = self.layer.named();
        let parameters = named.iter();
        let parameters = parameters.map(|(name, _)| format!("param.{}", self.original(name)));
        let inputs = self.inputs.iter().map(|name| format!("input.{name}"));
        parameters.chain(inputs).collect()
    }

    /// Compares the Jacobian at the golden equilibrium, and the solution of the adjoint equation there.
    fn compare_jacobian(&self, golden: &Arrays, ledger: &mut Ledger) -> Result<()> {
        if !golden.has("ift.J") {
            return Ok(());
        }
        let shape = (self.batch(), self.layer.state_dim());
        let z = golden.need("fixed_point.z", shape.0 * shape.1)?;
        let slope = self.slope(golden, z)?;
        let scale = |name: &str| largest(golden, name);
        ledger.compare(golden, "ift.dl_dz", &slope, SOLVED * scale("ift.dl_dz"));
        let solver = registry::make::<dyn FixedPointSolver>(&self.adjoint_solver)?;
        for outcome in in_all_of(&self.layer, &self.x, |space| {
            let [at, v, u] = [space.alloc()?, space.alloc()?, space.alloc()?];
            space.vectors_mut().write(at, z)?;
            space.linearize(at)?;
            let jacobian = jacobian(space)?;
            space.vectors_mut().write(v, &slope)?;
            space.combine(u, &[(Coef::Same(1.0), v)])?;
            solve(&*solver, &mut AdjointMap::new(space, v), u, &stop())?;
            Ok((jacobian, space.vectors().read(u)?))
        })? {
            let (jacobian, adjoint) = outcome.result;
            ledger.compare(golden, "ift.J", &jacobian, SOLVED * scale("ift.J"));
            let tolerance = GRADIENT * scale("ift.adjoint");
            ledger.compare(golden, "ift.adjoint", &adjoint, tolerance);
        }
        Ok(())
    }

    /// The derivative of the loss by the state z.
    fn slope(&self, golden: &Arrays, z: &[f64]) -> Result<Vec<f64>> {
        let shape = (self.batch(), self.layer.state_dim());
        let z = from_host(&self.device, z.to_vec(), shape)?;
        let traced = z.clone().put_tape(OwnedTape::default());
        let output = equilibria_core::output(&self.layer, traced, &self.x)?;
        let mut gradients = self.loss(golden, output)?.backward();
        (gradients.try_alloc_for(&z)).map_err(equilibria_core::Error::device)?;
        Ok(to_host(&gradients.get(&z)))
    }

    /// `Σ probe · o + Σ o² / 2` of the output o.
    fn loss(
        &self,
        golden: &Arrays,
        output: Matrix<f64, D, OwnedTape<f64, D>>,
    ) -> Result<Tensor<Rank0, f64, D, OwnedTape<f64, D>>> {
        let shape = *output.shape();
        let probe = golden.need("loss.probe", shape.0 * shape.1)?;
        let probe = from_host(&self.device, probe.to_vec(), shape)?;
        let (output, tape) = output.split_tape();
        let linear = (output.clone().put_tape(tape) * probe).sum::<Rank0, _>();
        let (linear, tape) = linear.split_tape();
        let square = output.put_tape(tape).square().sum::<Rank0, _>() * 0.5;
        Ok(square + linear)
    }

    /// The equilibrium with the solvers, to the last digit; what is left unsolved shows in the comparison.
    pub fn equilibrium<L>(&self, layer: L) -> Result<Equilibrium<L>> {
        let backward = json!({ "type": "implicit", "solver": self.adjoint_solver, "stop": stop() });
        let mut equilibrium = Equilibrium::new(
            layer,
            registry::make::<dyn FixedPointSolver>(&self.solver)?,
            registry::make::<dyn BackwardStrategy>(&backward)?,
        );
        equilibrium.stop = stop();
        Ok(equilibrium)
    }

    /// Compares the equilibrium, the loss of its output and all gradients, by the program and in tensors.
    pub fn compare_equilibrium(&self, golden: &Arrays, ledger: &mut Ledger) -> Result<()> {
        for solved in [
            self.solved(golden, self.layer.clone())?,
            self.solved(golden, StepOnly(self.layer.clone()))?,
        ] {
            let scale = largest(golden, "fixed_point.z");
            ledger.compare(golden, "fixed_point.z", &solved.z, SOLVED * scale);
            self.compare_gradients(golden, ledger, &solved);
        }
        Ok(())
    }

    /// Compares the loss of an output and all gradients.
    pub fn compare_gradients(&self, golden: &Arrays, ledger: &mut Ledger, of: &Differentiated) {
        let scale = largest(golden, "loss");
        ledger.compare(golden, "loss", &[of.loss], SOLVED * scale);
        let names = self.names();
        let arrays = golden.arrays.iter();
        let of_gradients = arrays.filter(|(name, _)| name.starts_with("grad."));
        let entries = of_gradients.flat_map(|(_, array)| &array.values);
        let scale = entries.map(|g| g.abs()).fold(0.0, f64::max);
        for (name, gradient) in names.iter().zip(&of.gradients) {
            ledger.compare(golden, &format!("grad.{name}"), gradient, GRADIENT * scale);
        }
    }

    /// Solves and differentiates.
    ///
    /// The solve begins at 0. Where there may be several equilibria and this leads to none or to another one than the file has, it begins
    /// anew beside that one, by Newton's method, which comes to it if it is one.
    pub fn solved<L: ImplicitLayer<f64, D> + Clone>(
        &self,
        golden: &Arrays,
        layer: L,
    ) -> Result<Differentiated> {
        let mut equilibrium = self.equilibrium(layer)?;
        if self.several {
            equilibrium.stop.max_evaluations = FROM_ZERO;
        }
        let mut solved = equilibrium.forward(&self.x, OwnedTape::default())?;
        if self.several {
            equilibrium.stop = stop();
            let (z, shape) = (solved.z.as_vec(), *solved.z.shape());
            let stored = golden.need("fixed_point.z", z.len())?;
            let scale = largest(golden, "fixed_point.z");
            let differences = z.iter().zip(stored).map(|(a, b)| (a - b).abs());
            let error = differences.fold(0.0, equilibria_testing::worse);
            if solved.report.unconverged() > 0 || error > SOLVED * scale || error.is_nan() {
                let beside = stored.iter().zip([1.0, -1.0].iter().cycle());
                let beside = beside.map(|(z, sign)| z + sign * BESIDE * scale);
                let start = from_host(&self.device, beside.collect(), shape)?;
                let newton = json!({ "type": "newton-gmres", "restart": RESTART });
                equilibrium.solver = registry::make::<dyn FixedPointSolver>(&newton)?.into();
                solved = equilibrium.forward_from(start, &self.x, OwnedTape::default())?;
            }
        }
        let z = solved.z.as_vec();
        let output = equilibrium.output(solved.z, &self.x)?;
        let values = output.as_vec();
        let loss = self.loss(golden, output)?;
        let value = loss.as_vec()[0];
        let mut gradients = loss.backward();
        let parameters = equilibrium.named().into_iter().map(|(_, tensor)| tensor);
        let tensors = parameters.chain(self.x.iter().cloned());
        let gradient = |tensor: Matrix<f64, D>| -> Result<Vec<f64>> {
            (gradients.try_alloc_for(&tensor)).map_err(equilibria_core::Error::device)?;
            Ok(to_host(&gradients.get(&tensor)))
        };
        Ok(Differentiated {
            z,
            output: values,
            loss: value,
            gradients: tensors.map(gradient).collect::<Result<_>>()?,
        })
    }

    /// The step at a state, in tensors.
    pub fn step(&self, z: &[f64]) -> Result<Vec<f64>> {
        let shape = (self.batch(), self.layer.state_dim());
        let z = from_host(&self.device, z.to_vec(), shape)?;
        Ok(to_host(&apply(&self.layer, z, &self.x)?))
    }
}

/// The equilibrium of a subject and what follows from it.
pub struct Differentiated {
    /// z*.
    pub z: Vec<f64>,
    /// The output.
    pub output: Vec<f64>,
    /// The loss.
    pub loss: f64,
    /// Its gradients by parameters, then by inputs.
    pub gradients: Vec<Vec<f64>>,
}

/// Solvers that go on where the one before got stuck.
///
/// By default Newton's method, which ends soonest; then accelerated iteration, which brings a contraction near, and Newton's method again.
pub fn in_turn(solvers: &[&str]) -> serde_json::Value {
    let solvers = solvers.iter().map(|&solver| match solver {
        "newton-gmres" => json!({ "type": solver, "restart": RESTART }),
        _ => json!({ "type": solver }),
    });
    let solvers: Vec<serde_json::Value> = solvers.collect();
    json!({ "type": "chain", "solvers": solvers })
}

/// To the last digit.
fn stop() -> Stop {
    Stop {
        max_evaluations: 50_000,
        patience: 100,
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::relative(1e-14))
    }
}

/// The largest entry of an array, at least 1: tolerances are relative to it.
pub fn largest(golden: &Arrays, name: &str) -> f64 {
    let array = golden.arrays.get(name);
    let entries = array.into_iter().flat_map(|array| &array.values);
    entries.map(|value| value.abs()).fold(1.0, f64::max)
}

/// The width of a row of an array, whose first axis is the batch.
pub fn width(golden: &Arrays, name: &str) -> Result<usize> {
    let array = golden.get(name)?;
    match array.shape.split_first() {
        Some((_, rest)) => Ok(rest.iter().product()),
        None => Err(Error::golden(
            &golden.path,
            format!("array `{name}` has no rows"),
        )),
    }
}
