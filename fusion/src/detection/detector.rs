//! ImVoteNet: boxes from points and an image.
//!
//! Reference: C. R. Qi, X. Chen, O. Litany, L. J. Guibas, ImVoteNet, CVPR 2020; with a fusion in place of the concatenation of both features,
//! as in the SUN RGB-D experiment of arXiv 2306.16645.

mod losses;
mod seeds;

use dfdx::prelude::{HasShape, ReshapeTo};
use equilibria_core::seed::mix;
use equilibria_core::{from_host, parameters, to_host, Backend, Error, Matrix, Result, Scalar};
use rand::rngs::StdRng;
use rand::SeedableRng;

pub use self::seeds::{choose, CandidateMask};

use self::seeds::Candidates;
use super::image_cues::{GEOMETRY_AND_COLOR, VOTES};
use super::{Outputs, ProposalRows, Scene, SceneRows, Tower, TowerSizes, Towered};
use crate::backbones::imvotenet::ImVoteNet;
use crate::model::BackboneRequest;
use crate::pass::Pass;
use crate::points::{farthest_point_sampling, gather_rows, PointNet, Points, Sampling, SharedMlp};
use crate::slot::Slot;

/// Parts of a detector around a fusion: one tower on points alone, or three, on the image, on points, and on both.
pub struct Detector<E: Scalar, D: Backend<E>> {
    /// From points to seeds.
    pub points: PointNet<E, D>,
    /// On what the image says of seeds; none where there is no image.
    pub image: Vec<SharedMlp<E, D>>,
    /// On the image, on points, and on what the fusion makes of both; or on what it makes of points alone.
    pub tower: Vec<Tower<E, D>>,
    config: ImVoteNet,
    scenes: SceneRows,
    proposals: ProposalRows,
}

parameters!(Detector {
    points,
    image,
    tower
});

/// The seeds of some scenes.
pub struct Seeded<E: Scalar, D: Backend<E>> {
    /// Which points they are, `[scenes][seeds]`, by numbers within the scene.
    pub numbers: Vec<Vec<usize>>,
    /// Where they are, `[scenes · seeds, 3]`.
    pub xyz: Matrix<E, D>,
    /// What the points around them say, and the image, where there is one: `[scenes · seeds, width]`.
    pub features: Vec<Matrix<E, D>>,
}

impl<E: Scalar, D: Backend<E>> Detector<E, D> {
    /// A new detector with a slot for the fusion of points and image; of one modality, on points alone.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that cannot be, [`Error::Shape`] for modalities that are no [rows of scenes](SceneRows),
    /// [`Error::Missing`] without the proposals of a head, and those of the fusion.
    pub fn new(config: &ImVoteNet, request: BackboneRequest<'_, D>) -> Result<Self> {
        let BackboneRequest {
            modalities,
            proposals,
            init,
            slot,
            ..
        } = request;
        let proposals = proposals.ok_or_else(|| Error::Missing {
            what: "what is proposed by the backbone `imvotenet`".to_owned(),
            remedy: "set `head = { type = \"boxes\" }`",
        })?;
        let scenes = SceneRows::of(modalities).ok_or_else(|| Error::Shape {
            what: "the modalities of the backbone `imvotenet`".to_owned(),
            expected: "points of 4 numbers, and an image of 19 numbers, 3 for each point and 6 for each finding".to_owned(),
            got: format!("{modalities:?} numbers"),
        })?;
        let points = PointNet::new(&config.levels, 1, config.width, init)?;
        let (mut image, mut widths) = (Vec::new(), vec![points.width()]);
        let mut rows = config.levels[1].centers;
        if scenes.found.is_some() {
            let expected = "at least 1, and no more than there are votes of seeds";
            let fits = config.kept > 0 && config.kept <= VOTES * rows;
            Error::require(fits, "imvotenet", "kept", expected, config.kept)?;
            let cues = GEOMETRY_AND_COLOR + proposals.outputs().classes;
            image.push(SharedMlp::biased(
                &[cues, config.width, config.width],
                init,
            )?);
            widths.push(config.width);
            rows = config.kept;
        }
        let joint = Slot {
            rows,
            ..Slot::new("joint", &widths[..])
        };
        let joint = slot(joint, init)?;
        let widths = match image.is_empty() {
            true => vec![joint],
            false => vec![widths[1], widths[0], joint],
        };
        let mut tower = Vec::with_capacity(widths.len());
        for seeds in widths {
            let own = TowerSizes {
                seeds,
                vote: config.vote,
                sampling: Sampling {
                    centers: proposals.proposals,
                    radius: config.radius,
                    neighbors: config.neighbors,
                },
                hidden: config.hidden,
                outputs: proposals.outputs(),
            };
            tower.push(Tower::new(own, init)?);
        }
        Ok(Self {
            points,
            image,
            tower,
            config: config.clone(),
            scenes,
            proposals: proposals.clone(),
        })
    }

    /// What it is made of.
    pub fn config(&self) -> &ImVoteNet {
        &self.config
    }

    /// How scenes are rows of modalities.
    pub fn scenes(&self) -> SceneRows {
        self.scenes
    }

    /// How proposals are rows of outputs.
    pub fn proposals(&self) -> &ProposalRows {
        &self.proposals
    }

    fn outputs(&self) -> Outputs {
        self.proposals.outputs()
    }

    /// The seeds of scenes with as many points each: those that the image says most of, where there is one.
    ///
    /// # Errors
    /// [`Error::Shape`] for no scenes, [`Error::Device`] if memory runs out.
    pub fn seeds(
        &self,
        device: &D,
        scenes: &[Scene],
        pass: &mut Pass<E, D>,
    ) -> Result<Seeded<E, D>> {
        let numbers = |each: &dyn Fn(&Scene) -> Vec<f64>| -> Vec<E> {
            scenes.iter().flat_map(each).map(E::of).collect()
        };
        let xyz = numbers(&|scene| scene.points.concat());
        let heights = numbers(&|scene| scene.heights.clone());
        let count = Points::new(scenes.len(), xyz.clone())?.count();
        let xyz = from_host(device, xyz, (scenes.len() * count, 3))?;
        let heights = from_host(device, heights, (scenes.len() * count, 1))?;
        let seeds = self.points.forward(scenes.len(), &xyz, &heights, pass)?;
        let own: Vec<usize> = (seeds.numbers.iter())
            .map(|number| number % count)
            .collect();
        let per_scene = own.len() / scenes.len();
        let own: Vec<Vec<usize>> = own.chunks(per_scene).map(<[usize]>::to_vec).collect();
        let Some(image) = self.image.first() else {
            return Ok(Seeded {
                numbers: own,
                xyz: seeds.xyz,
                features: vec![seeds.features],
            });
        };
        let Candidates { rows, cues } = self.candidates(scenes, &own, pass)?;
        let kept: Vec<Vec<usize>> = (own.iter().zip(&rows))
            .map(|(own, rows)| rows.iter().map(|row| own[row % per_scene]).collect())
            .collect();
        let rows = rows.iter().enumerate();
        let rows = rows.flat_map(|(scene, rows)| {
            rows.iter()
                .map(move |row| scene * per_scene + row % per_scene)
        });
        let rows: Vec<usize> = rows.collect();
        let xyz = gather_rows(seeds.xyz, rows.clone())?;
        let points = pass.try_run(&seeds.features, |features| gather_rows(features, rows))?;
        let width = GEOMETRY_AND_COLOR + self.outputs().classes;
        let shape = (cues.len() / width, width);
        let cues = from_host(device, cues.into_iter().map(E::of).collect(), shape)?;
        let image = image.forward(&cues, pass)?;
        Ok(Seeded {
            numbers: kept,
            xyz,
            features: vec![points, image],
        })
    }

    /// From seeds, and what the fusion makes of their features, to proposals: in training of all towers, else of the last one.
    ///
    /// In training votes are sampled by their own places, else by those of their seeds.
    ///
    /// # Errors
    /// Those of [`Tower::forward`].
    pub fn propose(
        &self,
        seeds: &Seeded<E, D>,
        fused: &Matrix<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Towered<E, D>>> {
        let scenes = seeds.numbers.len();
        let features = match &seeds.features[..] {
            [points, image] => vec![image, points, fused],
            _ => vec![fused],
        };
        let skipped = if pass.trains() { 0 } else { features.len() - 1 };
        let mut towers = Vec::with_capacity(features.len() - skipped);
        for (tower, features) in self.tower.iter().zip(features).skip(skipped) {
            let places = match pass.trains() {
                true => None,
                false => {
                    let points = Points::new(scenes, to_host(&seeds.xyz))?;
                    let centers = self.proposals.proposals;
                    Some(points.numbers(|points| farthest_point_sampling(points, centers)))
                }
            };
            towers.push(tower.forward(scenes, &seeds.xyz, features, places, pass)?);
        }
        Ok(towers)
    }

    /// What a tower proposes of each of some scenes, as [`ProposalRows`] has it: `[scenes, width]`.
    ///
    /// # Errors
    /// [`Error::Device`] if memory runs out.
    pub fn rows(&self, made: &Towered<E, D>, pass: &mut Pass<E, D>) -> Result<Matrix<E, D>> {
        let rows = pass.concatenate(&[made.groups.xyz.clone(), made.raw.clone()])?;
        let (all, width) = *rows.shape();
        let shape = (all * width / self.proposals.width(), self.proposals.width());
        Ok(pass.run(&rows, |rows| rows.reshape_like(&shape)))
    }

    /// Sets the share of a batch in all running statistics.
    pub fn set_momentum(&mut self, momentum: f64) {
        self.points.set_momentum(momentum);
        self.image
            .iter_mut()
            .for_each(|own| own.set_momentum(momentum));
        self.tower
            .iter_mut()
            .for_each(|own| own.set_momentum(momentum));
    }
}

/// The share of a batch in running statistics in an epoch, from 0: 0.5, halved every so many epochs, and at least 0.001.
pub fn scheduled_momentum(epoch: usize, halving: usize) -> f64 {
    let halved = i32::try_from(epoch / halving.max(1)).unwrap_or(i32::MAX);
    (0.5 * 0.5_f64.powi(halved)).max(0.001)
}

/// A generator for what is drawn at random in a scene; the same in every pass in evaluation, and for every scene there.
fn generator<E: Scalar, D: Backend<E>>(pass: &Pass<E, D>, scene: usize) -> StdRng {
    let Some(seed) = pass.seed else {
        return StdRng::seed_from_u64(0);
    };
    let samples = pass.samples.as_ref();
    let number = samples.and_then(|samples| samples.get(scene).copied());
    StdRng::seed_from_u64(mix(seed, number.unwrap_or(scene) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_settle_as_training_goes_on() {
        for (epoch, expected) in [(0, 0.5), (19, 0.5), (20, 0.25), (45, 0.125), (500, 0.001)] {
            let found = scheduled_momentum(epoch, 20);
            approx::assert_relative_eq!(found, expected, epsilon = 1e-15);
        }
    }
}
