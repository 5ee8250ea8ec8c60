//! The loss of all towers.

use equilibria_core::{to_host, Backend, Error, Matrix, Result, Scalar};

use super::{Detection, Detector};
use crate::detection::{
    proposal_loss, true_votes, vote_loss, BoxCoding, BoxTarget, OrientedBox, Outputs, Scene,
};
use crate::pass::Pass;

/// Weight of the vote loss.
const VOTE: f64 = 10.0;

impl<E: Scalar, D: Backend<E>> Detector<E, D> {
    /// The loss of the scenes that a detection is of, `[1, 1]`: of every tower `10 votes` and the [proposals](proposal_loss()), times its share.
    ///
    /// Boxes beyond `most` in a scene are left out; where there are fewer, rows at the origin fill up, as in the original.
    ///
    /// # Errors
    /// [`Error::Shape`] for a coding that is not that of the outputs, for a class that the outputs do not have, and [`Error::Device`] if memory runs out.
    pub fn loss(
        &self,
        scenes: &[Scene],
        detection: &Detection<E, D>,
        coding: &BoxCoding,
        most: usize,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let outputs = self.sizes.outputs;
        let own = Outputs::of(coding, outputs.classes);
        if own != outputs || most == 0 {
            return Err(Error::Shape {
                what: "the coding of boxes, and how many are learned from".to_owned(),
                expected: format!("{outputs:?}, and one box at least"),
                got: format!("{own:?}, and {most}"),
            });
        }
        let mut truth = Vec::with_capacity(scenes.len());
        for scene in scenes {
            truth.push(targets(scene, coding, most)?);
        }
        let (mut votes, mut inside) = (Vec::new(), Vec::new());
        for (scene, seeds) in scenes.iter().zip(&detection.seeds) {
            let points: Vec<[f64; 3]> = seeds.iter().map(|&seed| scene.points[seed]).collect();
            let shapes: Vec<OrientedBox> = scene.boxes.iter().map(|(shape, _)| *shape).collect();
            let own = true_votes(&points, &shapes);
            let absolute = own.offsets.iter().zip(&points);
            votes.extend(absolute.map(|(offset, point)| -> [f64; 9] {
                std::array::from_fn(|entry| offset[entry] + point[entry % 3])
            }));
            inside.extend(own.inside);
        }
        let shares = match detection.towers.len() {
            1 => &[1.0][..],
            _ => &self.sizes.shares[..],
        };
        let mut losses = Vec::new();
        for (tower, &share) in detection.towers.iter().zip(shares) {
            let vote = pass.try_run(&tower.votes, |own| {
                Ok(vote_loss(own, &votes, &inside)? * E::of(VOTE * share))
            })?;
            let proposals = pass.try_run(&tower.raw, |raw| {
                let (loss, _) = proposal_loss(raw, &tower.groups.xyz, &truth, self.sizes.outputs)?;
                Ok(loss * E::of(share))
            })?;
            losses.extend([vote, proposals]);
        }
        let loss = pass.sum(&losses)?;
        match to_host(&loss)[0].wide().is_nan() {
            true => Err(Error::Parse {
                what: "the loss of a detector".to_owned(),
                message: "it is not a number; lower the learning rate".to_owned(),
            }),
            false => Ok(loss),
        }
    }
}

/// The true boxes of a scene, filled up.
fn targets(scene: &Scene, coding: &BoxCoding, most: usize) -> Result<Vec<BoxTarget>> {
    let nothing = BoxTarget {
        present: false,
        center: [0.0; 3],
        heading: (0, 0.0),
        size: (0, [0.0; 3]),
        class: 0,
    };
    let mut all = Vec::with_capacity(most);
    for &(shape, class) in scene.boxes.iter().take(most) {
        if class >= coding.mean_sizes.len() {
            return Err(Error::Shape {
                what: "the class of a true box".to_owned(),
                expected: format!(
                    "below {}, of which mean sizes are known",
                    coding.mean_sizes.len()
                ),
                got: class.to_string(),
            });
        }
        all.push(BoxTarget {
            present: true,
            center: shape.center,
            heading: coding.heading(shape.heading),
            size: (class, coding.size(class, shape.size)),
            class,
        });
    }
    all.resize(most, nothing);
    Ok(all)
}
