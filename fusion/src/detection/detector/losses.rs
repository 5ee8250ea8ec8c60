//! The losses of all towers but for what the head learns from.

use dfdx::prelude::HasShape;
use equilibria_core::{to_host, Backend, Matrix, Result, Scalar};

use super::{Detector, Seeded};
use crate::data::Boxes;
use crate::detection::{true_votes, vote_loss, OrientedBox, Scene, Towered};
use crate::pass::Pass;

/// Weight of the vote loss.
const VOTE: f64 = 10.0;

impl<E: Scalar, D: Backend<E>> Detector<E, D> {
    /// Leaves losses in the pass: of every tower `10 votes`, and of all but the last one the [proposals](crate::detection::proposal_loss()), times
    /// their shares, where that of the last one is 1. The loss of the proposals of the last one is that of the head.
    ///
    /// # Errors
    /// [`Error::Shape`](equilibria_core::Error::Shape) for true boxes of another number of scenes, or of classes that are not known, and
    /// [`Error::Device`](equilibria_core::Error::Device) if memory runs out.
    pub(crate) fn auxiliary_losses(
        &self,
        scenes: &[Scene],
        truth: &Matrix<E, D>,
        seeds: &Seeded<E, D>,
        towers: &[Towered<E, D>],
        pass: &mut Pass<E, D>,
    ) -> Result<()> {
        let numbers: Vec<f64> = to_host(truth).into_iter().map(E::wide).collect();
        let (mut votes, mut inside) = (Vec::new(), Vec::new());
        let rows = numbers.chunks(truth.shape().1.max(1));
        for ((scene, seeds), boxes) in scenes.iter().zip(&seeds.numbers).zip(rows) {
            let points: Vec<[f64; 3]> = seeds.iter().map(|&seed| scene.points[seed]).collect();
            let boxes = Boxes::from_numbers(boxes).into_iter();
            let shapes: Vec<OrientedBox> = boxes.map(|(shape, _)| shape).collect();
            let own = true_votes(&points, &shapes);
            let absolute = own.offsets.iter().zip(&points);
            votes.extend(absolute.map(|(offset, point)| -> [f64; 9] {
                std::array::from_fn(|entry| offset[entry] + point[entry % 3])
            }));
            inside.extend(own.inside);
        }
        let [image, points] = self.config.shares;
        let shares = [image, points, 1.0];
        let last = towers.len().saturating_sub(1);
        let shares = &shares[shares.len() - towers.len()..];
        for (number, (tower, &share)) in towers.iter().zip(shares).enumerate() {
            let vote = pass.try_run(&tower.votes, |own| {
                Ok(vote_loss(own, &votes, &inside)? * E::of(VOTE * share))
            })?;
            pass.losses.push(vote);
            if number < last {
                let rows = self.rows(tower, pass)?;
                let loss = pass.try_run(&rows, |rows| {
                    Ok(self.proposals.loss(rows, truth)? * E::of(share))
                })?;
                pass.losses.push(loss);
            }
        }
        Ok(())
    }
}
