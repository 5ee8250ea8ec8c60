//! What the solves of many passes add up to.

use equilibria_core::Report;

/// Sums over the solves of many passes.
#[derive(Default)]
pub struct Tally {
    solves: usize,
    steps: usize,
    unconverged: usize,
    /// The largest relative residual.
    pub residual: f64,
}

impl Tally {
    /// Adds the solves of one equilibrium.
    pub fn add(&mut self, report: &Report) {
        self.solves += report.samples.len();
        self.steps += report.evaluations();
        self.unconverged += report.unconverged();
        let worst = report
            .worst()
            .map_or(0.0, |(_, sample)| sample.relative_residual);
        self.residual = self.residual.max(worst);
    }

    /// Steps per solve.
    pub fn mean_steps(&self) -> f64 {
        self.steps as f64 / self.solves.max(1) as f64
    }

    /// Share of the solves that did not converge.
    pub fn unconverged_fraction(&self) -> f64 {
        self.unconverged as f64 / self.solves.max(1) as f64
    }
}
