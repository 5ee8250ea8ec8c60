//! ImVoteNet: boxes from points and an image.
//!
//! Reference: C. R. Qi, X. Chen, O. Litany, L. J. Guibas, ImVoteNet, CVPR 2020; with a fusion in place of the concatenation of both features,
//! as in the SUN RGB-D experiment of arXiv 2306.16645.

mod losses;
mod seeds;

use equilibria_core::seed::mix;
use equilibria_core::{from_host, parameters, to_host, Backend, Error, Matrix, Result, Scalar};
use rand::rngs::StdRng;
use rand::SeedableRng;

pub use self::seeds::{choose, CandidateMask};

use self::seeds::Candidates;
use super::image_cues::{GEOMETRY_AND_COLOR, VOTES};
use super::{BoxCoding, Outputs, Scene, Tower, TowerSizes, Towered};
use crate::layers::Initializer;
use crate::model::FusionConfig;
use crate::pass::Pass;
use crate::points::{
    farthest_point_sampling, gather_rows, Level, PointNet, Points, Sampling, SharedMlp,
};
use crate::slot::{Filled, Slot, Slots};

/// What a detector is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorSizes {
    /// The set abstractions of the backbone, two at least; the second leaves the seeds.
    pub levels: Vec<Level>,
    /// Width of the features of seeds, and of the image.
    pub width: usize,
    /// Seeds that are kept of all that have a vote of the image.
    pub kept: usize,
    /// How those are chosen.
    pub mask: CandidateMask,
    /// The probability that a box of the image says something in training.
    pub keep: f64,
    /// Width inside of the networks that vote.
    pub vote: usize,
    /// How votes are gathered to proposals.
    pub proposals: Sampling,
    /// Width of everything behind.
    pub hidden: usize,
    /// What is said of a proposal.
    pub outputs: Outputs,
    /// Shares of the losses of the towers: image, points, and both.
    pub shares: [f64; 3],
}

impl DetectorSizes {
    /// Those of ImVoteNet on SUN RGB-D, with ten classes.
    pub fn imvotenet() -> Self {
        let level = |centers, radius, neighbors, widths: [usize; 3]| Level {
            sampling: Sampling {
                centers,
                radius,
                neighbors,
            },
            widths: widths.to_vec(),
        };
        Self {
            levels: vec![
                level(2048, 0.2, 64, [64, 64, 128]),
                level(1024, 0.4, 32, [128, 128, 256]),
                level(512, 0.8, 16, [128, 128, 256]),
                level(256, 1.2, 16, [128, 128, 256]),
            ],
            width: 256,
            kept: 1024,
            mask: CandidateMask::Vote,
            keep: 0.5,
            vote: 256,
            proposals: Sampling {
                centers: 256,
                radius: 0.3,
                neighbors: 16,
            },
            hidden: 128,
            outputs: Outputs {
                headings: 12,
                sizes: 10,
                classes: 10,
            },
            shares: [0.3, 0.3, 0.4],
        }
    }
}

/// Parts of a detector: one tower on points alone, or three, on the image, on points, and on both.
pub struct Detector<E: Scalar, D: Backend<E>> {
    /// From points to seeds.
    pub points: PointNet<E, D>,
    /// On what the image says of seeds; none where there is no image.
    pub image: Vec<SharedMlp<E, D>>,
    /// Of the features of points and image; none where there is no image.
    pub fusion: Slots<E, D>,
    /// On the image, on points, and on both; or on points alone.
    pub tower: Vec<Tower<E, D>>,
    sizes: DetectorSizes,
}

parameters!(Detector {
    points,
    image,
    fusion,
    tower
});

/// What a detector has made of some scenes.
pub struct Detection<E: Scalar, D: Backend<E>> {
    /// Which points seeds are, `[scenes][seeds]`, by numbers within the scene.
    pub seeds: Vec<Vec<usize>>,
    /// Where seeds are, `[scenes · seeds, 3]`.
    pub xyz: Matrix<E, D>,
    /// What each tower has made; the last one is that on both.
    pub towers: Vec<Towered<E, D>>,
}

impl<E: Scalar, D: Backend<E>> Detector<E, D> {
    /// A new detector; without a fusion, one on points alone.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that cannot be, and those of the fusion.
    pub fn new(
        sizes: DetectorSizes,
        fusion: Option<&dyn FusionConfig>,
        init: &mut Initializer<D>,
    ) -> Result<Self> {
        let keep = sizes.keep;
        let proper = (0.0..=1.0).contains(&keep);
        Error::require(proper, "detector", "keep", "in [0, 1]", keep)?;
        let points = PointNet::new(&sizes.levels, 1, sizes.width, init)?;
        let mut widths = vec![points.width()];
        let (mut image, mut slots) = (Vec::new(), Slots(Vec::new()));
        if let Some(config) = fusion {
            let seeds = sizes.levels[1].sampling.centers;
            let expected = "at least 1, and no more than there are votes of seeds";
            let fits = sizes.kept > 0 && sizes.kept <= VOTES * seeds;
            Error::require(fits, "detector", "kept", expected, sizes.kept)?;
            let cues = GEOMETRY_AND_COLOR + sizes.outputs.classes;
            image.push(SharedMlp::biased(&[cues, sizes.width, sizes.width], init)?);
            let slot = Slot {
                rows: sizes.kept,
                ..Slot::new("joint", [points.width(), sizes.width])
            };
            slots = Slots(vec![Filled::new(slot, config, init)?]);
            widths = vec![sizes.width, points.width(), slots.output_dim()];
        }
        let mut tower = Vec::with_capacity(widths.len());
        for seeds in widths {
            let own = TowerSizes {
                seeds,
                vote: sizes.vote,
                sampling: sizes.proposals,
                hidden: sizes.hidden,
                outputs: sizes.outputs,
            };
            tower.push(Tower::new(own, init)?);
        }
        Ok(Self {
            points,
            image,
            fusion: slots,
            tower,
            sizes,
        })
    }

    /// From scenes with as many points each to proposals: in training of all towers, else of the last one.
    ///
    /// In training votes are sampled by their own places, else by those of their seeds.
    ///
    /// # Errors
    /// [`Error::Shape`] for scenes without points, or with different numbers of them, and those of the fusion.
    pub fn forward(
        &self,
        device: &D,
        scenes: &[Scene],
        pass: &mut Pass<E, D>,
    ) -> Result<Detection<E, D>> {
        let numbers = |each: &dyn Fn(&Scene) -> Vec<f64>| -> Vec<E> {
            scenes.iter().flat_map(each).map(E::of).collect()
        };
        let xyz = numbers(&|scene| scene.points.concat());
        let heights = numbers(&|scene| scene.heights.clone());
        let count = Points::new(scenes.len(), xyz.clone())?.count();
        let same = scenes.iter().all(|scene| {
            [scene.points.len(), scene.heights.len(), scene.colors.len()] == [count; 3]
        });
        if !same {
            return Err(Error::Shape {
                what: "the points, heights and colors of scenes".to_owned(),
                expected: format!("{count} of each"),
                got: "other numbers".to_owned(),
            });
        }
        let xyz = from_host(device, xyz, (scenes.len() * count, 3))?;
        let heights = from_host(device, heights, (scenes.len() * count, 1))?;
        let seeds = self.points.forward(scenes.len(), &xyz, &heights, pass)?;
        let own = (seeds.numbers.iter())
            .map(|number| number % count)
            .collect::<Vec<_>>();
        let per_scene = own.len() / scenes.len();
        let own: Vec<Vec<usize>> = own.chunks(per_scene).map(<[usize]>::to_vec).collect();
        let Some(image) = self.image.first() else {
            let features = [&seeds.features];
            return self.towers(own, seeds.xyz, &features, pass);
        };
        let Candidates { rows, cues } = self.candidates(scenes, &own, pass)?;
        let within = |row: &usize| row % per_scene;
        let kept: Vec<Vec<usize>> = (own.iter().zip(&rows))
            .map(|(own, rows)| rows.iter().map(|row| own[within(row)]).collect())
            .collect();
        let rows = rows.iter().enumerate();
        let rows = rows.flat_map(|(scene, rows)| {
            rows.iter()
                .map(move |row| scene * per_scene + row % per_scene)
        });
        let rows: Vec<usize> = rows.collect();
        let xyz = gather_rows(seeds.xyz, rows.clone())?;
        let points = pass.try_run(&seeds.features, |features| gather_rows(features, rows))?;
        let width = GEOMETRY_AND_COLOR + self.sizes.outputs.classes;
        let shape = (cues.len() / width, width);
        let cues = from_host(device, cues.into_iter().map(E::of).collect(), shape)?;
        let image = image.forward(&cues, pass)?;
        let fused = self
            .fusion
            .fuse(0, &[points.clone(), image.clone()], pass)?;
        self.towers(kept, xyz, &[&image, &points, &fused], pass)
    }

    fn towers(
        &self,
        seeds: Vec<Vec<usize>>,
        xyz: Matrix<E, D>,
        features: &[&Matrix<E, D>],
        pass: &mut Pass<E, D>,
    ) -> Result<Detection<E, D>> {
        let (scenes, mut towers) = (seeds.len(), Vec::new());
        let skipped = if pass.trains() { 0 } else { features.len() - 1 };
        for (tower, features) in self.tower.iter().zip(features).skip(skipped) {
            let places = match pass.trains() {
                true => None,
                false => {
                    let points = Points::new(scenes, to_host(&xyz))?;
                    let centers = self.sizes.proposals.centers;
                    Some(points.numbers(|points| farthest_point_sampling(points, centers)))
                }
            };
            towers.push(tower.forward(scenes, &xyz, features, places, pass)?);
        }
        Ok(Detection { seeds, xyz, towers })
    }

    /// What each of some scenes says, as [`decode`](super::decode()) takes it: rows `[x, y, z | outputs]`.
    pub fn rows(&self, detection: &Detection<E, D>) -> Vec<Vec<f64>> {
        let Some(last) = detection.towers.last() else {
            return Vec::new();
        };
        let (places, raw) = (to_host(&last.groups.xyz), to_host(&last.raw));
        let width = self.sizes.outputs.width();
        let rows = places.chunks_exact(3).zip(raw.chunks_exact(width));
        let rows: Vec<Vec<f64>> = rows
            .map(|(place, raw)| place.iter().chain(raw).map(|x| x.wide()).collect())
            .collect();
        let per_scene = rows.len() / detection.seeds.len().max(1);
        rows.chunks(per_scene.max(1))
            .map(<[Vec<f64>]>::concat)
            .collect()
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

/// The share of a batch in running statistics in an epoch, from 0: 0.5, halved every 20 epochs, and at least 0.001.
pub fn scheduled_momentum(epoch: usize) -> f64 {
    let halved = i32::try_from(epoch / 20).unwrap_or(i32::MAX);
    (0.5 * 0.5_f64.powi(halved)).max(0.001)
}

/// A generator for what is drawn at random in a scene; the same in every pass in evaluation.
fn generator<E: Scalar, D: Backend<E>>(pass: &Pass<E, D>, scene: usize) -> StdRng {
    let number = pass
        .samples
        .as_ref()
        .and_then(|samples| samples.get(scene).copied());
    StdRng::seed_from_u64(mix(pass.seed.unwrap_or(0), number.unwrap_or(scene) as u64))
}

/// How boxes are coded for outputs; sizes are those of the means.
impl Outputs {
    /// For a coding, and so many classes.
    pub fn of(coding: &BoxCoding, classes: usize) -> Self {
        Self {
            headings: coding.headings,
            sizes: coding.mean_sizes.len(),
            classes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_settle_as_training_goes_on() {
        for (epoch, expected) in [(0, 0.5), (19, 0.5), (20, 0.25), (45, 0.125), (500, 0.001)] {
            approx::assert_relative_eq!(scheduled_momentum(epoch), expected, epsilon = 1e-15);
        }
    }
}
