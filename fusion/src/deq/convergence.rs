//! How the fused state settles, step by step: figure 3 and table 9.

use std::ops::Range;

use equilibria_core::measure::relative_difference;
use equilibria_core::prelude::*;
use equilibria_core::{solve, Equilibrium};

/// The relative difference norms `‖z^[i+1] − z^[i]‖ / ‖z^[i]‖`, i = 1, 2, …, of one sample.
pub type Differences = Vec<f64>;

/// Solves the layer of `equilibrium` from 0 for `steps` steps, whatever the residual, and follows the entries `part` of
/// the state. Returns one list of `steps` numbers per sample.
pub(crate) fn solver_differences<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D>>(
    equilibrium: &Equilibrium<L>,
    x: &[Matrix<E, D>],
    part: Range<usize>,
    steps: usize,
) -> Result<Vec<Differences>> {
    let stop = Stop {
        tolerance: Tolerance::absolute(0.0),
        max_evaluations: steps + 2,
        patience: steps + 2,
        divergence: f64::INFINITY,
        on_unconverged: OnUnconverged::Accept,
        trace: false,
        certify: false,
        rounded: false,
    };
    let solver = &*equilibrium.solver;
    let blocks = equilibrium.inspect(&[], x, |space, _| {
        let z = space.alloc()?;
        let mut watch = Watch::new(space, part.clone());
        solve(solver, &mut watch, z, &stop)?;
        Ok(watch.differences)
    })?;
    let mut all = blocks.concat();
    for differences in &mut all {
        // A sample that is solved exactly has left; what it would do from then on is nothing.
        differences.resize(steps, 0.0);
    }
    Ok(all)
}

/// A map that compares the points at which it is evaluated, from the second on.
struct Watch<'s> {
    inner: &'s mut dyn Map,
    part: Range<usize>,
    /// The last point of each sample; empty before the second one.
    last: Vec<Vec<f64>>,
    differences: Vec<Differences>,
}

impl<'s> Watch<'s> {
    fn new(inner: &'s mut dyn Map, part: Range<usize>) -> Self {
        let batch = inner.batch();
        Self {
            inner,
            part,
            last: vec![Vec::new(); batch],
            differences: vec![Vec::new(); batch],
        }
    }
}

impl Map for Watch<'_> {
    equilibria_core::inner_map!(inner: vectors, linearize, jvp);

    fn apply(&mut self, z: Slot, out: Slot) -> Result<()> {
        let vectors = self.inner.vectors();
        let points = vectors.read(z)?;
        let rows = points.chunks_exact(vectors.dim());
        for (row, &sample) in rows.zip(vectors.samples()) {
            let point = &row[self.part.clone()];
            // The start, 0, has no length to compare with.
            if self.last[sample].iter().any(|&z| z != 0.0) {
                let difference = relative_difference(point, &self.last[sample]);
                self.differences[sample].push(difference);
            }
            self.last[sample] = point.to_vec();
        }
        self.inner.apply(z, out)
    }
}
