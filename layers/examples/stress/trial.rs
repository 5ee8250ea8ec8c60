//! One random layer, and what must hold of it.

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::json;
use equilibria_core::{apply, from_host, to_host, Equilibrium, StepOnly};
use equilibria_solvers::{backward, solver};
use equilibria_testing::{
    check_row_map, random_matrix, random_values, relative_difference, OnRows,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::adjoint::derivatives;
use crate::equation::Random;

/// Strategies whose gradients are exact up to the residual of the adjoint equation.
const EXACT: [&str; 2] = ["implicit", "dense"];

const BATCHES: [usize; 4] = [1, 2, 7, 64];
const WIDTHS: [usize; 11] = [1, 2, 3, 7, 16, 33, 64, 125, 128, 257, 513];

/// What came of a layer.
#[derive(Default)]
pub struct Found {
    pub solver: String,
    pub converged: usize,
    pub samples: usize,
    pub faults: Vec<String>,
}

impl Found {
    pub fn panicked() -> Self {
        Self {
            solver: "panicked".to_owned(),
            faults: vec!["panicked".to_owned()],
            ..Self::default()
        }
    }
}

/// An equilibrium with what was said of it.
struct Solved {
    z: Vec<f64>,
    report: Report,
    /// Of `Σ z²` by x.
    gradient: Vec<f64>,
    adjoint: Option<Report>,
}

/// A layer and a point of it.
struct Trial<E: Scalar>
where
    Cpu: Backend<E>,
{
    layer: Random<E, Cpu>,
    z: Matrix<E, Cpu>,
    x: Vec<Matrix<E, Cpu>>,
    shape: (usize, usize),
}

/// Makes a layer from a seed, and looks for what is wrong.
pub fn trial<E: Scalar>(seed: u64) -> Found
where
    Cpu: Backend<E>,
{
    let random = &mut StdRng::seed_from_u64(seed);
    let mut found = Found::default();
    if let Err(error) = looked_at::<E>(random, &mut found) {
        found.faults.push(format!("failed: {error}"));
    }
    found
}

fn looked_at<E: Scalar>(random: &mut StdRng, found: &mut Found) -> Result<()>
where
    Cpu: Backend<E>,
{
    let batch = BATCHES[random.gen_range(0..BATCHES.len())];
    let width = WIDTHS[random.gen_range(0..WIDTHS.len())];
    let layer = Random::<E, Cpu>::new(width, random)?;
    let device = Cpu::default();
    let shape = (batch, width);
    let mut matrix = || random_matrix(&device, shape, random.gen());
    let (z, x) = (matrix()?, vec![matrix()?]);
    let trial = Trial { layer, z, x, shape };
    let faults = &mut found.faults;
    trial.in_rows_as_in_tensors(random, faults)?;
    let names: Vec<String> = registry::of_kind("solver")?
        .into_iter()
        .map(|plugin| plugin.name)
        .collect();
    found.solver = names[random.gen_range(0..names.len())].clone();
    trial.solved(random, found)?;
    if !found.faults.is_empty() {
        let place = format!(
            "{} × {} of {}, {}",
            batch,
            width,
            std::any::type_name::<E>(),
            found.solver
        );
        found
            .faults
            .push(format!("{place}: {}", trial.layer.words()));
    }
    Ok(())
}

impl<E: Scalar> Trial<E>
where
    Cpu: Backend<E>,
{
    /// f by plain dfdx operations, without the program.
    fn tensors(&self, z: &[f64]) -> Result<Vec<f64>> {
        let z = z.iter().map(|&z| E::of(z)).collect();
        let z = from_host(&Cpu::default(), z, self.shape)?;
        let y = apply::<_, _, NoneTape>(&StepOnly(self.layer.clone()), z, &self.x)?;
        Ok(wide(&to_host(&y)))
    }

    /// What f changes by if z is rounded some bits earlier: a measure of what rounding can do.
    fn rounding(&self, z: &[f64], value: &[f64], random: &mut StdRng) -> Result<f64> {
        let step = 64.0 * epsilon::<E>();
        let moved = z.iter().zip(random_values(z.len(), random.gen()));
        let moved: Vec<f64> = moved.map(|(z, v)| z + step * v).collect();
        Ok(relative_difference(&self.tensors(&moved)?, value))
    }

    fn in_rows_as_in_tensors(&self, random: &mut StdRng, faults: &mut Vec<String>) -> Result<()> {
        let Some(map) = self.layer.row_map() else {
            faults.push("no program".to_owned());
            return Ok(());
        };
        let z = wide(&to_host(&self.z));
        let expected = self.tensors(&z)?;
        let (batch, width) = self.shape;
        let mut rows = OnRows::new(map, width, &self.x);
        let narrow = to_host(&self.z);
        let value = wide(&rows.apply(&narrow));
        let allowed = 256.0 * epsilon::<E>() + self.rounding(&z, &expected, random)?;
        let error = relative_difference(&value, &expected);
        if beyond(error, allowed) {
            faults.push(format!("value off by {error:e} of {allowed:e}"));
        }
        if wide(&rows.linearize(&narrow)) != value {
            faults.push("linearize and apply differ".to_owned());
        }
        // ⟨u, J v⟩ = ⟨Jᵀu, v⟩.
        let mut numbers = || -> Vec<E> {
            let values = random_values(batch * width, random.gen());
            values.into_iter().map(E::of).collect()
        };
        let (u, v) = (numbers(), numbers());
        match rows.jvp(&v) {
            None => faults.push("no tangents".to_owned()),
            Some(tangent) => {
                let cotangent = rows.vjp(&u);
                let [u, v, tangent, cotangent] = [&u, &v, &tangent, &cotangent].map(|x| wide(x));
                let terms = |a: &[f64], b: &[f64]| -> [f64; 2] {
                    let terms: Vec<f64> = a.iter().zip(b).map(|(a, b)| a * b).collect();
                    [
                        terms.iter().sum(),
                        terms.iter().map(|term| term.abs()).sum(),
                    ]
                };
                let ([left, size], [right, other]) = (terms(&u, &tangent), terms(&cotangent, &v));
                let allowed = 1e4 * epsilon::<E>() * (size + other);
                if beyond((left - right).abs(), allowed) {
                    faults.push(format!("⟨u, J v⟩ = {left} and ⟨Jᵀu, v⟩ = {right}"));
                }
            }
        }
        self.in_rows_as_in_tensors_in_detail(faults)
    }

    /// All products and gradients of small layers in f64.
    fn in_rows_as_in_tensors_in_detail(&self, faults: &mut Vec<String>) -> Result<()> {
        let any: &dyn std::any::Any = self;
        let Some(trial) = any.downcast_ref::<Trial<f64>>() else {
            return Ok(());
        };
        let (batch, width) = self.shape;
        if batch < 4 || width > 64 {
            return Ok(());
        }
        if let Some(error) = check_row_map(&trial.layer, &trial.z, &trial.x)? {
            if beyond(error, 1e-8) {
                faults.push(format!("products or gradients off by {error:e}"));
            }
        }
        Ok(())
    }

    /// Solves in rows and in tensors; whoever says "converged" must be right.
    fn solved(&self, random: &mut StdRng, found: &mut Found) -> Result<()> {
        let tolerance = [1e-2, epsilon::<E>().sqrt(), 1e3 * epsilon::<E>()];
        let tolerance = Tolerance::relative(tolerance[random.gen_range(0..3)]);
        let strategies = registry::of_kind("backward")?;
        let strategy = &strategies[random.gen_range(0..strategies.len())].name;
        let stop = Stop {
            tolerance,
            max_evaluations: 80,
            on_unconverged: OnUnconverged::Accept,
            rounded: random.gen(),
            ..Stop::default()
        };
        let in_rows = self.solve(&self.layer, &found.solver, strategy, &stop);
        let in_tensors = self.solve(
            &StepOnly(self.layer.clone()),
            &found.solver,
            strategy,
            &stop,
        );
        for (place, solved) in [("rows", in_rows), ("tensors", in_tensors)] {
            let Solved {
                z,
                report,
                gradient,
                adjoint,
            } = match solved {
                Ok(solved) => solved,
                // What needs more of a layer than this one has says so, and so does who finds no gradient.
                Err(error @ (Error::Config { .. } | Error::Unconverged { .. })) => {
                    log::info!("{error}");
                    continue;
                }
                Err(error) => {
                    found.faults.push(format!("solve in {place}: {error}"));
                    continue;
                }
            };
            if let Some(adjoint) = adjoint.filter(|_| EXACT.contains(&strategy.as_str())) {
                let wrong = self.gradients(&z, &gradient, [&report, &adjoint])?;
                (found.faults).extend(wrong.map(|wrong| format!("{strategy} in {place}: {wrong}")));
            }
            let value = self.tensors(&z)?;
            let rounding = self.rounding(&z, &value, random)?;
            let width = self.shape.1;
            let rows = z
                .chunks(width)
                .zip(value.chunks(width))
                .zip(&report.samples);
            for (sample, ((z, value), said)) in rows.enumerate() {
                found.samples += 1;
                if said.status != Status::Converged {
                    continue;
                }
                found.converged += 1;
                let residual = relative_difference(z, value);
                let allowed = tolerance.relative * 1.001 + 256.0 * epsilon::<E>() + 4.0 * rounding;
                if beyond(residual, allowed) {
                    let said = said.relative_residual;
                    let fault = format!(
                        "sample {sample} in {place} has residual {residual:e}, not {said:e}"
                    );
                    found.faults.push(fault);
                }
            }
        }
        Ok(())
    }

    /// What is wrong with the gradients by x of samples whose equilibrium and adjoint are said to be solved, of small layers.
    fn gradients(
        &self,
        z: &[f64],
        gradient: &[f64],
        [forward, adjoint]: [&Report; 2],
    ) -> Result<Option<String>> {
        let (batch, width) = self.shape;
        if batch > 7 || width > 16 {
            return Ok(None);
        }
        let all = derivatives(&self.layer, z, &self.x[0])?;
        let rows = z.chunks(width).zip(gradient.chunks(width));
        let reports = forward.samples.iter().zip(&adjoint.samples);
        for (sample, ((of, (z, ours)), (forward, adjoint))) in
            all.iter().zip(rows).zip(reports).enumerate()
        {
            if [forward, adjoint]
                .iter()
                .any(|report| report.status != Status::Converged)
            {
                continue;
            }
            let v: Vec<f64> = z.iter().map(|z| 2.0 * z).collect();
            let residual = 1.01 * adjoint.relative_residual + 1e3 * epsilon::<E>();
            let Some((exact, allowed)) = of.gradient(&v, residual) else {
                continue;
            };
            let differences = exact.iter().zip(ours).map(|(a, b)| (a - b) * (a - b));
            let error = differences.sum::<f64>().sqrt();
            if beyond(error, allowed) {
                return Ok(Some(format!(
                    "the gradient of sample {sample} is off by {error:e} of {allowed:e}"
                )));
            }
        }
        Ok(None)
    }

    /// The equilibrium and its gradient by x, which must be finite where all is solved: but for that of unrolled steps, which grows without
    /// bound where the map expands.
    fn solve<L: ImplicitLayer<E, Cpu> + Clone>(
        &self,
        layer: &L,
        by: &str,
        strategy: &str,
        stop: &Stop,
    ) -> Result<Solved> {
        let mut equilibrium = Equilibrium::new(layer.clone(), solver(by)?, backward(strategy)?);
        equilibrium.stop = stop.clone();
        let solved = equilibrium.forward(&self.x, OwnedTape::default())?;
        let (z, tape) = solved.z.split_tape();
        let loss = z
            .clone()
            .put_tape(tape)
            .square()
            .sum::<Rank0, Axes2<0, 1>>();
        let gradients = loss.try_backward().map_err(Error::device)?;
        let adjoint = solved.adjoint.take()?;
        let done = (adjoint.as_ref()).is_none_or(|report| report.unconverged() == 0);
        let gradient = wide(&to_host(&gradients.get(&self.x[0])));
        let finite = gradient.iter().all(|number| number.is_finite());
        let bounded = strategy != "unrolled";
        if bounded && done && solved.report.unconverged() == 0 && !finite {
            return Err(Error::Parse {
                what: "gradient".to_owned(),
                message: json!("not finite though all is solved").to_string(),
            });
        }
        Ok(Solved {
            z: wide(&to_host(&z)),
            report: solved.report,
            gradient,
            adjoint,
        })
    }
}

fn wide<E: Scalar>(values: &[E]) -> Vec<f64> {
    values.iter().map(|value| value.wide()).collect()
}

fn epsilon<E: Scalar>() -> f64 {
    E::epsilon().wide()
}

/// Whether an error is larger than is allowed, or NaN.
fn beyond(error: f64, allowed: f64) -> bool {
    error.is_nan() || error > allowed
}
