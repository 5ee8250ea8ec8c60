//! What the trainer tells a model beside the features.

use std::sync::{Arc, Mutex};

use dfdx::prelude::*;
use equilibria_core::{Backend, Error, Matrix, Parameters, Result};
use equilibria_fusion::data::{Split, Table, Targets};
use equilibria_fusion::fusions::concat::ConcatConfig;
use equilibria_fusion::heads::multi_class::MultiClass;
use equilibria_fusion::layers::modules::Linear;
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::progress::Progress;
use equilibria_fusion::train::Trainer;
use equilibria_fusion::{Backbone, FusionRequest, Fusions, Model, Pass, Training};

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

#[test]
fn every_training_pass_knows_its_samples_and_no_other_does() {
    let (device, seen) = (Cpu::default(), Seen::default());
    let mut init = Initializer::new(&device, 1);
    let request = FusionRequest {
        modalities: 1,
        width: 1,
        init: &mut init,
    };
    let fusion = <Cpu as Backend<f64>>::build::<Fusions>(&ConcatConfig::default(), request);
    let mut model = Model {
        backbone: Box::new(Witness(seen.clone())),
        fusion: fusion.expect("it builds"),
        linear: Linear::xavier(2, 1, &mut init).expect("memory"),
        head: Box::new(MultiClass::default()),
    };
    let training = r#"{ "epochs": 2, "batch": 3, "optimizer": { "type": "sgd" } }"#;
    let training: Training = equilibria_core::serde_json::from_str(training).expect("it parses");
    let mut progress = Progress::new(&training).expect("a known rule");
    let mut trainer = Trainer {
        model: &mut model,
        device: &device,
        training: &training,
        seed: 5,
    };
    trainer
        .run::<Error>(
            &split(6),
            Some(&split(4)),
            &mut progress,
            &mut |_, _| Ok(()),
        )
        .expect("it trains");

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
