//! Rounded evaluations of the adjoint equation: exact at some points, and rounded by their distance from there in between.

mod damped;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use equilibria_core::plumbing::SliceSpace;
use equilibria_core::prelude::*;
use equilibria_core::SampleReport;

use damped::Damped;

/// Jᵀu = a u, one a per sample, which is its input. A rounded product is wrong by up to 1 in 256, by how much depends on u.
struct Slopes {
    is_rounded: bool,
    /// Products of one sample that were exact, and that were rounded.
    products: Arc<[AtomicUsize; 2]>,
}

impl RowMap<f64> for Slopes {
    fn apply(&self, _: &[&[f64]], _: &[f64], _: &mut [f64], _: &mut Scratch<f64>) {}

    fn linearize(
        &self,
        _: &[&[f64]],
        _: &[f64],
        _: &mut [f64],
        _: &mut [&mut [f64]],
        _: &mut Scratch<f64>,
    ) {
    }

    fn vjp(&self, x: &[&[f64]], _: &[&[f64]], u: &[f64], out: &mut [f64], _: &mut Scratch<f64>) {
        for ((a, &u), out) in x[0].iter().zip(u).zip(out) {
            let error = match self.is_rounded {
                // Some digits of u that are as good as random: from −1 to 1.
                true => (u.to_bits() >> 20) as u8 as f64 / 127.5 - 1.0,
                false => 0.0,
            };
            *out = a * u * (1.0 + error / 256.0);
            self.products[usize::from(self.is_rounded)].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn pull_back(
        &self,
        _: &[&[f64]],
        _: &[&[f64]],
        _: &[f64],
        _: &mut RowGradients<f64>,
        _: &mut Scratch<f64>,
    ) {
    }

    fn rounded(self: Arc<Self>) -> Option<Arc<dyn RowMap<f64>>> {
        let (is_rounded, products) = (true, self.products.clone());
        Some(Arc::new(Self {
            is_rounded,
            products,
        }))
    }
}

struct Outcome {
    u: Vec<f64>,
    samples: Vec<SampleReport>,
    /// Exact and rounded.
    products: [usize; 2],
}

/// Solves u = a u + v from u = v, twice with the same equation.
fn solve_adjoint(slopes: &[f64], v: &[f64], stop: &Stop) -> Outcome {
    let products = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let map = Arc::new(Slopes {
        is_rounded: false,
        products: products.clone(),
    });
    let (rows, none) = (0..slopes.len(), RowGradients::default());
    let mut space = SliceSpace::new(map, 1, rows, &[slopes], none);
    let [z, right, u] = [(); 3].map(|()| space.alloc().expect("memory"));
    space.linearize(z).expect("nothing can fail here");
    space.vectors_mut().write(right, v).expect("memory");
    let mut adjoint = AdjointMap::new(&mut space, right);
    let mut solve = || {
        adjoint.vectors_mut().write(u, v).expect("memory");
        let report = solve(&Damped::default(), &mut adjoint, u, stop);
        let samples = report.expect("nothing can fail here").samples;
        (adjoint.vectors().read(u).expect("host"), samples)
    };
    let (first, samples) = solve();
    let products = (*products)
        .each_ref()
        .map(|count| count.load(Ordering::Relaxed));
    let (second, again) = solve();
    assert_eq!((&first, &samples), (&second, &again));
    Outcome {
        u: first,
        samples,
        products,
    }
}

const SLOPES: [f64; 7] = [0.5, 0.9, -0.95, 3.0, 0.0, 0.25, -0.7];
const V: [f64; 7] = [1.0, -3.0, 0.5, 1.0, 2.0, 1e-3, 1e3];

fn stop(tolerance: f64) -> Stop {
    Stop {
        max_evaluations: 1000,
        divergence: 1e4,
        trace: true,
        rounded: true,
        ..Stop::at(Tolerance::relative(tolerance))
    }
}

#[test]
fn what_counts_as_solved_is_solved() {
    for power in 0..60 {
        let tolerance = 1e-3 * 0.8_f64.powi(power);
        let Outcome { u, samples, .. } = solve_adjoint(&SLOPES, &V, &stop(tolerance));
        let exact = Stop {
            rounded: false,
            ..stop(tolerance)
        };
        let exact = solve_adjoint(&SLOPES, &V, &exact);
        assert_eq!(exact.products[1], 0);
        for (index, slope) in SLOPES.into_iter().enumerate() {
            let (sample, reference) = (&samples[index], &exact.samples[index]);
            assert_eq!(sample.status, reference.status, "{slope}");
            if sample.status == Status::Converged {
                let value = slope * u[index] + V[index];
                let residual = (value - u[index]).abs();
                // Roundings in f64, and the norm of a value that was rounded, aside.
                assert!(residual <= sample.residual + 1e-14 * value.abs(), "{slope}");
                let bound = tolerance * value.abs() * (1.0 + 1.0 / 256.0);
                assert!(sample.residual <= bound, "{slope}: {residual:e}");
                // Some more where rounding changes values: a residual must be below the tolerance with it.
                let most = reference.steps + reference.steps / 10 + 4;
                assert!(sample.steps <= most, "{slope}: {} of {most}", sample.steps);
            }
        }
    }
}

#[test]
fn few_evaluations_are_exact() {
    for slope in [0.5, 0.9, -0.7_f64] {
        for tolerance in [1e-4, 1e-9_f64] {
            // From where one is exact to the solution it is residual / (1 − a) at most, so that 2⁻⁸ of the distance is a fifth
            // of the residual when that has shrunk by this factor.
            let shrinks = 5.0 / 256.0 / (1.0 - slope.abs());
            let most = 2 + (tolerance.ln() / shrinks.ln()).ceil() as usize;
            let Outcome {
                products: [exact, rounded],
                samples,
                ..
            } = solve_adjoint(&[slope], &[1.0], &stop(tolerance));
            assert_eq!(samples[0].rounded, rounded, "{slope}");
            assert_eq!(samples[0].evaluations, rounded + exact, "{slope}");
            assert!(
                (1..=most).contains(&exact) && rounded > 2 * exact,
                "{slope}, {tolerance}: {exact} of {}",
                exact + rounded
            );
        }
    }
}

#[test]
fn a_sample_does_not_know_its_batch_mates() {
    let batch = solve_adjoint(&SLOPES, &V, &stop(1e-7));
    let mut products = [0, 0];
    for (index, slope) in SLOPES.into_iter().enumerate() {
        let alone = solve_adjoint(&[slope], &V[index..=index], &stop(1e-7));
        assert_eq!(alone.u[0].to_bits(), batch.u[index].to_bits(), "{slope}");
        assert_eq!(
            format!("{:?}", alone.samples[0]),
            format!("{:?}", batch.samples[index]),
            "{slope}"
        );
        products[0] += alone.products[0];
        products[1] += alone.products[1];
    }
    assert_eq!(batch.products, products);
}
