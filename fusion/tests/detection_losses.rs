//! What the detector of boxes learns from, and what it keeps of the image, against their parts.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::serde_json::{self, json};
use equilibria_core::{from_host, to_host, Matrix, Parameters, Result};
use equilibria_fusion::backbones::imvotenet::ImVoteNet;
use equilibria_fusion::data::{Boxes, Targets};
use equilibria_fusion::detection::{
    generated_scenes, proposal_loss, true_votes, vote_loss, Detector, OrientedBox, Pixel, Scene,
    SceneRows, Seen,
};
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::model::BackboneRequest;
use equilibria_fusion::points::gather_rows;
use equilibria_fusion::{Experiment, Model, Pass, Slot};
use equilibria_testing::relative_difference;

const POINTS: usize = 120;
const SCENES: usize = 3;
const CLASSES: usize = 2;

/// Seeds of a scene: the centers of the second level.
const SEEDS: usize = 20;

/// Votes of the image for each seed.
const VOTES: usize = 3;

const ROWS: SceneRows = SceneRows {
    points: POINTS,
    found: Some(5),
};

/// A model, the detector in it once more, scenes, their modalities and their true boxes.
struct Subject {
    model: Model<f64, Cpu>,
    detector: Detector<f64, Cpu>,
    scenes: Vec<Scene>,
    x: Vec<Matrix<f64, Cpu>>,
    truth: Matrix<f64, Cpu>,
}

/// Places and features of all seeds over the whole batch, and the numbers of their points in each scene.
type AllSeeds = ([Matrix<f64, Cpu>; 2], Vec<Vec<usize>>);

fn matrix(values: Vec<f64>, columns: usize) -> Matrix<f64, Cpu> {
    let shape = (values.len() / columns, columns);
    from_host(&Cpu::default(), values, shape).expect("memory")
}

/// Of points and an image, or of points alone, with shares of the towers on the image and on points, and so many votes kept.
fn subject(modalities: usize, shares: [f64; 2], kept: usize) -> Subject {
    let level = |centers: usize, radius: f64, neighbors: usize| json!({ "centers": centers, "radius": radius, "neighbors": neighbors, "widths": [8, 12] });
    let backbone = json!({
        "levels": [level(40, 0.4, 6), level(SEEDS, 0.8, 6), level(10, 1.6, 4)],
        "width": 10, "kept": kept, "keep": 1.0, "vote": 14, "radius": 0.5, "neighbors": 4, "hidden": 12, "shares": shares,
    });
    let config: ImVoteNet = serde_json::from_value(backbone.clone()).expect("it parses");
    let mut named = backbone;
    named["type"] = json!("imvotenet");
    let experiment = json!({
        "data": { "type": "generated-rooms" }, "backbone": named, "fusion": { "type": "concat" },
        "head": { "type": "boxes", "proposals": 9, "headings": 4, "sizes": [[0.6, 0.4, 0.5], [0.5, 0.4, 0.6]] },
    });
    let experiment: Experiment = serde_json::from_value(experiment).expect("it parses");
    experiment.validate().expect("sound");
    let scenes = generated_scenes(SCENES, POINTS, 5);
    let mut tables = ROWS.tables(&scenes);
    tables.truncate(modalities);
    let columns: Vec<usize> = tables.iter().map(|table| table.columns).collect();
    let device = Cpu::default();
    let model = (experiment.model(&device, &columns, CLASSES)).expect("sound sizes");
    let mut slot =
        |slot: Slot, _: &mut Initializer<Cpu>| -> Result<usize> { Ok(slot.widths.iter().sum()) };
    let proposals = experiment.head.proposals(CLASSES);
    let request = BackboneRequest {
        modalities: &columns,
        classes: CLASSES,
        proposals: proposals.as_ref(),
        init: &mut Initializer::new(&device, 8),
        slot: &mut slot,
    };
    let mut detector = Detector::new(&config, request).expect("sound sizes");
    let values = model.backbone.named().into_iter();
    let values = values.map(|(_, values)| to_host(&values)).collect();
    detector.assign(values).expect("the same sizes");
    let boxes = Targets::Boxes(Boxes {
        classes: ["crate", "cabinet"].map(str::to_owned).into(),
        most: 6,
        rows: (scenes.iter())
            .map(|own| Arc::from(&own.boxes[..]))
            .collect(),
    });
    let truth = model.targets(&device, &boxes).expect("boxes");
    let x = tables
        .into_iter()
        .map(|table| matrix(table.values, table.columns));
    Subject {
        x: x.collect(),
        model,
        detector,
        scenes,
        truth,
    }
}

impl Subject {
    fn seeds(&self, pass: &mut Pass<f64, Cpu>) -> Result<AllSeeds> {
        let xyz = self.scenes.iter().flat_map(|own| own.points.concat());
        let heights = self.scenes.iter().flat_map(|own| own.heights.clone());
        let (xyz, heights) = (matrix(xyz.collect(), 3), matrix(heights.collect(), 1));
        let seeds = self.detector.points.forward(SCENES, &xyz, &heights, pass)?;
        let scenes = seeds.numbers.chunks(SEEDS).enumerate();
        let numbers = scenes.map(|(scene, own)| own.iter().map(move |seed| seed - scene * POINTS));
        let numbers = numbers.map(Iterator::collect).collect();
        Ok(([seeds.xyz, seeds.features], numbers))
    }

    /// What the image says of all seeds of each scene: first in all first votes, then in all second ones.
    fn cues(&self, numbers: &[Vec<usize>]) -> Matrix<f64, Cpu> {
        let mut cues = Vec::new();
        for (scene, own) in self.scenes.iter().zip(numbers) {
            for vote in 0..VOTES {
                for &seed in own {
                    let at = scene.camera.project(scene.points[seed]);
                    let pixel = Pixel::among(&scene.found, |_| true, [at.u as i64, at.v as i64]);
                    let mut scores = [0.0; CLASSES];
                    if let Some(found) = pixel.boxes[vote].checked_sub(1) {
                        scores[scene.found[found].class] = scene.found[found].score;
                    }
                    let seen = Seen {
                        camera: &scene.camera,
                        point: scene.points[seed],
                        depth: at.depth,
                        pixel: &pixel,
                        color: scene.colors[seed],
                    };
                    cues.extend(seen.cues(vote, &scores));
                }
            }
        }
        matrix(cues, 8 + CLASSES)
    }

    /// The loss of votes and that of proposals of a tower on some features of seeds, whose points have these numbers in each scene.
    fn losses(
        &self,
        tower: usize,
        xyz: &Matrix<f64, Cpu>,
        features: &Matrix<f64, Cpu>,
        numbers: &[Vec<usize>],
        pass: &mut Pass<f64, Cpu>,
    ) -> Result<[f64; 2]> {
        let made = self.detector.tower[tower].forward(SCENES, xyz, features, None, pass)?;
        let (mut targets, mut inside) = (Vec::new(), Vec::new());
        for (scene, own) in self.scenes.iter().zip(numbers) {
            let points: Vec<[f64; 3]> = own.iter().map(|&seed| scene.points[seed]).collect();
            let shapes: Vec<OrientedBox> = scene.boxes.iter().map(|(shape, _)| *shape).collect();
            let votes = true_votes(&points, &shapes);
            let middle = |(offset, point): (&[f64; 9], &[f64; 3])| -> [f64; 9] {
                std::array::from_fn(|entry| offset[entry] + point[entry % 3])
            };
            targets.extend(votes.offsets.iter().zip(&points).map(middle));
            inside.extend(votes.inside);
        }
        assert!(inside.iter().any(|&inside| inside));
        let votes = vote_loss(made.votes, &targets, &inside)?;
        let rows = self.detector.proposals();
        let boxes = rows.targets(&self.truth)?;
        let (proposals, _) = proposal_loss(made.raw, &made.groups.xyz, &boxes, rows.outputs())?;
        Ok([to_host(&votes)[0], to_host(&proposals)[0]])
    }

    /// What a step of training makes small: the loss of the head, and all that the pass has left.
    fn learned_from(&self) -> Result<f64> {
        let mut pass = Pass::training(4);
        let outputs = self.model.outputs(&self.x, Some(&self.truth), &mut pass)?;
        let loss = self.model.loss(&outputs, &self.truth, &mut pass)?;
        let losses = pass.losses.iter().chain([&loss]);
        Ok(losses.map(|loss| to_host(loss)[0]).sum())
    }
}

/// `Σ share (10 votes + proposals)` over the towers on the image, on points and on both, with 1 as the last share.
#[test]
fn training_learns_from_the_shares_of_three_towers() -> Result<()> {
    // Unlike each other, so that none can stand for another.
    let shares = [0.6, 0.35];
    let subject = subject(2, shares, VOTES * SEEDS);
    let pass = &mut Pass::training(4);
    let ([xyz, points], numbers) = subject.seeds(pass)?;
    let image = subject.detector.image[0].forward(&subject.cues(&numbers), pass)?;
    // Every seed once for each vote, the first votes of a scene before the second ones.
    let candidates = |scene: usize| (0..VOTES * SEEDS).map(move |own| scene * SEEDS + own % SEEDS);
    let candidates: Vec<usize> = (0..SCENES).flat_map(candidates).collect();
    let xyz = gather_rows(xyz, candidates.clone())?;
    let points = gather_rows(points, candidates)?;
    let numbers: Vec<Vec<usize>> = numbers.iter().map(|own| own.repeat(VOTES)).collect();
    let both = subject
        .model
        .fusion
        .fuse(0, &[points.clone(), image.clone()], pass)?;
    let mut expected = 0.0;
    let features = [&image, &points, &both];
    for ((tower, features), share) in features.iter().enumerate().zip([shares[0], shares[1], 1.0]) {
        let [votes, proposals] = subject.losses(tower, &xyz, features, &numbers, pass)?;
        assert!(votes > 0.01 && proposals > 0.01, "{votes} {proposals}");
        expected += share * (10.0 * votes + proposals);
    }
    let found = subject.learned_from()?;
    // The same operations in another order.
    assert!(
        relative_difference(&[found], &[expected]) < 1e-12,
        "{found} {expected}"
    );
    Ok(())
}

#[test]
fn training_on_points_alone_learns_from_one_tower() -> Result<()> {
    let subject = subject(1, [0.6, 0.35], SEEDS);
    let pass = &mut Pass::training(4);
    let ([xyz, points], numbers) = subject.seeds(pass)?;
    let fused = subject.model.fusion.fuse(0, &[points], pass)?;
    let [votes, proposals] = subject.losses(0, &xyz, &fused, &numbers, pass)?;
    let (found, expected) = (subject.learned_from()?, 10.0 * votes + proposals);
    assert!(
        relative_difference(&[found], &[expected]) < 1e-12,
        "{found} {expected}"
    );
    Ok(())
}

/// Three towers at 0.3, 0.3 and 0.4, where the last one has 1.
#[test]
fn shares_are_those_of_the_original() {
    let shares = ImVoteNet::default().shares;
    assert!(relative_difference(&shares, &[0.3 / 0.4; 2]) < 1e-15);
}

/// Place, feature of points and feature of the image are of the same seed, in its scene.
#[test]
fn what_is_kept_of_a_seed_belongs_together() -> Result<()> {
    let kept = 25;
    let subject = subject(2, [0.75; 2], kept);
    let pass = &mut Pass::evaluation();
    let ([xyz, points], numbers) = subject.seeds(pass)?;
    let image = subject.detector.image[0].forward(&subject.cues(&numbers), pass)?;
    let device = Cpu::default();
    let found = subject.detector.seeds(&device, &subject.scenes, pass)?;
    let row = |x: &Matrix<f64, Cpu>, row: usize| {
        let width = x.shape().1;
        to_host(x)[row * width..][..width].to_vec()
    };
    let same = |a: &[f64], b: &[f64]| relative_difference(a, b) < 1e-12;
    for (scene, seeds) in numbers.iter().enumerate() {
        assert_eq!(found.numbers[scene].len(), kept);
        for (place, number) in found.numbers[scene].iter().enumerate() {
            let own = scene * kept + place;
            let seed = seeds.iter().position(|seed| seed == number);
            let seed = seed.expect("a seed of this scene");
            let of_all = scene * SEEDS + seed;
            assert!(same(&row(&found.xyz, own), &row(&xyz, of_all)));
            let [point, seen] = &found.features[..] else {
                panic!("two features");
            };
            assert!(same(&row(point, own), &row(&points, of_all)));
            let votes = (0..VOTES).map(|vote| (VOTES * scene + vote) * SEEDS + seed);
            let said = votes
                .map(|vote| row(&image, vote))
                .any(|vote| same(&row(seen, own), &vote));
            assert!(said, "scene {scene}, place {place}");
        }
    }
    Ok(())
}
