//! Detectors of boxes: learning, what a scene is judged by, and how rooms are moved in training.

use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::serde_json::{self, json, Value};
use equilibria_core::{Backend, Error, Result, Scalar};
use equilibria_fusion::data::{Boxes, Split, Targets};
use equilibria_fusion::detection::{generated_scenes, true_votes, Scene, SceneRows};
use equilibria_fusion::predict::{predict, Prediction};
use equilibria_fusion::progress::Progress;
use equilibria_fusion::train::{evaluate, Trainer};
use equilibria_fusion::{Experiment, Model};

const POINTS: usize = 150;

/// How rows of generated scenes are made.
const ROWS: SceneRows = SceneRows {
    points: POINTS,
    found: Some(5),
};

fn rooms(scenes: &[Scene]) -> Split {
    Split {
        modalities: ROWS.tables(scenes),
        targets: Targets::Boxes(Boxes {
            classes: ["crate", "cabinet"].map(str::to_owned).into(),
            most: 6,
            rows: scenes.iter().map(|own| Arc::from(&own.boxes[..])).collect(),
        }),
    }
}

fn configuration(fusion: Value) -> Value {
    let level = |centers: usize, radius: f64, neighbors: usize, widths: [usize; 3]| json!({ "centers": centers, "radius": radius, "neighbors": neighbors, "widths": widths });
    let backbone = json!({
        "type": "imvotenet",
        "levels": [
            level(48, 0.3, 8, [8, 8, 16]), level(24, 0.6, 8, [16, 16, 16]), level(12, 1.2, 4, [16, 16, 16]),
        ],
        "width": 16, "kept": 24, "keep": 1.0, "vote": 16, "radius": 0.5, "neighbors": 4, "hidden": 16, "halving": 10,
    });
    let head = json!({
        "type": "boxes", "proposals": 12, "headings": 4, "sizes": [[0.6, 0.4, 0.5], [0.6, 0.4, 0.5]], "objectness": 0.0,
    });
    json!({
        "seed": 3, "data": { "type": "generated-rooms" }, "backbone": backbone, "fusion": fusion, "head": head,
        "training": { "epochs": 60, "batch": 4, "optimizer": { "type": "adam", "rate": 5e-3 } },
    })
}

fn experiment(fusion: Value) -> Experiment {
    let experiment = configuration(fusion);
    let experiment: Experiment = serde_json::from_value(experiment).expect("it parses");
    experiment.validate().expect("sound");
    experiment
}

fn model<E: Scalar>(fusion: Value) -> Model<E, Cpu>
where
    Cpu: Backend<E>,
{
    let columns = [4 * POINTS, 19 + 3 * POINTS + 6 * 5];
    let model = experiment(fusion).model(&Cpu::default(), &columns, 2);
    model.expect("sound sizes")
}

/// In evaluation nothing is drawn: scenes have the same proposals whichever others are beside them.
#[test]
fn a_scene_is_judged_by_itself() -> Result<()> {
    let scenes = generated_scenes(3, POINTS, 6);
    for fusion in [
        json!({ "type": "concat" }),
        json!({ "type": "deq", "groups": 1 }),
    ] {
        let model = model::<f64>(fusion);
        let device = Cpu::default();
        let all = predict(&model, &device, &ROWS.tables(&scenes))?.outputs;
        assert_eq!(all.len(), 3);
        for (number, own) in all.iter().enumerate() {
            let alone = ROWS.tables(&scenes[number..=number]);
            let alone = predict(&model, &device, &alone)?.outputs.concat();
            assert_eq!(alone.len(), own.len());
            let far = alone.iter().zip(own).any(|(a, b)| (a - b).abs() > 1e-9);
            assert!(!far, "scene {number}");
            let names = ["crate", "cabinet"].map(str::to_owned);
            let found = model.head.predict(own, &names);
            assert!(!found.is_empty() && found.len() <= 12);
        }
    }
    Ok(())
}

#[test]
fn the_loss_falls_in_training() -> Result<()> {
    let rows = rooms(&generated_scenes(8, POINTS, 7));
    let experiment = experiment(json!({ "type": "concat" }));
    let (device, mut model) = (Cpu::default(), model::<f32>(json!({ "type": "concat" })));
    let mut progress = Progress::new(&experiment.training)?;
    let before = evaluate(&model, &device, &rows)?;
    let mut trainer = Trainer {
        model: &mut model,
        device: &device,
        training: &experiment.training,
        seed: 1,
    };
    trainer.run::<Error>(&rows, None, &mut progress, &mut |_, _| Ok(()))?;
    let losses: Vec<f64> = progress.history.iter().map(|epoch| epoch.loss).collect();
    let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
    assert!(mean(&losses[57..]) < 0.8 * mean(&losses[..3]), "{losses:?}");
    let after = evaluate(&model, &device, &rows)?;
    assert!(after.loss < before.loss, "{} {}", before.loss, after.loss);
    Ok(())
}

/// What a step learns from follows from its seed, and from the number of the row, whichever others are beside it.
#[test]
fn rooms_are_moved_by_the_seed_of_a_step() {
    let scenes = generated_scenes(4, POINTS, 8);
    let (rows, model) = (rooms(&scenes), model::<f64>(json!({ "type": "sum" })));
    let moved = |batch: &[usize], seed: u64| {
        let moved = model.backbone.augmented(&rows, batch, batch, seed);
        moved.expect("they are moved")
    };
    assert_eq!(moved(&[2, 0], 5), moved(&[2, 0], 5));
    assert_eq!(moved(&[2, 0], 5).select(&[1]), moved(&[0], 5));
    assert_ne!(moved(&[0], 5), moved(&[0], 6));
    assert_ne!(moved(&[0], 5), rows.select(&[0]));
    // Boxes move along: the same points are in them.
    let split = moved(&[3], 9);
    let Targets::Boxes(boxes) = &split.targets else {
        panic!("boxes");
    };
    let inside = |scene: &Scene, boxes: &[_]| {
        let shapes: Vec<_> = boxes.iter().map(|(shape, _)| *shape).collect();
        true_votes(&scene.points, &shapes).inside
    };
    let after = ROWS
        .scenes(&split.modalities, &[0])
        .next()
        .expect("a scene");
    let before = inside(&scenes[3], &scenes[3].boxes);
    assert_eq!(inside(&after, &boxes.rows[0]), before);
    assert!(before.iter().any(|&inside| inside));
}

#[test]
fn modalities_that_are_no_scenes_are_refused() {
    for columns in [&[600, 499 - 1][..], &[601], &[600, 499, 600]] {
        let made =
            experiment(json!({ "type": "sum" })).model::<f64, Cpu>(&Cpu::default(), columns, 2);
        let error = made.err().expect("no scenes");
        assert!(matches!(error, Error::Shape { .. }), "{error}");
    }
}

/// Its width alone may be that of points: generated rooms of 513 points have images of 1588 numbers.
#[test]
fn an_image_is_not_taken_for_points() {
    let columns = [19 + 3 * 513 + 6 * 5];
    assert!(SceneRows::of(&columns).is_some());
    let validated = |chosen: Value, refiner: bool| {
        let mut config = configuration(json!({ "type": "sum" }));
        config["modalities"] = chosen;
        if refiner {
            let inside = config["backbone"].take();
            config["backbone"] = json!({ "type": "refnet", "backbone": inside });
        }
        let experiment: Experiment = serde_json::from_value(config).expect("it parses");
        experiment.validate()
    };
    for refiner in [false, true] {
        for chosen in [json!(null), json!([1]), json!([1, 2])] {
            assert!(validated(chosen, refiner).is_ok());
        }
        for chosen in [json!([2]), json!([2, 1]), json!([1, 3])] {
            let error = validated(chosen, refiner).expect_err("no points");
            let field = matches!(
                error,
                Error::Config {
                    plugin: "imvotenet",
                    field: "modalities",
                    ..
                }
            );
            assert!(
                field && error.to_string().contains("[1], the points"),
                "{error}"
            );
        }
    }
}

/// A table may say anything; the model knows two classes. The row is that of the table, not of what is computed at once.
#[test]
fn a_finding_of_an_unknown_class_is_refused_by_its_row() {
    let mut scenes = generated_scenes(258, POINTS, 9);
    let model = model::<f32>(json!({ "type": "sum" }));
    let refused = |result: Result<Prediction>, row: usize| {
        let error = result.expect_err("an unknown class");
        let message = error.to_string();
        assert!(matches!(error, Error::Shape { .. }), "{message}");
        let row = format!("row {row}, the class of finding 2");
        assert!(
            message.contains(&row) && message.contains("got 7"),
            "{message}"
        );
    };
    let device = Cpu::default();
    for row in [257, 1] {
        scenes[row].found[1].class = 7;
        refused(predict(&model, &device, &ROWS.tables(&scenes)), row + 1);
    }
}
