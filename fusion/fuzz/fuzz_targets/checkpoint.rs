//! A training run between two epochs, which goes on for one more.
#![no_main]

use std::sync::LazyLock;

use dfdx::prelude::Cpu;
use equilibria_fusion::checkpoint::Checkpoint;
use equilibria_fusion::progress::Progress;
use equilibria_fusion::train::Trainer;
use equilibria_fusion::{DataSource, Experiment, Model};
use equilibria_fuzz::{tables, Folder};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| tables("none"));

static EXPERIMENT: LazyLock<Experiment> = LazyLock::new(|| {
    let experiment = json!({
        "data": { "type": "folder", "path": FOLDER.path() },
        "backbone": { "type": "encoder", "hidden": 2 },
        "fusion": {
            "type": "deq",
            "groups": 1,
            "start": "warm",
            "layer": { "type": "residual-block", "groups": 1 },
        },
        "training": {
            "epochs": 2,
            "batch": 4,
            "average": 0.9,
            "optimizer": { "type": "adam", "rate": 1e-3 },
        },
    });
    serde_json::from_value(experiment).expect("a configuration")
});

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("checkpoint.safetensors", bytes);
    let path = FOLDER.path().join("checkpoint.safetensors");
    let Ok(checkpoint) = Checkpoint::read(&path) else {
        return;
    };
    let (device, training) = (Cpu::default(), &EXPERIMENT.training);
    let model = EXPERIMENT.model(&device, &[2, 1], 2);
    let mut model: Model<f64, Cpu> = model.expect("a sound model");
    let Ok(mut progress) = Progress::resume(&checkpoint, &mut model, training) else {
        return;
    };
    let source: &dyn DataSource = &*EXPERIMENT.data;
    let set = source.load().expect("sound tables");
    let mut trainer = Trainer {
        model: &mut model,
        device: &device,
        training,
        seed: 1,
    };
    let mut pass = |_: &Model<f64, Cpu>, _: &mut Progress<f64>| Ok(());
    let _ = trainer.run::<equilibria_core::Error>(&set.train, None, &mut progress, &mut pass);
});
