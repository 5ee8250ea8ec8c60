//! Exact solutions, by a damped Newton iteration with the dense Jacobian, in f64. It shares nothing with the solvers.

use super::measures::minus_identity;
use super::{dense, Problem};
use crate::random_values;

/// Starts to be tried; maps with kinks have several basins.
const STARTS: u64 = 100;
const STEPS: usize = 60;
/// A residual of 1e-14, relative to the numbers it is made of, is rounding.
const TOLERANCE: f64 = 1e-14;

/// A fixed point of one sample, from its start or else from random ones; `None` if none is found.
pub(super) fn solve(problem: &Problem, sample: usize) -> Option<Vec<f64>> {
    let start = problem.row(&problem.start, sample).to_vec();
    let others = (1..STARTS).map(|seed| random_values(problem.dim, seed));
    let mut starts = std::iter::once(start).chain(others);
    starts.find_map(|start| descend(problem, sample, start))
}

fn descend(problem: &Problem, sample: usize, mut z: Vec<f64>) -> Option<Vec<f64>> {
    let mut residual = problem.residual(sample, &z);
    for _ in 0..STEPS {
        let jacobian = minus_identity(problem.jacobian(sample, &z), problem.dim);
        let value = problem.value(sample, &z);
        let right = z.iter().zip(&value).map(|(z, f)| z - f).collect();
        let step = dense::solve(jacobian, right)?;
        let shorter = (0..30).map(|halvings| {
            let factor = 0.5_f64.powi(halvings);
            let next = z.iter().zip(&step).map(|(z, step)| z + factor * step);
            next.collect::<Vec<f64>>()
        });
        let mut tried = shorter.map(|next| (problem.residual(sample, &next), next));
        // At the solution no step helps any more.
        let Some((smaller, next)) = tried.find(|(next, _)| *next < residual) else {
            break;
        };
        (z, residual) = (next, smaller);
    }
    (residual <= TOLERANCE * problem.magnitude(sample, &z)).then_some(z)
}
