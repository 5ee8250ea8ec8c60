//! Detectors of boxes: gradients, learning, and the files of scans.

use dfdx::prelude::*;
use equilibria_core::{registry, to_host, Backend, Parameters, Result};
use equilibria_fusion::detection::{
    decode, generated_scenes, BoxCoding, CandidateMask, Detector, DetectorSizes, Outputs, Scene,
};
use equilibria_fusion::layers::optimizer::{Adam, Optimizer, OptimizerConfig};
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::points::{Level, Sampling};
use equilibria_fusion::{FusionConfig, Pass};
use equilibria_testing::random_values;
use serde_json::{json, Value};

/// Boxes of a scene that are learned from at most.
const MOST: usize = 6;

fn coding() -> BoxCoding {
    BoxCoding {
        headings: 4,
        mean_sizes: vec![[0.6, 0.4, 0.5]; 2],
    }
}

fn sizes() -> DetectorSizes {
    let level = |centers, radius, neighbors, widths: [usize; 3]| Level {
        sampling: Sampling {
            centers,
            radius,
            neighbors,
        },
        widths: widths.to_vec(),
    };
    DetectorSizes {
        levels: vec![
            level(48, 0.3, 8, [8, 8, 16]),
            level(24, 0.6, 8, [16, 16, 16]),
            level(12, 1.2, 4, [16, 16, 16]),
        ],
        width: 16,
        kept: 24,
        mask: CandidateMask::Vote,
        keep: 1.0,
        vote: 16,
        proposals: Sampling {
            centers: 12,
            radius: 0.5,
            neighbors: 4,
        },
        hidden: 16,
        outputs: Outputs::of(&coding(), 2),
        shares: [0.3, 0.3, 0.4],
    }
}

fn detector<E: equilibria_core::Scalar>(fusion: Option<Value>) -> Detector<E, Cpu>
where
    Cpu: Backend<E>,
{
    let config = fusion.map(|fusion| registry::make::<dyn FusionConfig>(&fusion).expect("known"));
    let init = &mut Initializer::new(&Cpu::default(), 3);
    Detector::new(sizes(), config.as_deref(), init).expect("sound sizes")
}

/// The fusions that stand in the joint tower here, and none.
fn fusions() -> [Option<Value>; 4] {
    let stop =
        json!({ "tolerance": { "relative": 1e-12 }, "max_evaluations": 2000, "patience": 200 });
    let deq = json!({
        "type": "deq", "groups": 1, "stop": stop, "layer": { "type": "residual-block", "groups": 1 },
        "backward": { "type": "implicit", "stop": stop },
    });
    [
        None,
        Some(json!({ "type": "concat" })),
        Some(json!({ "type": "sum" })),
        Some(deq),
    ]
}

/// Loss and gradients in training, always with the same votes.
fn differentiate(
    detector: &Detector<f64, Cpu>,
    scenes: &[Scene],
) -> Result<equilibria_fusion::pass::Differentiated<f64, Cpu>> {
    let mut pass = Pass::training(7);
    let made = detector.forward(&Cpu::default(), scenes, &mut pass)?;
    let loss = detector.loss(scenes, &made, &coding(), MOST, &mut pass)?;
    pass.backward(&loss)
}

/// The derivative of the loss along a random direction of all parameters, and its central difference with a step.
fn slopes(
    detector: &mut Detector<f64, Cpu>,
    scenes: &[Scene],
    (draw, step): (u64, f64),
) -> Result<[f64; 2]> {
    let mut statistics = Vec::new();
    detector.visit_statistics("", &mut |name| statistics.push(name.to_owned()));
    let named = detector.named();
    let start: Vec<Vec<f64>> = named.iter().map(|(_, tensor)| to_host(tensor)).collect();
    let directions: Vec<Vec<f64>> = (0..)
        .zip(named.iter().zip(&start))
        .map(
            |(number, ((name, _), start))| match statistics.contains(name) {
                true => vec![0.0; start.len()],
                false => random_values(start.len(), 1000 * draw + number),
            },
        )
        .collect();
    let mut at = |shift: f64| {
        let moved = start.iter().zip(&directions).map(|(start, direction)| {
            let entries = start.iter().zip(direction);
            entries.map(|(w, d)| w + shift * d).collect()
        });
        detector.assign(moved.collect())?;
        let mut outcome = differentiate(detector, scenes)?;
        let mut slope = 0.0;
        for ((_, tensor), direction) in detector.named().iter().zip(&directions) {
            slope += Cpu::with_gradient(&mut outcome.gradients, tensor, |g| {
                g.iter().zip(direction).map(|(g, d)| g * d).sum::<f64>()
            })?;
        }
        Ok::<_, equilibria_core::Error>((outcome.loss, slope))
    };
    let [(ahead, slope_ahead), (behind, slope_behind)] = [at(step)?, at(-step)?];
    at(0.0)?;
    Ok([
        (slope_ahead + slope_behind) / 2.0,
        (ahead - behind) / (2.0 * step),
    ])
}

#[test]
fn gradients_are_those_of_the_loss_with_every_fusion() -> Result<()> {
    let scenes = generated_scenes(2, 150, 5);
    for fusion in fusions() {
        let name = format!("{fusion:?}");
        let mut detector = detector::<f64>(fusion);
        // A step that crosses a kink, of a ReLU, a maximum, or a choice of points, says nothing: some direction has none for some step.
        let mut errors = Vec::new();
        for draw in 1..4 {
            for step in [1e-6, 1e-7, 1e-8] {
                let [slope, difference] = slopes(&mut detector, &scenes, (draw, step))?;
                errors.push((slope - difference).abs() / (1.0 + slope.abs()));
            }
        }
        let best = errors.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(best < 1e-6, "{name}: {errors:?}");
    }
    Ok(())
}

/// In evaluation nothing is drawn: scenes have the same proposals whichever others are beside them.
#[test]
fn a_scene_is_judged_by_itself() -> Result<()> {
    let scenes = generated_scenes(3, 150, 6);
    for fusion in fusions() {
        let detector = detector::<f64>(fusion);
        let rows = |scenes: &[Scene], first: usize| -> Result<Vec<Vec<f64>>> {
            let mut pass = Pass::evaluation();
            pass.samples = Some((first..first + scenes.len()).collect());
            let made = detector.forward(&Cpu::default(), scenes, &mut pass)?;
            Ok(detector.rows(&made))
        };
        let all = rows(&scenes, 0)?;
        assert_eq!(all.len(), 3);
        for (number, own) in all.iter().enumerate() {
            let alone = rows(&scenes[number..=number], number)?.concat();
            assert_eq!(alone.len(), own.len());
            let far = alone.iter().zip(own).any(|(a, b)| (a - b).abs() > 1e-9);
            assert!(!far, "scene {number}");
            let found = decode(own, sizes().outputs, &coding(), 0.25, 0.0).expect("it fits");
            assert!(!found.is_empty() && found.len() <= 12);
        }
    }
    Ok(())
}

#[test]
fn the_loss_falls_in_training() -> Result<()> {
    let scenes = generated_scenes(4, 150, 7);
    let mut detector = detector::<f32>(Some(json!({ "type": "concat" })));
    let adam = OptimizerConfig::Adam(Adam {
        rate: 5e-3,
        ..Adam::default()
    });
    let (mut optimizer, mut losses) = (Optimizer::new(adam)?, Vec::new());
    for step in 0..25 {
        let mut pass = Pass::training(step);
        let made = detector.forward(&Cpu::default(), &scenes, &mut pass)?;
        let loss = detector.loss(&scenes, &made, &coding(), MOST, &mut pass)?;
        let mut outcome = pass.backward(&loss)?;
        losses.push(outcome.loss);
        optimizer.step(&mut detector, &mut outcome.gradients, 1.0, 1.0)?;
    }
    let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[20..]));
    assert!(last < 0.8 * first, "{losses:?}");
    Ok(())
}

#[test]
fn scenes_that_do_not_fit_together_are_refused() {
    let mut scenes = generated_scenes(2, 150, 8);
    let detector = detector::<f64>(None);
    let run = |scenes: &[Scene]| -> Option<equilibria_core::Error> {
        let made = detector.forward(&Cpu::default(), scenes, &mut Pass::evaluation());
        made.err()
    };
    scenes[1].heights.pop();
    assert!(matches!(
        run(&scenes),
        Some(equilibria_core::Error::Shape { .. })
    ));
    assert!(matches!(
        run(&[]),
        Some(equilibria_core::Error::Shape { .. })
    ));
}
