//! The detector of boxes in rooms.

use dfdx::prelude::HasShape;
use equilibria_core::prelude::*;
use equilibria_core::seed::mix;
use equilibria_core::to_host;
use rand::rngs::StdRng;
use rand::SeedableRng;
use std::sync::Arc;

use crate::data::{Boxes, Split, TargetKind, Targets};
use crate::detection::{scheduled_momentum, CandidateMask, Detector, Motion, Scene};
use crate::model::{Backbone, BackboneConfig, BackboneRequest, Backbones};
use crate::pass::Pass;
use crate::points::Level;
use crate::slot::Slots;

plugin! {
    /// Boxes in a room, from points and what was found in an image of it: ImVoteNet.
    ///
    /// The first modality is the points of a room, x, y, z and the height above the floor of each, in meters, Z up. The second is the image: 19
    /// numbers of the camera (how many times as large the room is now, 1 as it was measured; the matrix from the axes of the camera to those of the
    /// room, and that of its intrinsics, row after row), 3 of the pixel of each point, and 6 of each finding, 1 more than its class or 0 for none,
    /// its score, and its edges left, top, right and bottom. Set abstractions leave seeds, from which a feature is propagated back; the pixel of a
    /// seed votes for the middles of up to three findings around it, and says a second feature. On the image, on points, and on the fusion of both
    /// stands a tower each: seeds vote for the middles of boxes, and votes near each other make a proposal. In evaluation there is the joint one
    /// alone, whose proposals go to the head `boxes`. With points alone, `modalities = [1]`, there is one tower, on what the fusion makes of their one feature; an
    /// image alone, or in the place of points, is refused.
    ///
    /// Its losses in training are those of all votes, and of the proposals of the first two towers. Rooms are moved at random in each step:
    /// mirrored or not, turned by up to 30 degrees, and made 0.85 to 1.15 times as large.
    ///
    /// Reference: C. R. Qi, X. Chen, O. Litany, L. J. Guibas, ImVoteNet, CVPR 2020; the SUN RGB-D experiment of arXiv 2306.16645.
    pub struct ImVoteNet: BackboneConfig {
        /// The set abstractions, two at least, each a table of `centers`, points that are left of a room, `radius`, in meters, `neighbors` of each, and the `widths` of its network. The second one leaves the seeds.
        pub levels: Vec<Level> = vec![
            level(2048, 0.2, 64, [64, 64, 128]),
            level(1024, 0.4, 32, [128, 128, 256]),
            level(512, 0.8, 16, [128, 128, 256]),
            level(256, 1.2, 16, [128, 128, 256]),
        ],
        /// Width of the features of seeds, and of the image, from 1 to 1048576.
        pub width: usize = 256,
        /// Seeds that are kept of all that have a vote of the image: at most three times as many as there are seeds.
        pub kept: usize = 1024,
        /// Which are kept before all others: `vote`, those that have one, or `blue`, those whose pixel has blue in it, as the program of the authors has it.
        pub mask: CandidateMask = CandidateMask::Vote,
        /// The probability that a finding in the image says something in training, in [0, 1].
        pub keep: f64 = 0.5,
        /// Width inside of the networks that vote, from 1 to 1048576.
        pub vote: usize = 256,
        /// How far votes may be from a proposal, in meters.
        pub radius: f64 = 0.3,
        /// Votes that make a proposal, some of them repeated, from 1 to 1048576.
        pub neighbors: usize = 16,
        /// Width of everything behind, from 1 to 1048576.
        pub hidden: usize = 128,
        /// Weights of the losses of the towers on the image and on points, where the joint one has 1. The original has 0.3, 0.3 and 0.4.
        pub shares: [f64; 2] = [0.75, 0.75],
        /// Whether rooms are moved at random in training.
        pub augment: bool = true,
        /// Epochs after which the share of a batch in running statistics is halved, from 0.5 on, down to 0.001; at least 1.
        pub halving: usize = 20,
    }
}

fn level(centers: usize, radius: f64, neighbors: usize, widths: [usize; 3]) -> Level {
    Level {
        centers,
        radius,
        neighbors,
        widths: widths.to_vec(),
    }
}

#[typetag::serde(name = "imvotenet")]
impl BackboneConfig for ImVoteNet {
    fn width(&self) -> usize {
        self.width
    }

    fn validate(&self) -> Result<()> {
        let sizes = [
            ("width", self.width),
            ("vote", self.vote),
            ("neighbors", self.neighbors),
            ("hidden", self.hidden),
        ];
        for (field, size) in sizes {
            Error::require_width("imvotenet", field, size)?;
        }
        let counts = [("kept", self.kept), ("halving", self.halving)];
        Error::require_all_at_least_one("imvotenet", &counts)?;
        let proper = |level: &Level| {
            let sizes = [level.centers, level.neighbors].into_iter();
            let sizes = sizes
                .chain(level.widths.iter().copied())
                .all(|size| (1..=1 << 20).contains(&size));
            sizes && !level.widths.is_empty() && level.radius > 0.0 && level.radius.is_finite()
        };
        let levels = &self.levels;
        let expected = "two tables or more of sizes from 1 to 1048576 and a radius above 0, each with a width at least";
        let fits = levels.len() >= 2 && levels.iter().all(proper);
        Error::require(fits, "imvotenet", "levels", expected, format!("{levels:?}"))?;
        Error::require_positive("imvotenet", "radius", self.radius)?;
        let fits = (0.0..=1.0).contains(&self.keep);
        Error::require(fits, "imvotenet", "keep", "in [0, 1]", self.keep)?;
        let shares = self.shares;
        let fits = shares
            .iter()
            .all(|share| *share >= 0.0 && share.is_finite());
        let got = format!("{shares:?}");
        Error::require(
            fits,
            "imvotenet",
            "shares",
            "two numbers of at least 0",
            got,
        )
    }

    fn check_targets(&self, targets: TargetKind) -> Result<()> {
        let expected = "the head `boxes` with the backbone `imvotenet`";
        let got = format!("one for {targets}");
        Error::require(targets == TargetKind::Boxes, "head", "type", expected, got)
    }

    /// The points, or the points and the image: by its width alone an image may pass for points.
    fn check_modalities(&self, chosen: &[usize]) -> Result<()> {
        let expected =
            "[1], the points, or [1, 2], the points and the image, which need not be said";
        let got = format!("{chosen:?}");
        let fits = matches!(chosen, [1] | [1, 2]);
        Error::require(fits, "imvotenet", "modalities", expected, got)
    }
}

impl Build<Backbones> for ImVoteNet {
    fn build<E: Scalar, D: Backend<E>>(
        &self,
        request: BackboneRequest<'_, D>,
    ) -> Result<Box<dyn Backbone<E, D>>> {
        self.validate()?;
        Ok(Box::new(Detector::new(self, request)?))
    }
}

impl<E: Scalar, D: Backend<E>> Backbone<E, D> for Detector<E, D> {
    fn encode(
        &self,
        x: &[Matrix<E, D>],
        _targets: Option<&Matrix<E, D>>,
        pass: &mut Pass<E, D>,
    ) -> Result<Vec<Matrix<E, D>>> {
        let scenes = self.read(x);
        Ok(self.seeds(x[0].device(), &scenes, pass)?.features)
    }

    fn run(
        &self,
        x: &[Matrix<E, D>],
        targets: Option<&Matrix<E, D>>,
        slots: &Slots<E, D>,
        pass: &mut Pass<E, D>,
    ) -> Result<Matrix<E, D>> {
        let scenes = self.read(x);
        let seeds = self.seeds(x[0].device(), &scenes, pass)?;
        let fused = slots.fuse(0, &seeds.features, pass)?;
        let mut towers = self.propose(&seeds, &fused, pass)?;
        if let Some(truth) = targets {
            self.auxiliary_losses(&scenes, truth, &seeds, &towers, pass)?;
        }
        let last = towers.pop().ok_or_else(|| Error::Missing {
            what: "the last tower of a detector".to_owned(),
            remedy: "make the detector by its configuration",
        })?;
        self.rows(&last, pass)
    }

    fn output_dim(&self, _fused: usize) -> usize {
        self.proposals().width()
    }

    fn begin_epoch(&mut self, epoch: usize) {
        let momentum = scheduled_momentum(epoch, self.config().halving);
        self.set_momentum(momentum);
    }

    /// Rooms that are moved, each by its own random motion.
    fn augmented(
        &self,
        rows: &Split,
        batch: &[usize],
        numbers: &[usize],
        seed: u64,
    ) -> Option<Split> {
        let Targets::Boxes(boxes) = &rows.targets else {
            return None;
        };
        if !self.config().augment {
            return None;
        }
        // The pass of the step draws by `seed` itself: motions are to be independent of it.
        let seed = mix(seed, u64::MAX);
        let layout = self.scenes();
        let scenes = layout.scenes(&rows.modalities, batch);
        let rows = batch.iter().zip(numbers);
        let moved = rows.zip(scenes).map(|((&row, &number), mut scene)| {
            let rng = &mut StdRng::seed_from_u64(mix(seed, number as u64));
            scene.boxes = boxes.rows[row].to_vec();
            scene.moved(Motion::random(rng))
        });
        let moved: Vec<Scene> = moved.collect();
        let truth = Boxes {
            rows: moved
                .iter()
                .map(|scene| Arc::from(&scene.boxes[..]))
                .collect(),
            classes: boxes.classes.clone(),
            most: boxes.most,
        };
        Some(Split {
            modalities: layout.tables(&moved),
            targets: Targets::Boxes(truth),
        })
    }
}

impl<E: Scalar, D: Backend<E>> Detector<E, D> {
    /// The scenes of a batch.
    fn read(&self, x: &[Matrix<E, D>]) -> Vec<Scene> {
        let wide = |x: &Matrix<E, D>| -> Vec<f64> { to_host(x).into_iter().map(E::wide).collect() };
        let all: Vec<(Vec<f64>, usize)> = x.iter().map(|x| (wide(x), x.shape().1)).collect();
        let rows = x.first().map_or(0, |x| x.shape().0);
        let row = |row: usize| {
            let own = all
                .iter()
                .map(|(values, columns)| &values[row * columns..][..*columns]);
            self.scenes().scene(&own.collect::<Vec<_>>())
        };
        (0..rows).map(row).collect()
    }
}
