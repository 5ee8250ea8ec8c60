//! What the trainer tells a model beside the features, what it says of gradients that are not finite, and targets far from 0.

use std::sync::{Arc, Mutex};

use dfdx::prelude::*;
use equilibria_core::{serde_json, Backend, Error, Matrix, Parameters, Result};
use equilibria_fusion::checkpoint::{Checkpoint, Metadata};
use equilibria_fusion::data::{Rows, Split, Table, Targets};
use equilibria_fusion::fusions::concat::ConcatConfig;
use equilibria_fusion::heads::multi_class::MultiClass;
use equilibria_fusion::layers::modules::Linear;
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::predict::predict;
use equilibria_fusion::progress::Progress;
use equilibria_fusion::train::{evaluate, Trainer};
use equilibria_fusion::{Backbone, Experiment, FusionRequest, Fusions, Model, Pass, Training};
use equilibria_testing::random_values;

/// The samples and the features of every pass.
type Seen = Arc<Mutex<Vec<(Option<Vec<usize>>, Vec<f64>)>>>;

/// Hands the features on and writes down what it sees.
struct Witness(Seen);

impl Parameters<f64, Cpu> for Witness {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {}
    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {}
}

impl Backbone<f64, Cpu> for Witness {
    fn encode(
        &self,
        x: &[Matrix<f64, Cpu>],
        _: Option<&Matrix<f64, Cpu>>,
        pass: &mut Pass<f64, Cpu>,
    ) -> Result<Vec<Matrix<f64, Cpu>>> {
        let entry = (pass.samples.clone(), x[0].as_vec());
        self.0.lock().expect("no panic").push(entry);
        Ok(x.to_vec())
    }
}

/// One modality with one feature: the number of the sample.
fn split(rows: usize) -> Split {
    Split {
        modalities: vec![Table {
            name: "number".to_owned(),
            columns: 1,
            values: (0..rows).map(|row| row as f64).collect(),
        }],
        targets: Targets::Classes((0..rows).map(|row| row % 2).collect()),
    }
}

/// A model of one number per row that goes through a [`Witness`], for two classes.
fn witnessed(seen: &Seen) -> Model<f64, Cpu> {
    let mut init = Initializer::new(&Cpu::default(), 1);
    let request = FusionRequest {
        modalities: 1,
        width: 1,
        widths: &[],
        init: &mut init,
    };
    let fusion = <Cpu as Backend<f64>>::build::<Fusions>(&ConcatConfig::default(), request);
    Model {
        backbone: Box::new(Witness(seen.clone())),
        fusion: fusion.expect("it builds").into(),
        linear: Some(Linear::xavier(2, 1, &mut init).expect("memory")),
        head: Box::new(MultiClass::default()),
    }
}

fn training() -> Training {
    let training = r#"{ "epochs": 2, "batch": 3, "optimizer": { "type": "sgd" } }"#;
    serde_json::from_str(training).expect("it parses")
}

fn train(model: &mut Model<f64, Cpu>, rows: &Split, validation: Option<&Split>) -> Result<usize> {
    let (device, training) = (Cpu::default(), training());
    let mut progress = Progress::new(&training).expect("a known rule");
    let mut trainer = Trainer {
        model,
        device: &device,
        training: &training,
        seed: 5,
    };
    let validation = validation.map(|rows| rows as &dyn Rows);
    trainer.run::<Error>(rows, validation, &mut progress, &mut |_, _| Ok(()))
}

#[test]
fn every_training_pass_knows_its_samples_and_no_other_does() {
    let seen = Seen::default();
    let mut model = witnessed(&seen);
    train(&mut model, &split(6), Some(&split(4))).expect("it trains");

    let seen = seen.lock().expect("no panic");
    let (mut named, mut nameless) = (Vec::new(), 0);
    for (samples, features) in seen.iter() {
        match samples {
            Some(samples) => {
                let numbers: Vec<usize> = features.iter().map(|&x| x as usize).collect();
                assert_eq!(samples, &numbers);
                named.extend(numbers);
            }
            None => nameless += 1,
        }
    }
    // Two epochs over 6 samples, and an evaluation of the validation rows after each.
    named.sort_unstable();
    assert_eq!(named, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(nameless, 2);
}

/// One row of class 0 has a feature x: its gradient is (p − y) x for the weight and (p − y) for the bias, and with the weights
/// ∓1 a large x has p = (0, 1). The square of 1e200 is beyond f64, NaN is in everything.
#[test]
fn a_gradient_that_is_not_finite_is_named_with_epoch_and_step() {
    for (feature, name, count) in [(1e200, "head.weight", 1), (f64::NAN, "head.weight", 2)] {
        let seen = Seen::default();
        let mut rows = split(6);
        rows.modalities[0].values[4] = feature;
        let mut model = witnessed(&seen);
        let linear = model.linear.as_mut().expect("classes have one");
        let assigned = linear.assign(vec![vec![-1.0, 1.0], vec![0.0; 2]]);
        assigned.expect("they fit");
        let error = train(&mut model, &rows, None).expect_err("no finite gradient");
        // The passes of the first epoch up to the one with that row.
        let passes = seen.lock().expect("no panic").len();
        let Error::NonFiniteGradient {
            parameter,
            affected,
            parameters,
            epoch,
            step,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(
            (parameter.as_str(), *affected, *parameters),
            (name, count, 2)
        );
        assert_eq!((*epoch, *step), (1, passes));
        let message = error.to_string();
        let place = format!("epoch 1, step {passes}: the gradient of `{name}` is not finite");
        assert!(message.starts_with(&place), "{message}");
        assert!(!message.contains("row"), "{message}");
    }
}

/// Rows of two features and a number near 1e6 that is linear in them, with a deviation of some 600.
fn far(rows: usize, seed: u64) -> Split {
    let values = random_values(2 * rows, seed);
    let number = |x: &[f64]| 1e6 + 1e3 * (x[0] - 0.5 * x[1]);
    Split {
        targets: Targets::Numbers(values.chunks(2).map(number).collect()),
        modalities: vec![Table {
            name: "features".to_owned(),
            columns: 2,
            values,
        }],
    }
}

fn regression(loss: &str) -> Experiment {
    let experiment = serde_json::json!({
        "data": { "type": "folder" },
        "backbone": { "type": "encoder", "hidden": 16, "dropout": 0.0 },
        "fusion": { "type": "concat" },
        "head": { "type": "regression", "loss": loss },
        "training": { "epochs": 60, "batch": 16, "optimizer": { "type": "adam", "rate": 1e-2 } },
    });
    serde_json::from_value(experiment).expect("a configuration")
}

/// In f32, where 1e6 has a sixteenth as its last digit. Without a scale the outputs would have to grow to 1e6 in steps of 1e-2.
#[test]
fn targets_far_from_zero_are_learned_and_said_in_their_units() {
    let (device, rows, test) = (Cpu::default(), far(200, 1), far(50, 2));
    for loss in ["l1", "l2"] {
        let experiment = regression(loss);
        let model = || {
            experiment
                .model::<f32, Cpu>(&device, &[2], 0)
                .expect("sound")
        };
        let mut trained = model();
        let mut progress = Progress::new(&experiment.training).expect("a known rule");
        let mut saved = None;
        let mut trainer = Trainer {
            model: &mut trained,
            device: &device,
            training: &experiment.training,
            seed: 5,
        };
        trainer
            .run::<Error>(&rows, None, &mut progress, &mut |model, progress| {
                saved = Some(progress.snapshot(model, Metadata::new()));
                Ok(())
            })
            .expect("it trains");
        let evaluation = evaluate(&trained, &device, &test).expect("finite");
        let mae = evaluation.scores[0].value;
        assert!(mae < 60.0, "{loss}: {mae}");
        assert!(evaluation.scores[1].value > 0.98, "{loss}");
        let (smallest, last) = match loss {
            "l1" => (mae, progress.history[59].loss),
            // The mean of squares is at least the square of the mean.
            _ => (mae * mae, progress.history[59].loss.sqrt()),
        };
        assert!(
            evaluation.loss > 0.999 * smallest,
            "{loss}: {}",
            evaluation.loss
        );
        assert!(
            evaluation.loss < 100.0 * smallest,
            "{loss}: {}",
            evaluation.loss
        );
        assert!((1.0..200.0).contains(&last), "{loss}: {last}");

        let outputs = predict(&trained, &device, &test.modalities)
            .expect("finite")
            .outputs;
        let Targets::Numbers(numbers) = &test.targets else {
            unreachable!("numbers were made");
        };
        let predicted = outputs
            .iter()
            .map(|row| trained.head.predict(row, &[]).remove(0).remove(0));
        let errors = predicted
            .zip(numbers)
            .map(|(p, y)| (p.parse::<f64>().expect("a number") - y).abs());
        let mean = errors.sum::<f64>() / numbers.len() as f64;
        assert!((mean - mae).abs() < 1e-6 * mae, "{mean} {mae}");

        // A model that goes on has the same scale, not that of other rows.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint.safetensors");
        let bytes = saved.expect("epochs").into_bytes().expect("serializable");
        std::fs::write(&path, bytes).expect("written");
        let saved = Checkpoint::read(&path).expect("whole");
        let mut again = model();
        let resumed = Progress::resume(&saved, &mut again, &experiment.training);
        assert_eq!(resumed.expect("sound").history.len(), 60);
        let scale = |model: &Model<f32, Cpu>| model.head.standardization().expect("a scale");
        assert_eq!(scale(&again), scale(&trained));
        let same = evaluate(&again, &device, &test).expect("finite");
        assert_eq!(same.scores[0].value.to_bits(), mae.to_bits());
    }
}

/// The scale of a configuration is kept: outputs of other programs say the numbers themselves.
#[test]
fn a_scale_that_is_given_is_not_fitted() {
    let mut experiment = regression("l2");
    experiment.head = serde_json::from_value(serde_json::json!({
        "type": "regression",
        "standardization": { "mean": 0.0, "deviation": 1.0 },
    }))
    .expect("a head");
    experiment.validate().expect("in range");
    experiment.training.epochs = 1;
    let device = Cpu::default();
    let mut model = experiment
        .model::<f64, Cpu>(&device, &[2], 0)
        .expect("sound");
    let mut progress = Progress::new(&experiment.training).expect("a known rule");
    let mut trainer = Trainer {
        model: &mut model,
        device: &device,
        training: &experiment.training,
        seed: 5,
    };
    trainer
        .run::<Error>(&far(20, 1), None, &mut progress, &mut |_, _| Ok(()))
        .expect("it trains");
    let scale = model
        .head
        .standardization()
        .expect("the one that was given");
    assert_eq!((scale.mean, scale.deviation), (0.0, 1.0));
}
