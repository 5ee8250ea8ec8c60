//! `compat = "torchdeq"` visits the points of TorchDEQ. The recurrences are written down here as that library has them,
//! on plain vectors; those of Anderson acceleration are also compared with iterates it has computed itself (see the
//! program's `verify`).

use std::sync::Arc;

use equilibria_solvers as _;

use equilibria_core::plumbing::SliceSpace;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::json;
use equilibria_testing::{random_values, Recording};

const DIM: usize = 6;
const CALLS: usize = 14;

type Vector = Vec<f64>;

/// f(z) = tanh(W z + x) with a fixed W whose spectral radius is about 1.
fn f(z: &[f64]) -> Vector {
    let (w, x) = (random_values(DIM * DIM, 1), random_values(DIM, 2));
    let row = |i: usize| -> f64 { (0..DIM).map(|j| 0.4 * w[i * DIM + j] * z[j]).sum() };
    (0..DIM).map(|i| (row(i) + x[i]).tanh()).collect()
}

struct Tanh;

impl RowMap<f64> for Tanh {
    fn apply(&self, _: &[&[f64]], z: &[f64], out: &mut [f64], _: &mut Scratch<f64>) {
        for (z, out) in z.chunks_exact(DIM).zip(out.chunks_exact_mut(DIM)) {
            out.copy_from_slice(&f(z));
        }
    }
    fn linearize(
        &self,
        _: &[&[f64]],
        _: &[f64],
        _: &mut [f64],
        _: &mut [&mut [f64]],
        _: &mut Scratch<f64>,
    ) {
    }
    fn vjp(&self, _: &[&[f64]], _: &[&[f64]], _: &[f64], _: &mut [f64], _: &mut Scratch<f64>) {}
    fn pull_back(
        &self,
        _: &[&[f64]],
        _: &[&[f64]],
        _: &[f64],
        _: &mut RowGradients<f64>,
        _: &mut Scratch<f64>,
    ) {
    }
}

/// The points at which a solver evaluates f, from 0.
fn visited(config: equilibria_core::serde_json::Value) -> Vec<Vector> {
    let solver = registry::make::<dyn FixedPointSolver>(&config).expect("it parses");
    solver.validate().expect("in range");
    let none = RowGradients::default();
    let mut space = SliceSpace::new(Arc::new(Tanh), DIM, 0..1, &[], none);
    let z = space.alloc().expect("memory");
    let stop = Stop {
        max_evaluations: CALLS,
        patience: CALLS,
        ..Stop::at(Tolerance::absolute(0.0))
    };
    let mut recording = Recording::new(&mut space);
    solve(&*solver, &mut recording, z, &stop).expect("a solve");
    let points = recording.arguments.chunks_exact(DIM);
    points.map(<[f64]>::to_vec).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Σ c v.
fn sum(terms: &[(f64, &Vector)]) -> Vector {
    let entry = |i: usize| terms.iter().map(|(c, v)| c * v[i]).sum();
    (0..DIM).map(entry).collect()
}

/// Points agree to 1e-9: the recurrences are the same, roundings grow with every quasi-Newton update.
fn assert_same(got: &[Vector], expected: &[Vector]) {
    assert_eq!(got.len(), CALLS);
    for (call, (got, expected)) in got.iter().zip(expected).enumerate() {
        for (a, b) in got.iter().zip(expected) {
            assert!((a - b).abs() < 1e-9, "call {call}: {a} is not {b}");
        }
    }
}

#[test]
fn picard_is_damped_as_there() {
    let tau = 0.7;
    let mut points = vec![vec![0.0; DIM]];
    while points.len() < CALLS {
        let x = &points[points.len() - 1];
        points.push(sum(&[(tau, &f(x)), (1.0 - tau, x)]));
    }
    let config = json!({ "type": "picard", "damping": tau, "compat": "torchdeq" });
    assert_same(&visited(config), &points);
}

/// B⁻¹ = −I + Σ u vᵀ, vᵀ = Δxᵀ B⁻¹, u = (Δx − B⁻¹ Δg) / (v · Δg); terms are overwritten in turn.
fn broyden(memory: usize) -> Vec<Vector> {
    let g = |x: &Vector| sum(&[(1.0, &f(x)), (-1.0, x)]);
    let mut terms: Vec<(Vector, Vector)> = Vec::new();
    let mut x = vec![0.0; DIM];
    let mut gx = g(&x);
    let mut step = gx.clone();
    let mut points = vec![x.clone()];
    for n in 0..CALLS - 1 {
        let next = sum(&[(1.0, &x), (1.0, &step)]);
        let g_next = g(&next);
        let (dx, dg) = (step, sum(&[(1.0, &g_next), (-1.0, &gx)]));
        let mut v: Vector = dx.iter().map(|d| -d).collect();
        let mut inverse_dg: Vector = dg.iter().map(|d| -d).collect();
        for (u_l, v_l) in &terms {
            v = sum(&[(1.0, &v), (dot(&dx, u_l), v_l)]);
            inverse_dg = sum(&[(1.0, &inverse_dg), (dot(v_l, &dg), u_l)]);
        }
        let scale = 1.0 / dot(&v, &dg);
        let u = sum(&[(scale, &dx), (-scale, &inverse_dg)]);
        match terms.get_mut(n % memory) {
            Some(oldest) => *oldest = (u, v),
            None => terms.push((u, v)),
        }
        step = g_next.clone();
        for (u_l, v_l) in &terms {
            step = sum(&[(1.0, &step), (-dot(v_l, &g_next), u_l)]);
        }
        (x, gx) = (next, g_next);
        points.push(x.clone());
    }
    points
}

#[test]
fn broyden_overwrites_its_updates_as_there() {
    for memory in [3, 20] {
        let config = json!({ "type": "broyden", "memory": memory, "compat": "torchdeq" });
        assert_same(&visited(config), &broyden(memory));
    }
}

/// X₁ = F₀ whatever the mixing τ; then X_k = τ Σ α F + (1 − τ) Σ α X with α from the bordered system with ridge λ.
fn anderson(m: usize, tau: f64, lambda: f64) -> Vec<Vector> {
    let mut x = vec![vec![0.0; DIM]];
    let mut fx = vec![f(&x[0])];
    x.push(fx[0].clone());
    fx.push(f(&x[1]));
    while x.len() < CALLS {
        let first = x.len().saturating_sub(m);
        let g: Vec<Vector> = (first..x.len())
            .map(|k| sum(&[(1.0, &fx[k]), (-1.0, &x[k])]))
            .collect();
        let alpha = bordered(&g, lambda);
        let values = alpha.iter().zip(first..).map(|(a, k)| (tau * a, &fx[k]));
        let points = alpha
            .iter()
            .zip(first..)
            .map(|(a, k)| ((1.0 - tau) * a, &x[k]));
        let next = sum(&values.chain(points).collect::<Vec<_>>());
        fx.push(f(&next));
        x.push(next);
    }
    x
}

/// Solves [[0, 1ᵀ], [1, G Gᵀ + λ I]] [μ; α] = [1; 0] by Gaussian elimination with pivoting.
fn bordered(g: &[Vector], lambda: f64) -> Vector {
    let n = g.len() + 1;
    let entry = |i: usize, j: usize| match (i, j) {
        (0, 0) => 0.0,
        (0, _) | (_, 0) => 1.0,
        _ => dot(&g[i - 1], &g[j - 1]) + if i == j { lambda } else { 0.0 },
    };
    let mut rows: Vec<Vector> = (0..n)
        .map(|i| {
            (0..n)
                .map(|j| entry(i, j))
                .chain([f64::from(u8::from(i == 0))])
                .collect()
        })
        .collect();
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))
            .expect("a row");
        rows.swap(column, pivot);
        let head = rows[column].clone();
        for (index, row) in rows.iter_mut().enumerate() {
            if index != column {
                let factor = row[column] / head[column];
                row.iter_mut()
                    .zip(&head)
                    .for_each(|(r, h)| *r -= factor * h);
            }
        }
    }
    (1..n).map(|i| rows[i][n] / rows[i][i]).collect()
}

#[test]
fn anderson_mixes_as_there() {
    for (memory, tau) in [(3, 1.0), (5, 0.6)] {
        let config = json!({
            "type": "anderson", "memory": memory, "mixing": tau, "ridge": "absolute",
            "regularization": 1e-4, "compat": "torchdeq",
        });
        assert_same(&visited(config), &anderson(memory, tau, 1e-4));
    }
}

#[test]
fn a_relative_ridge_is_not_compatible() {
    let config = json!({ "type": "anderson", "compat": "torchdeq" });
    let solver = registry::make::<dyn FixedPointSolver>(&config).expect("it parses");
    let error = solver.validate().expect_err("refused").to_string();
    assert!(
        error.contains("`ridge` must be absolute with compat"),
        "{error}"
    );
}
