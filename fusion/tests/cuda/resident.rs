//! What training copies between host and device: data, norms, losses, and nothing that grows with the width of the model.

use dfdx::prelude::*;
use equilibria_core::cuda;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{self, json, Value};
use equilibria_fusion::data::{Split, Table, Targets};
use equilibria_fusion::layers::modules::Linear;
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::model::{BackboneConfig, BackboneRequest, Backbones};
use equilibria_fusion::progress::Progress;
use equilibria_fusion::train::Trainer;
use equilibria_fusion::{FusionConfig, FusionRequest, Fusions, Head, Model, Training};
use equilibria_testing::{random_values, Counters};

use crate::alone;

/// Of each modality, whatever the width of the model is: data alone is as large as this.
const FEATURES: usize = 6;

const ROWS: usize = 8;

/// Everything that training knows, each solve of three evaluations: no sample leaves before.
fn fusion() -> Value {
    let stop = json!({
        "tolerance": { "relative": 1e-30 }, "max_evaluations": 3, "patience": 100, "divergence": 1e300,
        "on_unconverged": "accept",
    });
    json!({
        "type": "deq",
        "groups": 1,
        "layer": { "type": "residual-block", "groups": 1 },
        "dropout": 0.1,
        "stop": stop,
        "backward": { "type": "implicit", "stop": stop },
        "regularizer": [{ "type": "jacobian", "weight": 1.0 }, { "type": "fixed-point-correction" }],
        "stabilizer": [{ "type": "spectral-norm", "iterations": 2 }, { "type": "row-sum" }, { "type": "weight-norm" }],
    })
}

fn split() -> Split {
    let table = |seed: u64| Table {
        name: format!("x{seed}"),
        columns: FEATURES,
        values: random_values(ROWS * FEATURES, seed)
            .into_iter()
            .map(|x| x as f32 as _)
            .collect(),
    };
    Split {
        modalities: vec![table(1), table(2)],
        targets: Targets::Classes((0..ROWS).map(|row| row % 2).collect()),
    }
}

/// What so many epochs ask for, evaluation of each included.
fn trained(fusion: &Value, width: usize, epochs: usize) -> Counters {
    let device = cuda::open(0).expect("a device");
    let mut init = Initializer::new(&device, 1);
    let config = json!({ "type": "encoder", "hidden": width, "dropout": 0.2 });
    let config = registry::make::<dyn BackboneConfig>(&config).expect("it parses");
    let request = BackboneRequest {
        modalities: &[FEATURES; 2],
        classes: 2,
        proposals: None,
        init: &mut init,
        slot: &mut |_, _| Ok(width),
    };
    let backbone = <Cuda as Backend<f32>>::build::<Backbones>(&*config, request);
    let config = registry::make::<dyn FusionConfig>(fusion).expect("it parses");
    let request = FusionRequest {
        modalities: 2,
        width,
        widths: &[],
        init: &mut init,
    };
    let fusion = <Cuda as Backend<f32>>::build::<Fusions>(&*config, request).expect("it builds");
    let head = registry::make::<dyn Head>(&json!({ "type": "multi-class" })).expect("it parses");
    let mut model: Model<f32, Cuda> = Model {
        backbone: backbone.expect("it builds"),
        linear: Some(
            Linear::xavier(head.outputs(2), fusion.output_dim(), &mut init).expect("memory"),
        ),
        fusion: fusion.into(),
        head,
    };
    let training = json!({
        "epochs": epochs, "batch": 4, "optimizer": { "type": "adam" }, "clip": 1.0, "average": 0.9,
    });
    let training: Training = serde_json::from_value(training).expect("it parses");
    let mut progress = Progress::new(&training).expect("in range");
    let mut trainer = Trainer {
        model: &mut model,
        device: &device,
        training: &training,
        seed: 5,
    };
    let rows = split();
    let run = || trainer.run::<Error>(&rows, Some(&rows), &mut progress, &mut |_, _| Ok(()));
    let (counted, done) = Counters::of(run).expect("it counts");
    done.expect("it trains");
    counted
}

/// Bytes to and from the device in an epoch that is not the first.
fn bytes(fusion: &Value, width: usize) -> [u64; 2] {
    let epoch = trained(fusion, width, 2) - trained(fusion, width, 1);
    println!("{width} wide, of an epoch: {epoch:?}");
    [epoch.bytes_to, epoch.bytes_back]
}

/// Layers whose parameters are projected after every step.
fn projected(layer: &str) -> Value {
    let stop = json!({
        "tolerance": { "relative": 1e-30 }, "max_evaluations": 3, "patience": 100, "divergence": 1e300,
        "on_unconverged": "accept",
    });
    json!({
        "type": "equilibrium",
        "layer": { "type": layer },
        "solver": { "type": "picard" },
        "stop": stop,
        "backward": { "type": "neumann", "terms": 2 },
    })
}

#[test]
fn training_copies_nothing_that_grows_with_the_model() {
    let Some(_alone) = alone() else {
        return;
    };
    let projected = ["implicit", "positive-concave", "sparse-coding"].map(projected);
    for fusion in [fusion()].into_iter().chain(projected) {
        assert_eq!(bytes(&fusion, 16), bytes(&fusion, 32), "{fusion}");
    }
}
