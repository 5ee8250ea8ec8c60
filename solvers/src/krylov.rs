//! GMRES on the linear equations of all samples at once.

use equilibria_core::prelude::*;

use crate::combination::Combination;

/// GMRES for `(I − J) d = r` with `J = ∂f/∂z`, one small least-squares problem per sample.
///
/// Reference: Y. Saad, M. H. Schultz, GMRES, SIAM J. Sci. Stat. Comput. 7, 1986, algorithm 4; orthogonalization by
/// classical Gram-Schmidt twice (L. Giraud et al., Numer. Math. 101, 2005), which needs one pass over the basis each.
pub(crate) struct Gmres {
    /// Largest dimension of the Krylov space.
    size: usize,
    basis: Vec<Slot>,
    samples: Vec<Sample>,
    combination: Combination,
    /// Inner products of the newest column.
    entries: Vec<f64>,
    before: Vec<f64>,
    after: Vec<f64>,
    spoiled: Vec<usize>,
    swaps: Vec<(usize, usize)>,
}

/// The least-squares problem of one sample: H is reduced to triangular form R by rotations as it grows.
struct Sample {
    /// R by columns, column k in `k (k + 1) / 2 ..`.
    triangle: Vec<f64>,
    /// cosine and sine of each rotation.
    rotations: Vec<(f64, f64)>,
    /// The rotated right-hand side.
    rhs: Vec<f64>,
    /// The solution in terms of the basis.
    solution: Vec<f64>,
    /// Columns so far; no more are added once the sample is solved.
    columns: usize,
    /// The residual aimed at.
    target: f64,
    solved: bool,
}

/// Below this factor times the norm before, what is left after orthogonalization is rounding.
const BREAKDOWN: f64 = 1e2;

impl Gmres {
    pub fn new(size: usize, batch: usize) -> Self {
        let sample = |_| Sample {
            triangle: vec![0.0; size * (size + 1) / 2],
            rotations: vec![(1.0, 0.0); size],
            rhs: vec![0.0; size + 1],
            solution: vec![0.0; size],
            columns: 0,
            target: 0.0,
            solved: false,
        };
        Self {
            size,
            basis: Vec::with_capacity(size + 1),
            samples: (0..batch).map(sample).collect(),
            combination: Combination::default(),
            entries: vec![0.0; batch * (size + 1)],
            before: vec![0.0; batch],
            after: vec![0.0; batch],
            spoiled: Vec::with_capacity(batch),
            swaps: Vec::with_capacity(batch),
        }
    }

    /// Writes `d` so that `‖r − (I − J) d‖ ≤ targets` per sample, or as small as the size of the space allows. `J` is
    /// taken where `space` is linearized. Samples with `‖r‖` within their target get d = 0 and cost nothing.
    pub fn solve(&mut self, space: &mut dyn Map, r: Slot, d: Slot, targets: &[f64]) -> Result<()> {
        let batch = space.batch();
        while self.basis.len() <= self.size {
            self.basis.push(space.alloc()?);
        }
        let scales = &mut self.before[..batch];
        space.dots(r, &[r], scales)?;
        for (sample, (scale, &target)) in scales.iter_mut().zip(targets).enumerate() {
            let norm = scale.sqrt();
            *scale = self.samples[sample].begin(norm, target);
        }
        space.combine(self.basis[0], &[(Coef::PerSample(scales), r)])?;
        let mut swaps = std::mem::take(&mut self.swaps);
        for column in 0..self.size {
            // Solved samples leave, as they do in the solve loop: nobody waits for the slowest.
            let first = swaps.len();
            let active = self.retire(space.batch(), &mut swaps);
            space.vectors_mut().permute(&swaps[first..], active)?;
            if active == 0 {
                break;
            }
            self.extend(space, column)?;
        }
        swaps.reverse();
        for &(a, b) in &swaps {
            self.samples.swap(a, b);
        }
        space.vectors_mut().permute(&swaps, batch)?;
        swaps.clear();
        self.swaps = swaps;
        self.collect(space, d)
    }

    /// Moves the solved ones of the first `batch` samples behind the others; appends the exchanges, returns how many are
    /// left.
    fn retire(&mut self, batch: usize, swaps: &mut Vec<(usize, usize)>) -> usize {
        let mut left = batch;
        for row in (0..batch).rev() {
            if self.samples[row].solved {
                left -= 1;
                if row != left {
                    self.samples.swap(row, left);
                    swaps.push((row, left));
                }
            }
        }
        left
    }

    /// Adds one column: a product with I − J, made orthogonal to the basis.
    fn extend(&mut self, space: &mut dyn Map, column: usize) -> Result<()> {
        let batch = space.batch();
        let (newest, next) = (self.basis[column], self.basis[column + 1]);
        space.jvp(newest, next)?;
        space.combine(next, &[(Coef::Same(1.0), newest), (Coef::Same(-1.0), next)])?;
        let (before, after) = (&mut self.before[..batch], &mut self.after[..batch]);
        space.dots(next, &[next], before)?;

        let count = column + 1;
        let entries = &mut self.entries[..batch * count];
        entries.fill(0.0);
        let basis = (&self.basis[..count], &self.basis[..count]);
        for _ in 0..2 {
            let products = self.combination.project(space, next, next, basis, -1.0)?;
            entries.iter_mut().zip(products).for_each(|(h, p)| *h += p);
        }
        space.dots(next, &[next], after)?;
        let noise = BREAKDOWN * space.epsilon();
        for (sample, after) in after.iter_mut().enumerate() {
            let norm = after.sqrt();
            let rest = if norm > noise * before[sample].sqrt() {
                norm
            } else {
                0.0
            };
            let own = &entries[sample * count..][..count];
            *after = self.samples[sample].extend(own, rest);
        }
        space.combine(next, &[(Coef::PerSample(after), next)])?;
        // What is not finite must not meet the coefficient 0 later on: 0 · NaN is NaN.
        self.spoiled.clear();
        let spoiled = |&sample: &usize| !before[sample].is_finite();
        self.spoiled.extend((0..batch).filter(spoiled));
        space.copy_rows(self.basis[0], next, &self.spoiled)
    }

    /// `d = Σ_k y_k v_k`.
    fn collect(&mut self, space: &mut dyn Map, d: Slot) -> Result<()> {
        let samples = &mut self.samples[..space.batch()];
        samples.iter_mut().for_each(Sample::finish);
        let columns = samples.iter().map(|sample| sample.columns);
        let count = columns.max().unwrap_or(0);
        let coefficients = (0..count).map(|k| samples.iter().map(move |sample| sample.solution[k]));
        self.combination
            .combine(space, d, coefficients, &self.basis)
    }

    /// Gives all slots back.
    pub fn release(&mut self, space: &mut dyn Map) {
        self.basis.drain(..).for_each(|slot| space.release(slot));
    }
}

impl Sample {
    /// Begins with a right-hand side of this norm; returns the factor that makes it a unit vector.
    fn begin(&mut self, norm: f64, target: f64) -> f64 {
        (self.columns, self.target) = (0, target);
        self.rhs.fill(0.0);
        self.solution.fill(0.0);
        self.rhs[0] = norm;
        self.solved = !(norm > target && norm.is_finite());
        if self.solved {
            0.0
        } else {
            1.0 / norm
        }
    }

    /// Adds the column `(own, rest)` of H; returns the factor that makes the new direction a unit vector, 0 if the
    /// sample needs no other one.
    fn extend(&mut self, own: &[f64], rest: f64) -> f64 {
        if self.solved {
            return 0.0;
        }
        let k = self.columns;
        let column = &mut self.triangle[k * (k + 1) / 2..][..=k];
        column.copy_from_slice(own);
        for (row, &(cosine, sine)) in self.rotations[..k].iter().enumerate() {
            let (upper, lower) = (column[row], column[row + 1]);
            column[row] = cosine * upper + sine * lower;
            column[row + 1] = cosine * lower - sine * upper;
        }
        let length = column[k].hypot(rest);
        if length <= 0.0 || !length.is_finite() {
            // I − J maps the newest direction to nothing new: it cannot help.
            self.solved = true;
            return 0.0;
        }
        let (cosine, sine) = (column[k] / length, rest / length);
        column[k] = length;
        self.rotations[k] = (cosine, sine);
        self.rhs[k + 1] = -sine * self.rhs[k];
        self.rhs[k] *= cosine;
        self.columns += 1;
        self.solved = self.rhs[k + 1].abs() <= self.target || rest <= 0.0;
        if self.solved {
            0.0
        } else {
            1.0 / rest
        }
    }

    /// Solves R y = rhs.
    fn finish(&mut self) {
        for row in (0..self.columns).rev() {
            let later = row + 1..self.columns;
            let known: f64 = later
                .map(|k| self.triangle[k * (k + 1) / 2 + row] * self.solution[k])
                .sum();
            let pivot = self.triangle[row * (row + 1) / 2 + row];
            self.solution[row] = (self.rhs[row] - known) / pivot;
        }
    }
}
