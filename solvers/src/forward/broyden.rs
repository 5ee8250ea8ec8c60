//! Broyden's method.

use equilibria_core::prelude::*;

use crate::Compat;

plugin! {
    /// Broyden's good method with limited memory: a quasi-Newton iteration that learns (I − J)⁻¹ from its own steps.
    ///
    /// With g = f(z) − z and H ≈ (I − J)⁻¹, H = I at first: z ← z + H g. After each step, with s = Δz and y = −Δg, the
    /// rank-one update H ← H + (s − H y) (sᵀH) / (sᵀH y) makes H y = s. The last `memory` updates are kept, the oldest is
    /// overwritten. Per sample; an update whose denominator is nearly 0 is left out, and a sample whose residual grows
    /// beyond `growth` times its smallest starts again from H = I at the point where it was smallest.
    ///
    /// Converges locally superlinearly where I − J is regular (with enough memory), also for spectral radii above 1. Cost
    /// per step: one evaluation, 2 · `memory` inner products and combinations; memory 2 · `memory` + 6 vectors. What it
    /// learns can be reused for the adjoint equation: see the backward strategy `shine`.
    ///
    /// Reference: C. G. Broyden, Math. Comp. 19, 1965; C. T. Kelley, Iterative Methods for Linear and Nonlinear Equations,
    /// SIAM 1995, §7.3.
    pub struct Broyden: FixedPointSolver {
        /// Rank-one updates kept, at least 1.
        pub memory: usize = 20,
        /// Growth of the residual over its smallest value that restarts a sample, above 1. Dimensionless.
        pub growth: f64 = 10.0,
        /// `"torchdeq"`: its recurrence, without safeguards.
        pub compat: Option<Compat> = None,
    }
}

#[typetag::serde(name = "broyden")]
impl FixedPointSolver for Broyden {
    fn validate(&self) -> Result<()> {
        let (memory, growth) = (self.memory, self.growth);
        Error::require(memory >= 1, "broyden", "memory", "at least 1", memory)?;
        Error::require(growth > 1.0, "broyden", "growth", "above 1", growth)
    }

    fn start(&self, space: &mut dyn StateSpace, _: Tolerance) -> Result<Box<dyn Iteration>> {
        let mut slots = || space.alloc();
        let (before, best) = ([slots()?, slots()?], [slots()?, slots()?]);
        let (s, y, a, b) = (slots()?, slots()?, slots()?, slots()?);
        Ok(Box::new(QuasiNewton {
            config: self.clone(),
            terms: Vec::with_capacity(self.memory),
            updates: 0,
            before,
            best,
            s,
            y,
            a,
            b,
            smallest: vec![f64::INFINITY; space.batch()],
            fresh: vec![true; space.batch()],
        }))
    }
}

/// H = I + Σ_k a_k b_kᵀ and the point before.
struct QuasiNewton {
    config: Broyden,
    terms: Vec<(Slot, Slot)>,
    updates: usize,
    /// z and g of the step before.
    before: [Slot; 2],
    /// z and g where the residual was smallest.
    best: [Slot; 2],
    s: Slot,
    y: Slot,
    /// The update in the making.
    a: Slot,
    b: Slot,
    /// ‖g‖ there.
    smallest: Vec<f64>,
    /// Whether a sample has no step behind it since its start or restart.
    fresh: Vec<bool>,
}

/// Smallest |sᵀH y| / (‖s‖ ‖H y‖) of an update: below it, the update would be mostly rounding.
const DEGENERATE: f64 = 1e-8;

impl Iteration for QuasiNewton {
    fn advance(&mut self, space: &mut dyn StateSpace, at: Evaluation, next: Slot) -> Result<()> {
        let restarted = self.watch(space, at)?;
        if self.fresh[..space.batch()].contains(&false) {
            self.update(space, at)?;
        }
        let (z, g) = (self.before[0], self.before[1]);
        space.combine(z, &[(Coef::Same(1.0), at.z)])?;
        space.combine(g, &[(Coef::Same(1.0), at.residual)])?;
        space.copy_rows(self.best[0], z, &restarted)?;
        space.copy_rows(self.best[1], g, &restarted)?;
        self.forget(space, &restarted)?;
        for (sample, fresh) in self.fresh[..space.batch()].iter_mut().enumerate() {
            *fresh = restarted.contains(&sample);
        }
        self.product(space, g, next)?;
        space.combine(next, &[(Coef::Same(1.0), z), (Coef::Same(1.0), next)])
    }

    fn permute(&mut self, swaps: &[(usize, usize)], _batch: usize) {
        for &(a, b) in swaps {
            self.smallest.swap(a, b);
            self.fresh.swap(a, b);
        }
    }

    fn finish(&mut self, space: &mut dyn StateSpace) -> LowRank {
        for slot in self
            .before
            .into_iter()
            .chain(self.best)
            .chain([self.s, self.y, self.a, self.b])
        {
            space.release(slot);
        }
        LowRank {
            terms: std::mem::take(&mut self.terms),
        }
    }
}

impl QuasiNewton {
    /// Keeps the point with the smallest residual; returns the samples that are to start again from theirs.
    fn watch(&mut self, space: &mut dyn StateSpace, at: Evaluation) -> Result<Vec<usize>> {
        let mut squares = vec![0.0; space.batch()];
        space.dots(at.residual, &[at.residual], &mut squares)?;
        let (mut improved, mut restarted) = (Vec::new(), Vec::new());
        for (sample, (square, smallest)) in squares.iter().zip(&mut self.smallest).enumerate() {
            let norm = square.sqrt();
            if norm < *smallest {
                *smallest = norm;
                improved.push(sample);
            } else if self.config.compat.is_none() && norm > self.config.growth * *smallest {
                restarted.push(sample);
            }
        }
        space.copy_rows(at.z, self.best[0], &improved)?;
        space.copy_rows(at.residual, self.best[1], &improved)?;
        Ok(restarted)
    }

    /// Learns from the step that led here: a = (s − H y) / (sᵀH y), b = Hᵀs.
    fn update(&mut self, space: &mut dyn StateSpace, at: Evaluation) -> Result<()> {
        let (a, b) = (self.a, self.b);
        let [z, g] = self.before;
        space.combine(self.s, &[(Coef::Same(1.0), at.z), (Coef::Same(-1.0), z)])?;
        space.combine(
            self.y,
            &[(Coef::Same(1.0), g), (Coef::Same(-1.0), at.residual)],
        )?;
        self.product(space, self.y, a)?;
        self.transposed_product(space, self.s, b)?;

        let batch = space.batch();
        let (mut denominator, mut s, mut hy) =
            (vec![0.0; batch], vec![0.0; batch], vec![0.0; batch]);
        space.dots(self.s, &[a], &mut denominator)?;
        space.dots(self.s, &[self.s], &mut s)?;
        space.dots(a, &[a], &mut hy)?;
        let scale = |sample: usize| {
            let scale = 1.0 / denominator[sample];
            let sound = denominator[sample].abs() > DEGENERATE * (s[sample] * hy[sample]).sqrt();
            let usable = match self.config.compat {
                Some(Compat::Torchdeq) => scale.is_finite(),
                None => sound && scale.is_finite() && !self.fresh[sample],
            };
            if usable {
                scale
            } else {
                0.0
            }
        };
        let scales: Vec<f64> = (0..batch).map(scale).collect();
        let minus: Vec<f64> = scales.iter().map(|scale| -scale).collect();
        space.combine(
            a,
            &[
                (Coef::PerSample(&scales), self.s),
                (Coef::PerSample(&minus), a),
            ],
        )?;
        // The oldest update has taken part so far; now it makes room.
        let place = self.updates % self.config.memory;
        if place == self.terms.len() {
            self.terms.push((space.alloc()?, space.alloc()?));
        }
        let oldest = std::mem::replace(&mut self.terms[place], (a, b));
        (self.a, self.b) = oldest;
        self.updates += 1;
        Ok(())
    }

    /// Back to H = I for the given samples.
    fn forget(&mut self, space: &mut dyn StateSpace, samples: &[usize]) -> Result<()> {
        if samples.is_empty() {
            return Ok(());
        }
        let mut keep = vec![1.0; space.batch()];
        samples.iter().for_each(|&sample| keep[sample] = 0.0);
        for &(a, _) in &self.terms {
            space.combine(a, &[(Coef::PerSample(&keep), a)])?;
        }
        Ok(())
    }

    /// `out = H v`.
    fn product(&self, space: &mut dyn StateSpace, v: Slot, out: Slot) -> Result<()> {
        let (a, b): (Vec<Slot>, Vec<Slot>) = self.terms.iter().copied().unzip();
        add_terms(space, v, &b, &a, out)
    }

    /// `out = Hᵀ v`.
    fn transposed_product(&self, space: &mut dyn StateSpace, v: Slot, out: Slot) -> Result<()> {
        let (a, b): (Vec<Slot>, Vec<Slot>) = self.terms.iter().copied().unzip();
        add_terms(space, v, &a, &b, out)
    }
}

/// `out = v + Σ_k ⟨left_k, v⟩ right_k`.
fn add_terms(
    space: &mut dyn StateSpace,
    v: Slot,
    left: &[Slot],
    right: &[Slot],
    out: Slot,
) -> Result<()> {
    let (batch, count) = (space.batch(), left.len());
    let mut products = vec![0.0; batch * count];
    space.dots(v, left, &mut products)?;
    let coefficients: Vec<Vec<f64>> = (0..count)
        .map(|k| products[k..].iter().step_by(count).copied().collect())
        .collect();
    let mut terms = vec![(Coef::Same(1.0), v)];
    let pairs = coefficients.iter().zip(right);
    terms.extend(pairs.map(|(c, &slot)| (Coef::PerSample(c), slot)));
    space.combine(out, &terms)
}
