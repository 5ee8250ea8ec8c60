//! The terms of the loss of proposals, and the slopes of their total.

use super::{BoxTarget, Matching, ProposalTerms};
use crate::detection::decoding::softmax;
use crate::detection::vote_loss::FEW;
use crate::detection::Outputs;

/// A proposal nearer than this to the middle of a true box, in meters, is to be an object.
const NEAR: f64 = 0.3;
/// One farther away than this is to be none; those between do not count.
const FAR: f64 = 0.6;
/// Under the root of a squared distance, in square meters.
const EPSILON: f64 = 1e-6;
/// Weights of proposals that are to be none, and that are to be an object.
const OBJECTNESS: [f64; 2] = [0.2, 0.8];
/// Weight of the whole.
const ALL: f64 = 10.0;

/// What is summed up over the proposals of a batch.
pub(in crate::detection) struct Sums {
    /// The slope of the total in every output.
    pub raw_bar: Vec<f64>,
    /// The slope of the total in every place.
    pub place_bar: Vec<f64>,
    /// How proposals are matched, and the terms.
    pub matching: Matching,
}

/// What the sums are of.
#[derive(Clone, Copy)]
pub(in crate::detection) struct Batch<'a> {
    /// Row after row.
    pub raw: &'a [f64],
    /// `[proposals, 3]`.
    pub places: &'a [f64],
    /// The true boxes of each scene.
    pub targets: &'a [Vec<BoxTarget>],
    /// The columns.
    pub outputs: Outputs,
}

impl Batch<'_> {
    /// Proposals of one scene.
    fn proposals(&self) -> usize {
        self.places.len() / (3 * self.targets.len())
    }

    /// The outputs of a proposal.
    fn row(&self, proposal: usize) -> &[f64] {
        let width = self.outputs.width();
        &self.raw[proposal * width..][..width]
    }

    fn place(&self, proposal: usize) -> [f64; 3] {
        std::array::from_fn(|axis| self.places[3 * proposal + axis])
    }

    /// The middle of the box that is proposed.
    fn center(&self, proposal: usize) -> [f64; 3] {
        let (place, offset) = (self.place(proposal), &self.row(proposal)[Outputs::OFFSET]);
        std::array::from_fn(|axis| place[axis] + offset[axis])
    }

    /// The true box of the scene of a proposal that is nearest to a point, and the square of its distance.
    fn nearest(&self, proposal: usize, point: [f64; 3]) -> (usize, f64) {
        let scene = &self.targets[proposal / self.proposals()];
        nearest(point, scene.iter().map(|target| target.center))
    }
}

impl Sums {
    pub fn of(batch: Batch<'_>) -> Self {
        let all = batch.places.len() / 3;
        let mut sums = Self {
            raw_bar: vec![0.0; batch.raw.len()],
            place_bar: vec![0.0; batch.places.len()],
            matching: Matching {
                object: Vec::with_capacity(all),
                assigned: Vec::with_capacity(all),
                terms: ProposalTerms::default(),
            },
        };
        sums.objectness(batch);
        let objects = (0..all).filter(|&proposal| sums.matching.object[proposal]);
        let objects: Vec<usize> = objects.collect();
        let share = (objects.len() as f64 + FEW).recip();
        for &proposal in &objects {
            let center = batch.center(proposal);
            let (target, _) = batch.nearest(proposal, center);
            let target = &batch.targets[proposal / batch.proposals()][target];
            sums.pull(batch, proposal, target.center, share);
        }
        sums.found(batch);
        for &proposal in &objects {
            sums.object(batch, proposal, share);
        }
        sums
    }

    /// Matches every proposal by its place, and tells whether it is to be an object.
    fn objectness(&mut self, batch: Batch<'_>) {
        let mut counted = Vec::new();
        for proposal in 0..batch.places.len() / 3 {
            let (target, square) = batch.nearest(proposal, batch.place(proposal));
            let distance = (square + EPSILON).sqrt();
            self.matching.object.push(distance < NEAR);
            self.matching.assigned.push(target);
            if !(NEAR..=FAR).contains(&distance) {
                counted.push(proposal);
            }
        }
        let share = (counted.len() as f64 + FEW).recip();
        for proposal in counted {
            let class = usize::from(self.matching.object[proposal]);
            let factor = share * OBJECTNESS[class];
            let start = proposal * batch.outputs.width();
            let range = start + Outputs::OBJECTNESS.start..start + Outputs::OBJECTNESS.end;
            let entropy = self.cross_entropy(batch, range, class, 0.5 * factor);
            self.matching.terms.objectness += factor * entropy;
        }
    }

    /// Every true box pulls the nearest proposal of its scene.
    fn found(&mut self, batch: Batch<'_>) {
        let present = batch.targets.iter().flatten();
        let share = (present.filter(|target| target.present).count() as f64 + FEW).recip();
        let proposals = batch.proposals();
        for (scene, targets) in batch.targets.iter().enumerate() {
            let first = scene * proposals;
            for target in targets.iter().filter(|target| target.present) {
                let centers = (first..first + proposals).map(|proposal| batch.center(proposal));
                let (own, _) = nearest(target.center, centers);
                self.pull(batch, first + own, target.center, share);
            }
        }
    }

    /// Adds the square of the distance of a proposed center from a true one.
    fn pull(&mut self, batch: Batch<'_>, proposal: usize, truth: [f64; 3], share: f64) {
        let center = batch.center(proposal);
        let start = proposal * batch.outputs.width() + Outputs::OFFSET.start;
        for (axis, (center, truth)) in center.iter().zip(truth).enumerate() {
            let difference = center - truth;
            self.matching.terms.center += share * difference * difference;
            let slope = ALL * share * 2.0 * difference;
            self.raw_bar[start + axis] += slope;
            self.place_bar[3 * proposal + axis] += slope;
        }
    }

    /// The terms of a proposal that is to be an object.
    fn object(&mut self, batch: Batch<'_>, proposal: usize, share: f64) {
        let (outputs, start) = (batch.outputs, proposal * batch.outputs.width());
        let scene = &batch.targets[proposal / batch.proposals()];
        let target = scene[self.matching.assigned[proposal]];
        let moved = |range: std::ops::Range<usize>| start + range.start..start + range.end;
        let small = 0.1 * share;

        let heading = self.cross_entropy(
            batch,
            moved(outputs.heading_scores()),
            target.heading.0,
            small,
        );
        let place = start + outputs.heading_residuals().start + target.heading.0;
        let turned = self.huber(batch, place, target.heading.1, share);
        let size = self.cross_entropy(batch, moved(outputs.size_scores()), target.size.0, small);
        let place = start + outputs.size_residuals().start + 3 * target.size.0;
        let mut grown = 0.0;
        for (axis, &residual) in target.size.1.iter().enumerate() {
            grown += self.huber(batch, place + axis, residual, share / 3.0) / 3.0;
        }
        let class = self.cross_entropy(batch, moved(outputs.class_scores()), target.class, small);

        let terms = &mut self.matching.terms;
        terms.heading_class += share * heading;
        terms.heading_residual += share * turned;
        terms.size_class += share * size;
        terms.size_residual += share * grown;
        terms.class += share * class;
    }

    /// `−log softmax(x)_class` of some outputs; its slope, times a factor, is added.
    fn cross_entropy(
        &mut self,
        batch: Batch<'_>,
        range: std::ops::Range<usize>,
        class: usize,
        factor: f64,
    ) -> f64 {
        let scores = &batch.raw[range.clone()];
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
        let probabilities = softmax(scores);
        for (index, (slope, p)) in self.raw_bar[range]
            .iter_mut()
            .zip(probabilities)
            .enumerate()
        {
            *slope += ALL * factor * (p - f64::from(u8::from(index == class)));
        }
        sum.ln() + largest - scores[class]
    }

    /// `e² / 2` up to |e| = 1 and `|e| − 1/2` beyond, of the difference e of an output from its target; its slope, times a factor, is added.
    fn huber(&mut self, batch: Batch<'_>, place: usize, target: f64, factor: f64) -> f64 {
        let error = batch.raw[place] - target;
        let limited = error.clamp(-1.0, 1.0);
        self.raw_bar[place] += ALL * factor * limited;
        let quadratic = limited.abs();
        0.5 * quadratic * quadratic + (error.abs() - quadratic)
    }
}

/// The first of the points nearest to a point, and the square of its distance.
fn nearest(point: [f64; 3], points: impl Iterator<Item = [f64; 3]>) -> (usize, f64) {
    let square = |other: [f64; 3]| -> f64 {
        let axes = point.iter().zip(other);
        axes.map(|(a, b)| (a - b) * (a - b)).sum()
    };
    let each = points.map(square).enumerate();
    let best = each.reduce(|best, next| if next.1 < best.1 { next } else { best });
    best.unwrap_or((0, f64::INFINITY))
}
