//! Contracts of all registered backbones, each with every fusion: a new fusion is tested at every site without an edit.

use std::path::Path;
use std::sync::Arc;

use dfdx::prelude::*;
use equilibria_core::registry::{self, Plugin};
use equilibria_core::serde_json::{self, json, Value};
use equilibria_core::{from_host, to_host, Backend, Matrix, Parameters, Result};
use equilibria_fusion::data::{Boxes, Split, Table, Targets};
use equilibria_fusion::detection::{generated_scenes, SceneRows};
use equilibria_fusion::part::Part;
use equilibria_fusion::{Experiment, Model, Pass};
use equilibria_testing::{misplaced, perturb, random_values, relative_difference, worse};

type Array = Matrix<f64, Cpu>;

const BATCH: usize = 3;

fn plugins(kind: &str) -> Vec<Plugin> {
    registry::of_kind(kind).expect("they are linked")
}

/// A backbone, small, and inputs for it: words are whole numbers. What is to be predicted are classes, or boxes where it proposes some.
struct Site {
    backbone: Value,
    head: Value,
    x: Vec<Array>,
    targets: Targets,
}

fn numbers(columns: usize, seed: u64) -> Array {
    let values = random_values(BATCH * columns, seed);
    from_host(&Cpu::default(), values, (BATCH, columns)).expect("memory")
}

fn words(rows: [&[f64]; BATCH]) -> Array {
    let shape = (BATCH, rows[0].len());
    from_host(&Cpu::default(), rows.concat(), shape).expect("memory")
}

/// Points and images of rooms, and the boxes in them.
fn rooms() -> (Vec<Array>, Targets) {
    let scenes = generated_scenes(BATCH, 60, 5);
    let rows = SceneRows {
        points: 60,
        found: Some(5),
    };
    let tables = rows.tables(&scenes).into_iter();
    let matrix = |table: Table| from_host(&Cpu::default(), table.values, (BATCH, table.columns));
    let boxes = Boxes {
        classes: ["crate", "cabinet"].map(str::to_owned).into(),
        most: 5,
        rows: scenes.iter().map(|own| Arc::from(&own.boxes[..])).collect(),
    };
    let x = tables.map(|table| matrix(table).expect("memory"));
    (x.collect(), Targets::Boxes(boxes))
}

/// The small form of every backbone.
fn site(name: &str) -> Site {
    let mut head = json!({ "type": "multi-class" });
    let mut targets = Targets::Classes(vec![0, 2, 1]);
    let two = || vec![numbers(6, 1), numbers(6, 2)];
    let (mut backbone, x) = match name {
        "encoder" | "mm-dynamics" => (json!({ "hidden": 12, "dropout": 0.0 }), two()),
        "mm-imdb" => (json!({ "hidden": [8], "width": 12, "dropout": 0.0 }), two()),
        "raw" => (json!({ "width": 12 }), vec![numbers(12, 1), numbers(12, 2)]),
        "image" => (
            json!({ "height": 3, "width": 4 }),
            vec![numbers(12, 1), numbers(12, 2)],
        ),
        "imvotenet" => {
            head = json!({ "type": "boxes", "proposals": 6, "headings": 3 });
            let (x, boxes) = rooms();
            targets = boxes;
            let levels = json!([
                { "centers": 24, "radius": 0.5, "neighbors": 6, "widths": [6, 6] },
                { "centers": 12, "radius": 1.0, "neighbors": 6, "widths": [8, 12] },
            ]);
            let backbone = json!({
                "levels": levels, "width": 12, "kept": 12, "vote": 8, "radius": 0.6, "neighbors": 4, "hidden": 8,
            });
            (backbone, x)
        }
        "mutan" => (
            json!({
                "words": 7, "embedding": 4, "question": 6, "regions": 3, "attention": [5, 6], "product": [7, 2],
                "features": [5, 4], "common": 12, "where": ["attention", "classifier"], "dropout": 0.0,
            }),
            vec![
                words([&[1.0, 2.0, 0.0], &[3.0, 0.0, 0.0], &[6.0, 5.0, 4.0]]),
                numbers(3 * 5, 2),
            ],
        ),
        "refnet" => (
            json!({ "backbone": { "type": "encoder", "hidden": 12, "dropout": 0.0 }, "hidden": 7 }),
            two(),
        ),
        "mfm" => (
            json!({
                "backbone": { "type": "mm-imdb", "hidden": [8], "width": 12, "dropout": 0.0 }, "factor": 3, "hidden": 7,
            }),
            two(),
        ),
        "mult" => (
            json!({
                "steps": [3, 2], "hidden": 12, "layers": 1, "heads": 2, "inner": 1, "dropout": 0.0,
            }),
            two(),
        ),
        "cm-bert" => (
            json!({
                "vocabulary": 9, "positions": 12, "hidden": 6, "layers": 2, "heads": 2, "inner": 8, "projection": 4,
                "dropout": 0.0, "attention_dropout": 0.0,
            }),
            vec![
                words([
                    &[1.0, 4.0, 5.0, 6.0, 7.0, 8.0, 3.0, 4.0, 5.0, 6.0, 3.0, 2.0],
                    &[1.0, 7.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                    &[1.0, 8.0, 4.0, 4.0, 6.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                ]),
                numbers(12 * 3, 2),
            ],
        ),
        "mcan" => (
            json!({
                "words": 7, "embedding": 4, "regions": 3, "hidden": 6, "layers": 1, "heads": 2, "inner": 8, "pooling": 5, "width": 12,
                "dropout": 0.0,
            }),
            vec![
                words([&[1.0, 2.0, 0.0], &[3.0, 0.0, 0.0], &[6.0, 5.0, 4.0]]),
                numbers(3 * 5, 2),
            ],
        ),
        other => panic!("{other}: give a small form of the new backbone here"),
    };
    backbone["type"] = json!(name);
    Site {
        backbone,
        head,
        x,
        targets,
    }
}

impl Site {
    fn model(&self, fusion: &Value) -> Result<Model<f64, Cpu>> {
        let experiment = json!({
            "dtype": "f64",
            "data": { "type": "folder" },
            "backbone": self.backbone,
            "fusion": fusion,
            "head": self.head,
        });
        let experiment: Experiment = serde_json::from_value(experiment).expect("it parses");
        experiment.validate()?;
        let columns: Vec<usize> = self.x.iter().map(|x| x.shape().1).collect();
        let classes = match &self.targets {
            Targets::Boxes(boxes) => boxes.classes.len(),
            _ => 3,
        };
        experiment.model(&Cpu::default(), &columns, classes)
    }

    /// The loss of a model, noiseless.
    fn loss(
        &self,
        model: &Model<f64, Cpu>,
    ) -> Result<equilibria_fusion::pass::Differentiated<f64, Cpu>> {
        let targets = model.targets(&Cpu::default(), &self.targets)?;
        let mut pass = Pass::noiseless();
        let outputs = model.outputs(&self.x, Some(&targets), &mut pass)?;
        assert_eq!(*outputs.shape(), (BATCH, model.width()));
        let loss = model.loss(&outputs, &targets, &mut pass)?;
        pass.backward(&loss)
    }
}

/// Whether gradients of a parameter leave something out: in `cm-bert` the size of the text is a constant for the gradient.
fn is_left_out(backbone: &str, name: &str) -> bool {
    let before = [
        "backbone.embedding",
        "backbone.layer",
        "backbone.attention.text",
    ];
    backbone == "cm-bert" && before.iter().any(|part| name.starts_with(part))
}

/// Tight solves, so that differences are exact enough, and normalizations over all features: over two or three of them they are all but
/// jumps, and some rows have no equilibrium or several.
fn tight(config: &Value) -> Value {
    let mut config = config.clone();
    for (key, field) in config.as_object_mut().into_iter().flatten() {
        *field = match key.as_str() {
            "stop" => {
                json!({ "tolerance": { "relative": 1e-12 }, "max_evaluations": 2000, "patience": 200 })
            }
            "groups" => json!(1),
            _ => tight(field),
        };
    }
    config
}

#[test]
fn every_file_is_one_plugin_of_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backbones");
    let misplaced = misplaced(&plugins("backbone"), &folder).expect("the plugin folder");
    assert_eq!(misplaced, [""; 0]);
}

#[test]
fn every_default_is_valid_and_documented() {
    for plugin in plugins("backbone") {
        let config = registry::make::<dyn equilibria_fusion::BackboneConfig>(&plugin.default);
        config.expect("it parses").validate().expect("valid");
        assert!(!plugin.summary.is_empty(), "{}", plugin.name);
        for (field, docs) in &plugin.fields {
            assert!(!docs.is_empty(), "{}: {field}", plugin.name);
            assert!(plugin.default.get(field).is_some(), "{field}");
        }
    }
}

/// The derivative of the loss along one random direction of all trained parameters, against central differences.
#[test]
fn every_fusion_works_and_learns_at_every_site() -> Result<()> {
    for backbone in plugins("backbone") {
        let site = site(&backbone.name);
        for fusion in plugins("fusion") {
            let name = format!("{} with {}", backbone.name, fusion.name);
            let mut model = site.model(&tight(&fusion.default))?;
            let mut statistics = Vec::new();
            model.visit_statistics("", &mut |name| statistics.push(name.to_owned()));
            let mut trained: Vec<Array> = model.named().into_iter().map(|(_, t)| t).collect();
            perturb(&mut trained, 0.02, 4)?;
            let named = model.named();
            let start: Vec<Vec<f64>> = (named.iter().zip(&trained))
                .map(|((name, old), new)| match statistics.contains(name) {
                    true => to_host(old),
                    false => to_host(new),
                })
                .collect();
            let directions: Vec<Vec<f64>> = (0..)
                .zip(&named)
                .map(|(seed, (name, tensor))| {
                    let entries = to_host(tensor).len();
                    let fixed = statistics.contains(name) || is_left_out(&backbone.name, name);
                    match fixed {
                        true => vec![0.0; entries],
                        false => random_values(entries, 90 + seed),
                    }
                })
                .collect();
            let mut at = |shift: f64| {
                let moved = start.iter().zip(&directions).map(|(start, direction)| {
                    let entries = start.iter().zip(direction);
                    entries.map(|(w, d)| w + shift * d).collect()
                });
                model.assign(moved.collect())?;
                let mut outcome = site.loss(&model)?;
                for (equilibrium, forward, adjoint) in &outcome.reports {
                    let adjoint = adjoint.as_ref().map_or(0, |report| report.unconverged());
                    let unsolved = [forward.unconverged(), adjoint];
                    assert_eq!(unsolved, [0; 2], "{name}: {equilibrium} is not solved");
                }
                let mut slope = 0.0;
                for ((_, tensor), direction) in model.named().iter().zip(&directions) {
                    slope += Cpu::with_gradient(&mut outcome.gradients, tensor, |g| {
                        g.iter().zip(direction).map(|(g, d)| g * d).sum::<f64>()
                    })?;
                }
                Ok::<_, equilibria_core::Error>((outcome.loss, slope))
            };
            // Solves are good to 1e-12, which the smallest step makes 1e-6. A step that crosses a kink of a ReLU, or from one equilibrium
            // to another, says nothing.
            let mut error = f64::INFINITY;
            for step in [1e-5, 1e-6] {
                let [(ahead, slope_ahead), (behind, slope_behind)] = [at(step)?, at(-step)?];
                let difference = (ahead - behind) / (2.0 * step);
                let slope = (slope_ahead + slope_behind) / 2.0;
                error = error.min(worse(0.0, (slope - difference).abs()) / (1.0 + slope.abs()));
            }
            assert!(error < 1e-5, "{name}: {error:e}");
        }
    }
    Ok(())
}

/// Masks everywhere.
fn with_dropout(config: &Value) -> Value {
    let mut config = config.clone();
    for (key, field) in config.as_object_mut().into_iter().flatten() {
        *field = match field.is_number() && key.ends_with("dropout") {
            true => json!(0.3),
            false => with_dropout(field),
        };
    }
    config
}

/// Masks, probes and losses of a part of a batch are those of its rows in the batch: what ranks add up is the gradient of one.
#[test]
fn parts_of_a_batch_add_up_to_it_or_have_statistics() -> Result<()> {
    for backbone in plugins("backbone") {
        let mut site = site(&backbone.name);
        site.backbone = with_dropout(&site.backbone);
        for fusion in plugins("fusion") {
            let name = format!("{} with {}", backbone.name, fusion.name);
            let mut config = with_dropout(&tight(&fusion.default));
            if config.get("regularizer").is_some() {
                config["regularizer"] = json!([{ "type": "jacobian" }]);
            }
            let model = site.model(&config)?;
            let mut dependent = false;
            model.visit_statistics("", &mut |_| dependent = true);
            if dependent {
                continue;
            }
            let gradient = |rows: std::ops::Range<usize>| -> Result<Vec<f64>> {
                let some: Vec<usize> = rows.clone().collect();
                let x = site.x.iter().map(|x| {
                    let columns = x.shape().1;
                    let values = &to_host(x)[rows.start * columns..rows.end * columns];
                    from_host(&Cpu::default(), values.to_vec(), (rows.len(), columns))
                });
                let x: Vec<Array> = x.collect::<Result<_>>()?;
                let split = Split {
                    modalities: Vec::new(),
                    targets: site.targets.clone(),
                };
                let own = split.select(&some).targets;
                let targets = model.targets(&Cpu::default(), &own)?;
                let mut pass = Pass::training(7);
                pass.part = Some(Part::new(rows, BATCH));
                pass.samples = Some(some);
                let outputs = model.outputs(&x, Some(&targets), &mut pass)?;
                let loss = model.loss(&outputs, &targets, &mut pass)?;
                let mut outcome = pass.backward(&loss)?;
                let mut all = vec![outcome.loss];
                for (_, tensor) in model.named() {
                    Cpu::with_gradient(&mut outcome.gradients, &tensor, |own| {
                        all.extend_from_slice(own);
                    })?;
                }
                Ok(all)
            };
            let whole = gradient(0..BATCH)?;
            let mut sum = gradient(0..1)?;
            for (sum, other) in sum.iter_mut().zip(gradient(1..BATCH)?) {
                *sum += other;
            }
            let error = relative_difference(&sum, &whole);
            assert!(error < 1e-9, "{name}: {error:e}");
        }
    }
    Ok(())
}
