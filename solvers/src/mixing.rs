//! The points of Anderson acceleration and how they are mixed.

use equilibria_core::prelude::*;

use crate::forward::anderson::{Anderson, Ridge};
use crate::mixing_systems::MixingSystems;
use crate::Compat;

/// The history of one solve; point k sits in place k mod m.
pub(crate) struct Mixing {
    config: Anderson,
    values: Vec<Slot>,
    residuals: Vec<Slot>,
    evaluations: usize,
    /// Smallest residual of each sample.
    smallest: Vec<f64>,
    products: Vec<f64>,
    /// Places of the points that are mixed, from the newest to the oldest.
    places: Vec<usize>,
    /// Scratch memory: their residuals.
    mixed: Vec<Slot>,
    systems: MixingSystems,
}

impl Iteration for Mixing {
    fn advance(&mut self, space: &mut dyn Map, at: &mut Evaluation, next: Slot) -> Result<()> {
        let most = self.config.memory;
        self.remember(space, at, most)?;
        self.multiply(space)?;
        for (sample, &norm) in at.residual_norms.iter().enumerate() {
            self.extend(sample, norm, most);
        }
        self.mix(space, next)
    }

    fn permute(&mut self, swaps: &[(usize, usize)], _batch: usize) {
        for &(a, b) in swaps {
            self.smallest.swap(a, b);
            self.systems.swap(a, b);
        }
    }

    fn finish(&mut self, space: &mut dyn Map) -> LowRank {
        for slot in self.values.drain(..).chain(self.residuals.drain(..)) {
            space.release(slot);
        }
        LowRank::default()
    }
}

impl Mixing {
    /// Without any point, for the samples of `space`.
    pub fn new(config: Anderson, space: &dyn Map) -> Self {
        // More than dim + 1 residuals are dependent: the oldest would only blur the others.
        let m = match config.compat {
            Some(Compat::Torchdeq) => config.memory,
            None => config.memory.min(space.vectors().dim() + 1),
        };
        let batch = space.vectors().batch();
        let relative = config.ridge == Ridge::Relative;
        Self {
            values: Vec::with_capacity(m),
            residuals: Vec::with_capacity(m),
            evaluations: 0,
            smallest: vec![f64::INFINITY; batch],
            products: vec![0.0; batch * m],
            places: Vec::with_capacity(m),
            mixed: Vec::with_capacity(m),
            systems: MixingSystems::new(m, batch, config.regularization, relative),
            config: Anderson {
                memory: m,
                ..config
            },
        }
    }

    /// Stores an evaluation in place of the oldest one. `most` of the newest points are to be mixed.
    pub fn remember(
        &mut self,
        space: &mut dyn Map,
        at: &mut Evaluation,
        most: usize,
    ) -> Result<()> {
        let newest = self.evaluations % self.config.memory;
        self.evaluations += 1;
        if newest == self.values.len() {
            self.values.push(space.alloc()?);
            self.residuals.push(space.alloc()?);
        }
        std::mem::swap(&mut self.values[newest], &mut at.fz);
        std::mem::swap(&mut self.residuals[newest], &mut at.residual);
        let points = self.residuals.len();
        self.places.clear();
        (self.places).extend((0..points.min(most)).map(|age| (newest + points - age) % points));
        Ok(())
    }

    /// Multiplies the newest residual with those of all points that are to be mixed.
    pub fn multiply(&mut self, space: &mut dyn Map) -> Result<()> {
        let (places, newest) = (&self.places, self.places[0]);
        self.mixed.clear();
        (self.mixed).extend(places.iter().map(|&place| self.residuals[place]));
        let products = &mut self.products[..space.batch() * places.len()];
        space.dots(self.residuals[newest], &self.mixed, products)?;
        self.systems.insert(newest, places, products);
        Ok(())
    }

    /// Lets a sample mix one point more than before, `most` of them at most; its newest residual has this norm. One that has grown too
    /// much forgets all points but the newest.
    pub fn extend(&mut self, sample: usize, norm: f64, most: usize) {
        let smallest = &mut self.smallest[sample];
        let grown = self.config.compat.is_none() && norm > self.config.growth * *smallest;
        *smallest = smallest.min(norm);
        self.systems.extend(sample, if grown { 1 } else { most });
    }

    /// Lets a sample take its newest point alone, whose residual has this norm; whether that was multiplied does not matter.
    pub fn take_newest(&mut self, sample: usize, norm: f64) {
        self.smallest[sample] = self.smallest[sample].min(norm);
        self.systems
            .insert_square(self.places[0], sample, norm * norm);
        self.systems.extend(sample, 1);
    }

    /// Writes the newest value to `next`.
    pub fn step(&self, space: &mut dyn Map, next: Slot) -> Result<()> {
        space.combine(next, &[(Coef::Same(1.0), self.values[self.places[0]])])
    }

    /// Writes the next point by the weights that solve the systems: Σ α (z + β r).
    pub fn mix(&mut self, space: &mut dyn Map, next: Slot) -> Result<()> {
        self.systems.solve(&self.places, space.batch());
        // TorchDEQ takes its first step undamped.
        let undamped = self.evaluations == 1 && self.config.compat.is_some();
        let mixing = if undamped { 1.0 } else { self.config.mixing };
        let (weights, places) = (self.systems.weights(), &self.places);
        // In the order of their places, whatever the newest one: most of them stay where they were the step before.
        let mixed = |place: &usize| places.contains(place);
        let values = (0..self.values.len()).filter(mixed);
        let values = values.map(|place| (Coef::PerSample(&weights[place]), self.values[place]));
        combine_all(space, next, values)?;
        // Σ α (z + β r) = Σ α f(z) − (1 − β) Σ α r: with the usual β = 1 the residuals need not be read.
        #[allow(clippy::float_cmp)] // exactly 1 is the common case
        if mixing != 1.0 {
            for weight in weights.iter_mut().flatten() {
                *weight *= mixing - 1.0;
            }
            let rest = (0..self.residuals.len()).filter(mixed);
            let rest = rest.map(|place| (Coef::PerSample(&weights[place]), self.residuals[place]));
            combine_all(
                space,
                next,
                std::iter::once((Coef::Same(1.0), next)).chain(rest),
            )?;
        }
        Ok(())
    }
}
