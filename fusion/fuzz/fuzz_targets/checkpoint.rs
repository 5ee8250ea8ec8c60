//! Parameters of a model, and where its training stands.
#![no_main]

use std::sync::LazyLock;

use dfdx::prelude::Cpu;
use equilibria_fusion::checkpoint::Checkpoint;
use equilibria_fusion::{Experiment, Model};
use equilibria_fuzz::Folder;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new(&[]));

static EXPERIMENT: LazyLock<Experiment> = LazyLock::new(|| {
    let experiment = json!({
        "data": { "type": "folder" },
        "backbone": { "type": "encoder", "hidden": 2 },
        "fusion": { "type": "sum" },
        "training": { "epochs": 1, "batch": 2 },
    });
    serde_json::from_value(experiment).expect("a configuration")
});

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("model.safetensors", bytes);
    let Ok(checkpoint) = Checkpoint::read(&FOLDER.path().join("model.safetensors")) else {
        return;
    };
    let model = EXPERIMENT.model(&Cpu::default(), &[2, 1], 2);
    let mut model: Model<f32, Cpu> = model.expect("a sound model");
    let _ = checkpoint.load(&mut model);
});
