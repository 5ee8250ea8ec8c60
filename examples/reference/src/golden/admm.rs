//! The alternating direction method of multipliers for a quadratic program: no layer of this framework, but arrays of its files, with the
//! same solution.

use super::layer::largest;
use super::ledger::Ledger;
use super::linear::{solve, times, transposed};
use super::tolerance::{SOLVED, STEP};
use super::zoo::Case;
use crate::Result;

/// `z⁺ = K⁻¹ (ρ Cᵀ(2 Π(w) − w) − p)`, `w⁺ = C z⁺ + w − Π(w)` with K = Q + ρ CᵀC, C = [A; G], and Π(w) = b on rows of A, min(w, h) on
/// those of G.
pub struct Admm<'g> {
    /// C, `[m, n]`.
    c: Vec<f64>,
    /// Cᵀ.
    turned: Vec<f64>,
    /// K, `[n, n]`.
    k: Vec<f64>,
    rho: f64,
    n: usize,
    m: usize,
    equalities: usize,
    p: &'g [f64],
    b: &'g [f64],
    h: &'g [f64],
}

impl Admm<'_> {
    /// Compares the arrays `admm.*`, if there are any; Q is `[n, n]`.
    pub fn compare<D>(case: &Case<D>, ledger: &mut Ledger, q: &[f64], batch: usize) -> Result<()> {
        let golden = &case.golden;
        if !golden.has("admm.fixed_point.z") {
            return Ok(());
        }
        let n = golden.count("param.L");
        let values = |name: &str| golden.arrays.get(name).map_or(&[][..], |a| &a.values[..]);
        let c = [values("param.A"), values("param.G")].concat();
        let (m, rho) = (c.len() / n, case.number("rho_admm")?);
        let turned = transposed(&c, n);
        let square = times(&turned, &turned, m);
        let admm = Admm {
            k: q.iter().zip(&square).map(|(q, c)| q + rho * c).collect(),
            c,
            turned,
            rho,
            n,
            m,
            equalities: golden.count("param.A"),
            p: values("input.p"),
            b: values("input.b"),
            h: values("input.h"),
        };
        let width = n + m;
        let solution = golden.need("fixed_point.z", batch * width)?;
        // w holds constraint and multiplier in one number.
        let joined = solution.chunks_exact(width).flat_map(|row| {
            let (z, multipliers) = row.split_at(n);
            let w = times(&admm.c, z, n).into_iter().zip(multipliers);
            let w = w.map(|(cz, multiplier)| cz + multiplier / rho);
            z.iter().copied().chain(w).collect::<Vec<_>>()
        });
        let joined: Vec<f64> = joined.collect();
        let mut check = |name: &str, got: &[f64], tolerance: f64| {
            ledger.compare(golden, name, got, tolerance * largest(golden, name));
        };
        check("admm.fixed_point.z", &joined, SOLVED);
        let rows = |all: &[f64]| -> Vec<Vec<f64>> {
            all.chunks_exact(width).map(<[f64]>::to_vec).collect()
        };
        let at = rows(golden.need("admm.step_rand.z", batch * width)?);
        let u = rows(golden.need("admm.step_rand.u", batch * width)?);
        let numbered = || at.iter().enumerate();
        let next: Vec<f64> = numbered().flat_map(|(row, z)| admm.step(row, z)).collect();
        check("admm.step_rand.f", &next, STEP);
        let products = numbered().flat_map(|(row, z)| admm.vjp(row, z, &u[row]));
        check("admm.step_rand.vjp", &products.collect::<Vec<_>>(), STEP);
        let slopes = golden.need("ift.dl_dz", batch * width)?.to_vec();
        let fixed = rows(golden.need("admm.fixed_point.z", batch * width)?);
        let adjoint = fixed.iter().enumerate().flat_map(|(row, z)| {
            let mut v = vec![0.0; width];
            v[..n].copy_from_slice(&slopes[row * width..][..n]);
            admm.adjoint(row, z, &v)
        });
        check(
            "admm.ift.adjoint",
            &adjoint.collect::<Vec<_>>(),
            10.0 * SOLVED,
        );
        ledger.input(golden, "admm.step_rand.z");
        ledger.input(golden, "admm.step_rand.u");
        Ok(())
    }

    /// Π(w) and its slopes.
    fn project(&self, row: usize, w: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let inequalities = self.m - self.equalities;
        let entry = |(index, &w): (usize, &f64)| match index.checked_sub(self.equalities) {
            None => (self.b[row * self.equalities + index], 0.0),
            Some(index) => {
                let h = self.h[row * inequalities + index];
                (w.min(h), if w < h { 1.0 } else { 0.0 })
            }
        };
        w.iter().enumerate().map(entry).unzip()
    }

    fn step(&self, row: usize, state: &[f64]) -> Vec<f64> {
        let w = &state[self.n..];
        let (projected, _) = self.project(row, w);
        let mirrored: Vec<f64> = projected.iter().zip(w).map(|(p, w)| 2.0 * p - w).collect();
        let p = &self.p[row * self.n..][..self.n];
        let right = times(&self.turned, &mirrored, self.m).into_iter().zip(p);
        let right: Vec<f64> = right.map(|(c, p)| self.rho * c - p).collect();
        let z = solve(&self.k, &right);
        let cz = times(&self.c, &z, self.n).into_iter();
        let w = cz
            .zip(w.iter().zip(&projected))
            .map(|(cz, (w, p))| cz + w - p);
        let w: Vec<f64> = w.collect();
        [z, w].concat()
    }

    /// `Jᵀ u`.
    fn vjp(&self, row: usize, state: &[f64], u: &[f64]) -> Vec<f64> {
        let (_, slopes) = self.project(row, &state[self.n..]);
        let (of_z, of_w) = u.split_at(self.n);
        let right = times(&self.turned, of_w, self.m).into_iter().zip(of_z);
        let right: Vec<f64> = right.map(|(c, u)| c + u).collect();
        let moved = times(&self.c, &solve(&self.k, &right), self.n);
        let w = moved.iter().zip(slopes.iter().zip(of_w));
        let w = w.map(|(c, (s, u))| self.rho * (2.0 * s - 1.0) * c + (1.0 - s) * u);
        vec![0.0; self.n].into_iter().chain(w).collect()
    }

    /// The solution of `y = Jᵀ y + v`.
    fn adjoint(&self, row: usize, state: &[f64], v: &[f64]) -> Vec<f64> {
        let width = v.len();
        let unit = |column: usize| -> Vec<f64> {
            (0..width)
                .map(|i| f64::from(u8::from(i == column)))
                .collect()
        };
        // Rows of J, which are columns of Jᵀ.
        let jacobian: Vec<f64> = (0..width)
            .flat_map(|column| self.vjp(row, state, &unit(column)))
            .collect();
        let matrix = super::linear::identity_plus(&transposed(&jacobian, width), width, -1.0);
        solve(&matrix, v)
    }
}
