//! Running statistics: made by training passes, left alone by optimizers, kept by checkpoints.

use dfdx::prelude::Cpu;
use equilibria_core::serde_json::{self, json};
use equilibria_core::{Error, Parameters};
use equilibria_fusion::checkpoint::Checkpoint;
use equilibria_fusion::progress::Progress;
use equilibria_fusion::train::{evaluate, tensors, Trainer};
use equilibria_fusion::{Experiment, Model, Pass};

type Model64 = Model<f64, Cpu>;

fn experiment() -> Experiment {
    let experiment = json!({
        "dtype": "f64",
        "data": { "type": "generated-movies", "train": 24, "test": 10 },
        "backbone": { "type": "mm-imdb", "hidden": [6], "width": 4, "dropout": 0.2 },
        "fusion": { "type": "concat" },
        "head": { "type": "multi-label" },
        "training": {
            "epochs": 3,
            "batch": 8,
            "optimizer": { "type": "adamw", "rate": 0.1, "weight_decay": 0.5 },
            "average": 0.5,
        },
    });
    serde_json::from_value(experiment).expect("it parses")
}

fn model(experiment: &Experiment) -> Model64 {
    let model = experiment.model(&Cpu::default(), &[10, 14], 5);
    model.expect("it builds")
}

/// Parameters and statistics, with the names of the latter.
fn numbers(model: &Model64, statistics: bool) -> Vec<(String, Vec<f64>)> {
    let mut names = Vec::new();
    model.visit_statistics("", &mut |name| names.push(name.to_owned()));
    assert_eq!(names.len(), 2 * 3 * 2);
    let named = model.named().into_iter();
    let wanted = named.filter(|(name, _)| names.contains(name) == statistics);
    wanted
        .map(|(name, tensor)| (name, tensor.as_vec()))
        .collect()
}

#[test]
fn optimizers_leave_what_passes_have_made() {
    let experiment = experiment();
    let data = experiment.data.load().expect("sound");
    let mut model = model(&experiment);
    let x = tensors(&Cpu::default(), &data.train).expect("memory");
    let targets = model.targets(&Cpu::default(), &data.train.targets);
    let targets = targets.expect("they fit");

    let start = numbers(&model, true);
    let mut pass = Pass::evaluation();
    model.outputs(&x, None, &mut pass).expect("sound");
    assert_eq!(numbers(&model, true), start, "evaluation changes nothing");

    let mut pass = Pass::training(1);
    let outputs = model.outputs(&x, None, &mut pass).expect("sound");
    let loss = model.loss(&outputs, &targets, &mut pass).expect("they fit");
    let seen = numbers(&model, true);
    for ((name, before), (_, after)) in start.iter().zip(&seen) {
        assert_ne!(before, after, "{name}");
    }
    let before = numbers(&model, false);
    let mut outcome = pass.backward(&loss).expect("a tape");
    let rule = experiment.training.optimizer.clone();
    let optimizer = equilibria_fusion::layers::optimizer::Optimizer::new(rule);
    let mut optimizer = optimizer.expect("in range");
    let step = optimizer.step(&mut model, &mut outcome.gradients, 1.0, 1.0);
    step.expect("memory");
    assert_eq!(numbers(&model, true), seen);
    for ((name, before), (_, after)) in before.iter().zip(numbers(&model, false)) {
        assert_ne!(*before, after, "{name}");
    }
}

/// A run that was stopped goes on as if it had not been, to the last bit.
#[test]
fn checkpoints_keep_them() {
    let experiment = experiment();
    let data = experiment.data.load().expect("sound");
    let device = Cpu::default();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint.safetensors");
    let run = |model: &mut Model64, progress: &mut Progress<f64>, stop: usize| {
        let mut trainer = Trainer {
            model,
            device: &device,
            training: &experiment.training,
            seed: 5,
        };
        let mut observe = |model: &Model64, progress: &mut Progress<f64>| {
            if progress.history.len() == stop {
                let snapshot = progress.snapshot(model, Default::default());
                let bytes = snapshot.into_bytes().expect("bytes");
                std::fs::write(&path, bytes).expect("written");
                return Err(Error::Missing {
                    what: "more".to_owned(),
                    remedy: "go on",
                });
            }
            Ok(())
        };
        trainer.run(&data.train, None, progress, &mut observe)
    };
    let new = || Progress::new(&experiment.training).expect("in range");
    let mut whole = model(&experiment);
    run(&mut whole, &mut new(), 9).expect("it trains");

    run(&mut model(&experiment), &mut new(), 2).expect_err("it is stopped");
    let saved = Checkpoint::read(&path).expect("readable");
    let mut resumed = model(&experiment);
    let progress = Progress::resume(&saved, &mut resumed, &experiment.training);
    run(&mut resumed, &mut progress.expect("whole"), 9).expect("it trains");
    for statistics in [true, false] {
        assert_eq!(numbers(&resumed, statistics), numbers(&whole, statistics));
    }
    let score = |model: &Model64| evaluate(model, &device, &data.test).expect("sound").loss;
    assert_eq!(score(&resumed).to_bits(), score(&whole).to_bits());
}
