//! Results do not depend on the unit that states and cotangents are measured in, as far as numbers of a dtype reach.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, Equilibrium};
use equilibria_solvers::backward::implicit::Implicit;
use equilibria_solvers::forward::anderson::Anderson;
use equilibria_testing::{random_matrix, relative_difference, AffineMap};

const SPECTRUM: [f64; 5] = [0.6, -0.6, 0.2, 0.1, -0.3];
const BATCH: usize = 4;

type Solver = dyn FixedPointSolver + 'static;

fn solvers() -> Vec<(String, Box<dyn FixedPointSolver>)> {
    let plugins = registry::of_kind("solver").expect("solvers are linked");
    let solver = |name: String| (registry::default(&name).expect("registered"), name);
    let all = plugins.into_iter().map(|plugin| solver(plugin.name));
    all.map(|(solver, name)| (name, solver)).collect()
}

fn stop(tolerance: f64) -> Stop {
    Stop {
        max_evaluations: 1000,
        on_unconverged: OnUnconverged::Error,
        ..Stop::at(Tolerance::relative(tolerance))
    }
}

/// z* of an affine map and the gradient of Σ z* by x, where x and the sum have these units.
fn solved<E: Scalar>(
    (forward, adjoint): (&Solver, &Solver),
    (unit, weight): (f64, f64),
    tolerance: f64,
) -> [Vec<f64>; 2]
where
    Cpu: Backend<E>,
{
    let device = Cpu::default();
    let map: AffineMap<E, Cpu> = AffineMap::new(&device, &SPECTRUM, 5).expect("a map");
    let shape = (BATCH, SPECTRUM.len());
    let x = random_matrix::<E, _>(&device, shape, 6).expect("inputs") * E::of(unit);
    let backward: Arc<dyn BackwardStrategy> = Arc::new(Implicit {
        solver: dyn_clone::clone_box(adjoint),
        stop: stop(tolerance),
    });
    let mut equilibrium = Equilibrium::new(map, dyn_clone::clone_box(forward), backward);
    equilibrium.stop = stop(tolerance);
    let solved = equilibrium.forward(std::slice::from_ref(&x), OwnedTape::default());
    let solved = solved.expect("solvable");
    let z = to_host(&solved.z.retaped::<NoneTape>());
    let gradients = (solved.z * E::of(weight)).sum::<Rank0, _>().backward();
    let report = solved.adjoint.take().expect("solvable");
    assert_eq!(report.expect("the tape has run").unconverged(), 0);
    let in_units =
        |values: Vec<E>, unit: f64| values.into_iter().map(|v| v.wide() / unit).collect();
    [
        in_units(z, unit),
        in_units(gradients.get(&x).as_vec(), weight),
    ]
}

/// Powers of two change no digit. They go as far as squares of what is left at the tolerance are numbers in f64.
fn check<E: Scalar>(exponents: &[i32], tolerance: f64)
where
    Cpu: Backend<E>,
{
    let anderson = Anderson::default();
    for (name, solver) in solvers() {
        let (solver, ones) = (&*solver, (1.0, 1.0));
        let expected = solved::<E>((solver, solver), ones, tolerance);
        for &exponent in exponents {
            let unit = 2.0_f64.powi(exponent);
            let forward = solved::<E>((solver, &anderson), (unit, 1.0), tolerance);
            let adjoint = solved::<E>((&anderson, solver), (1.0, unit), tolerance);
            let pairs = [(&forward[0], &expected[0]), (&adjoint[1], &expected[1])];
            for (which, (got, expected)) in pairs.into_iter().enumerate() {
                // Both are as near to the solution as 1 / (1 − 0.6) times the tolerance.
                let apart = relative_difference(got, expected);
                assert!(
                    apart < 5.0 * tolerance,
                    "{name} {which} 2^{exponent}: {apart:e}"
                );
            }
        }
    }
}

#[test]
fn in_single_precision() {
    check::<f32>(&[-100, -66, 66, 100], 1e-5);
}

#[test]
fn in_double_precision() {
    check::<f64>(&[-400, -66, 66, 400], 1e-10);
}
