//! The small least-squares problems of Anderson acceleration, those of several samples side by side.

use equilibria_core::simd::Simd;
use equilibria_core::{vectorized, Element};

/// Samples side by side. One after the other, each number of a system would wait for the one before.
const LANES: usize = 8;

/// One number of each sample of a group.
type Group = [f64; LANES];

/// The problems min αᵀHα subject to Σα = 1 of a batch, H = G + ridge, G the inner products of residuals.
pub(crate) struct MixingSystems {
    /// Points in a full history, m.
    memory: usize,
    /// Added to the diagonal of G, which is divided by its largest diagonal entry first if `relative`.
    ridge: f64,
    relative: bool,
    /// G, `[groups, m, m]`.
    gram: Vec<Group>,
    /// How many of its newest points each sample mixes, `[groups]`.
    mixed: Vec<Group>,
    /// α, `[m, batch]`.
    weights: Vec<Vec<f64>>,
    /// Scratch memory: L of H = L Lᵀ, with the inverse of its diagonal in place of the diagonal, and a solution.
    factor: Vec<Group>,
    solution: Vec<Group>,
}

impl MixingSystems {
    /// Systems of `batch` samples without any point.
    pub fn new(memory: usize, batch: usize, ridge: f64, relative: bool) -> Self {
        let groups = batch.div_ceil(LANES);
        Self {
            memory,
            ridge,
            relative,
            gram: vec![Group::default(); groups * memory * memory],
            mixed: vec![Group::default(); groups],
            weights: vec![vec![0.0; groups * LANES]; memory],
            factor: vec![Group::default(); memory * memory],
            solution: vec![Group::default(); memory],
        }
    }

    /// α of every sample, one vector over the batch per point.
    pub fn weights(&mut self) -> &mut [Vec<f64>] {
        &mut self.weights
    }

    /// Sets the inner products of point `newest` with those in `places`, `[batch, places]`.
    pub fn insert(&mut self, newest: usize, places: &[usize], products: &[f64]) {
        let m = self.memory;
        for (sample, products) in products.chunks_exact(places.len()).enumerate() {
            let gram = &mut self.gram[sample / LANES * m * m..][..m * m];
            for (&other, &product) in places.iter().zip(products) {
                gram[newest * m + other][sample % LANES] = product;
                gram[other * m + newest][sample % LANES] = product;
            }
        }
    }

    /// Sets the inner product of point `newest` with itself, of one sample.
    pub fn insert_square(&mut self, newest: usize, sample: usize, square: f64) {
        let m = self.memory;
        self.gram[sample / LANES * m * m + newest * m + newest][sample % LANES] = square;
    }

    /// Lets a sample mix one point more than before, `most` of them at most.
    pub fn extend(&mut self, sample: usize, most: usize) {
        let mixed = &mut self.mixed[sample / LANES][sample % LANES];
        *mixed = (*mixed + 1.0).min(most.min(self.memory) as f64);
    }

    /// Exchanges two samples.
    pub fn swap(&mut self, a: usize, b: usize) {
        let block = self.memory * self.memory;
        let place = |sample: usize| (sample / LANES, sample % LANES);
        let ((a, a_lane), (b, b_lane)) = (place(a), place(b));
        let swap = |entries: &mut [Group], (a, b): (usize, usize)| {
            let (x, y) = (entries[a][a_lane], entries[b][b_lane]);
            (entries[a][a_lane], entries[b][b_lane]) = (y, x);
        };
        swap(&mut self.mixed, (a, b));
        for entry in 0..block {
            swap(&mut self.gram, (a * block + entry, b * block + entry));
        }
    }

    /// Solves the systems of the first `batch` samples. `places` of points go from the newest to the oldest. A sample whose
    /// H is not positive definite takes its newest point alone.
    pub fn solve(&mut self, places: &[usize], batch: usize) {
        let block = self.memory * self.memory;
        let groups = self.gram.chunks_exact(block).zip(&self.mixed);
        for (group, (gram, mixed)) in groups.take(batch.div_ceil(LANES)).enumerate() {
            let system = System {
                gram,
                mixed,
                places,
                memory: self.memory,
                ridge: self.ridge,
                relative: self.relative,
            };
            minimize(system, &mut self.factor, &mut self.solution);
            let samples = group * LANES..(group + 1) * LANES;
            for (&place, solution) in places.iter().zip(&self.solution) {
                self.weights[place][samples.clone()].copy_from_slice(solution);
            }
            for (lane, sample) in samples.enumerate() {
                let solution = self.solution[..places.len()].iter();
                if !solution.map(|x| x[lane]).sum::<f64>().is_finite() {
                    places
                        .iter()
                        .for_each(|&place| self.weights[place][sample] = 0.0);
                    self.weights[places[0]][sample] = 1.0;
                }
            }
        }
    }
}

/// The problems of one group.
struct System<'a, E> {
    gram: &'a [[E; LANES]],
    mixed: &'a [E; LANES],
    places: &'a [usize],
    memory: usize,
    ridge: f64,
    relative: bool,
}

vectorized! {
    /// α = H⁻¹1 / 1ᵀH⁻¹1, by Cholesky; not finite where H is not positive definite.
    fn minimize<'a, E, S>(
        simd: S,
        system: System<'a, E>,
        factor: &'a mut [[E; LANES]],
        solution: &'a mut [[E; LANES]],
    ) {
        for index in 0..LANES / E::count::<S>() {
            system.minimize(Register { simd, index }, factor, solution);
        }
    }
}

/// The samples of a group that are in one register.
#[derive(Clone, Copy)]
struct Register<S> {
    simd: S,
    index: usize,
}

impl<S: Simd> Register<S> {
    #[inline(always)]
    fn get<E: Element>(self, group: &[E; LANES]) -> E::Vector<S> {
        E::vectors::<S>(group).0[self.index]
    }

    #[inline(always)]
    fn set<E: Element>(self, group: &mut [E; LANES], value: E::Vector<S>) {
        E::vectors_mut::<S>(group).0[self.index] = value;
    }

    /// `entry ← entry − factor · other`.
    #[inline(always)]
    fn subtract<E: Element>(
        self,
        entry: &mut [E; LANES],
        factor: E::Vector<S>,
        other: &[E; LANES],
    ) {
        let product = E::times(self.simd, factor, self.get(other));
        self.set(entry, E::minus(self.simd, self.get(entry), product));
    }
}

impl<E: Element> System<'_, E> {
    /// [`minimize`] for the samples of one register.
    #[inline(always)]
    fn minimize<S: Simd>(&self, of: Register<S>, l: &mut [[E; LANES]], x: &mut [[E; LANES]]) {
        let n = self.places.len();
        self.assemble(of, l, x);
        eliminate(of, n, l, x);
        let sum = substitute(of, n, l, x);
        for x in &mut x[..n] {
            of.set(x, E::divide(of.simd, of.get(x), sum));
        }
    }

    /// Writes the lower triangle of H to `l`, and 1 to `x`. Points that a sample does not mix are rows of the identity, with 0 on
    /// the right.
    #[inline(always)]
    fn assemble<S: Simd>(&self, of: Register<S>, l: &mut [[E; LANES]], x: &mut [[E; LANES]]) {
        let (simd, n) = (of.simd, self.places.len());
        let [zero, one] = [E::splat(simd, E::zero()), E::splat(simd, E::one())];
        let mixed = of.get(self.mixed);
        let ridge = E::splat(simd, E::of(self.ridge));
        let inverse = match self.relative {
            true => E::divide(simd, one, self.largest(of)),
            false => one,
        };
        for row in 0..n {
            let age = E::splat(simd, E::of(row as f64));
            for column in 0..=row {
                let gram = self.gram(of, row, column);
                let (entry, absent) = match row == column {
                    true => (E::fused(simd, gram, inverse, ridge), one),
                    false => (E::times(simd, gram, inverse), zero),
                };
                of.set(
                    &mut l[row * n + column],
                    E::if_less(simd, age, mixed, entry, absent),
                );
            }
            of.set(&mut x[row], E::if_less(simd, age, mixed, one, zero));
        }
    }

    /// The largest diagonal entry of G among the points that a sample mixes.
    #[inline(always)]
    fn largest<S: Simd>(&self, of: Register<S>) -> E::Vector<S> {
        let (simd, mixed) = (of.simd, of.get(self.mixed));
        let zero = E::splat(simd, E::zero());
        let mut largest = zero;
        for row in 0..self.places.len() {
            let age = E::splat(simd, E::of(row as f64));
            let own = E::if_less(simd, age, mixed, self.gram(of, row, row), zero);
            largest = E::if_less(simd, largest, own, own, largest);
        }
        largest
    }

    #[inline(always)]
    fn gram<S: Simd>(&self, of: Register<S>, row: usize, column: usize) -> E::Vector<S> {
        of.get(&self.gram[self.places[row] * self.memory + self.places[column]])
    }
}

/// From H to L with H = L Lᵀ, and from the right-hand side to y with L y = x, in place. What a factor is multiplied with is
/// subtracted as soon as the factor is known, so that few numbers wait for each other.
#[inline(always)]
fn eliminate<E: Element, S: Simd>(
    of: Register<S>,
    n: usize,
    l: &mut [[E; LANES]],
    x: &mut [[E; LANES]],
) {
    let simd = of.simd;
    let one = E::splat(simd, E::one());
    for k in 0..n {
        let pivot = E::divide(simd, one, E::root(simd, of.get(&l[k * n + k])));
        of.set(&mut l[k * n + k], pivot);
        for row in k + 1..n {
            let scaled = E::times(simd, of.get(&l[row * n + k]), pivot);
            of.set(&mut l[row * n + k], scaled);
            for column in k + 1..=row {
                let other = l[column * n + k];
                of.subtract(&mut l[row * n + column], scaled, &other);
            }
        }
        let known = E::times(simd, of.get(&x[k]), pivot);
        of.set(&mut x[k], known);
        for row in k + 1..n {
            of.subtract(&mut x[row], known, &l[row * n + k]);
        }
    }
}

/// Solves Lᵀ x = y in place; returns the sum of x.
#[inline(always)]
fn substitute<E: Element, S: Simd>(
    of: Register<S>,
    n: usize,
    l: &[[E; LANES]],
    x: &mut [[E; LANES]],
) -> E::Vector<S> {
    let simd = of.simd;
    let mut sum = E::splat(simd, E::zero());
    for row in (0..n).rev() {
        let value = E::times(simd, of.get(&x[row]), of.get(&l[row * n + row]));
        of.set(&mut x[row], value);
        sum = E::plus(simd, sum, value);
        for k in 0..row {
            of.subtract(&mut x[k], value, &l[row * n + k]);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use equilibria_testing::random_values;

    use super::*;

    const POINTS: usize = 5;
    const BATCH: usize = 11;
    const RIDGE: f64 = 1e-3;

    /// ⟨a, b⟩ of the residuals of a sample in two points.
    struct Products(Vec<Vec<f64>>);

    impl Products {
        fn of(&self, sample: usize, a: usize, b: usize) -> f64 {
            let row = |point: usize| &self.0[point][sample * 8..][..8];
            row(a).iter().zip(row(b)).map(|(a, b)| a * b).sum()
        }
    }

    /// Random residuals of all samples in all points, of which sample s mixes the 1 + s mod 5 newest.
    fn systems() -> (MixingSystems, Products) {
        let mut systems = MixingSystems::new(POINTS, BATCH, RIDGE, true);
        let vectors = (0..POINTS as u64).map(|point| random_values(8 * BATCH, point));
        let products = Products(vectors.collect());
        for newest in 0..POINTS {
            let all = (0..BATCH).flat_map(|sample| (0..=newest).map(move |other| (sample, other)));
            let all: Vec<f64> = all
                .map(|(s, other)| products.of(s, newest, other))
                .collect();
            let places: Vec<usize> = (0..=newest).collect();
            systems.insert(newest, &places, &all);
        }
        for sample in 0..BATCH {
            for _ in 0..=sample % POINTS {
                systems.extend(sample, POINTS);
            }
        }
        (systems, products)
    }

    /// Eleven samples, two groups: the conditions of the minimum, Hα = λ1 and Σα = 1, in the points that a sample mixes.
    #[test]
    fn every_sample_has_its_own_minimum() {
        let (mut systems, products) = systems();
        let places = [4, 3, 2, 1, 0];
        systems.solve(&places, BATCH);
        for sample in 0..BATCH {
            let (mixed, forgotten) = places.split_at(1 + sample % POINTS);
            let weight = |place: &usize| systems.weights[*place][sample];
            assert!(forgotten.iter().all(|place| weight(place).abs() < 1e-300));
            let sum: f64 = mixed.iter().map(weight).sum();
            approx::assert_relative_eq!(sum, 1.0, epsilon = 1e-12);
            let diagonal = mixed.iter().map(|&place| products.of(sample, place, place));
            let largest = diagonal.fold(0.0, f64::max);
            let slope = |&row: &usize| -> f64 {
                let terms = mixed.iter().map(|place| {
                    let ridge = if row == *place { RIDGE } else { 0.0 };
                    (products.of(sample, row, *place) / largest + ridge) * weight(place)
                });
                terms.sum()
            };
            // The condition of H is at most some 1e4 here.
            for row in mixed {
                approx::assert_relative_eq!(slope(row), slope(&mixed[0]), epsilon = 1e-11);
            }
        }
    }

    #[test]
    fn a_singular_sample_takes_its_newest_point_and_leaves_the_others_alone() {
        let mut systems = MixingSystems::new(2, 2, 0.0, true);
        systems.insert(0, &[0], &[1.0, 1.0]);
        // The same residual twice, and two that are orthogonal.
        systems.insert(1, &[0, 1], &[1.0, 1.0, 0.0, 1.0]);
        for sample in [0, 0, 1, 1] {
            systems.extend(sample, 2);
        }
        systems.solve(&[1, 0], 2);
        let [old, new] = [0, 1].map(|place| &systems.weights[place][..2]);
        approx::assert_relative_eq!(old, [0.0, 0.5].as_slice());
        approx::assert_relative_eq!(new, [1.0, 0.5].as_slice());
        systems.swap(0, 1);
        systems.solve(&[1, 0], 2);
        approx::assert_relative_eq!(systems.weights[0][..2], [0.5, 0.0]);
    }
}
