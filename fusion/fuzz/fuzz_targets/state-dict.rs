//! State dicts of PyTorch: under names of its modules, as they are or reparametrized, and under those of an original system.
#![no_main]

use std::sync::LazyLock;

use dfdx::prelude::Cpu;
use equilibria_core::{parameters, Backend, Scalar};
use equilibria_fusion::checkpoint::Checkpoint;
use equilibria_fusion::layers::modules::Linear;
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::{Experiment, Model};
use equilibria_fuzz::Folder;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new(&[]));

static EXPERIMENT: LazyLock<Experiment> = LazyLock::new(|| {
    let experiment = json!({
        "data": { "type": "folder" },
        "backbone": { "type": "mm-imdb", "hidden": [2, 2], "width": 2 },
        "fusion": { "type": "concat" },
        "head": { "type": "multi-label" },
        "training": { "epochs": 1, "batch": 2 },
    });
    serde_json::from_value(experiment).expect("a configuration")
});

/// The modules of fusion/tests/state_dicts.
struct Net<E: Scalar, D: Backend<E>> {
    first: Linear<E, D>,
    second: Linear<E, D>,
    third: Linear<E, D>,
}

parameters!(Net {
    first,
    second,
    third
});

impl Net<f64, Cpu> {
    fn new() -> Self {
        let mut init = Initializer::new(&Cpu::default(), 1);
        let mut linear = |inputs| Linear::xavier(4, inputs, &mut init).expect("memory");
        Self {
            first: linear(3),
            second: linear(4),
            third: linear(4),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("model.safetensors", bytes);
    let Ok(checkpoint) = Checkpoint::read(&FOLDER.path().join("model.safetensors")) else {
        return;
    };
    let _ = checkpoint.load(&mut Net::new());
    let model = EXPERIMENT.model(&Cpu::default(), &[2, 1], 2);
    let model: Model<f32, Cpu> = model.expect("a sound model");
    let mut renamed = EXPERIMENT.under_original_names(model);
    let _ = checkpoint.load(&mut renamed);
});
