//! The shapes parameters have in files, and those that are accepted; arrays of checkpoints that are too short.

use std::path::Path;

use dfdx::prelude::Cpu;
use equilibria_fusion::checkpoint::{to_bytes, Checkpoint, CheckpointError, Metadata};
use equilibria_fusion::core::{Error, Parameters};
use equilibria_fusion::data::{Split, Table, Targets};
use equilibria_fusion::progress::Progress;
use equilibria_fusion::train::Trainer;
use equilibria_fusion::{Experiment, Model};
use equilibria_testing::random_values;
use safetensors::tensor::TensorView;
use safetensors::SafeTensors;

fn experiment(seed: u64) -> Experiment {
    let experiment = serde_json::json!({
        "seed": seed,
        "data": { "type": "folder" },
        "backbone": { "type": "mm-dynamics", "hidden": 8 },
        "fusion": { "type": "deq" },
        "training": { "epochs": 1, "batch": 2, "optimizer": { "type": "adam" }, "average": 0.9 },
    });
    serde_json::from_value(experiment).expect("a configuration")
}

/// A model with linear maps from one feature and to one output.
fn model(seed: u64) -> Model<f64, Cpu> {
    let model = experiment(seed).model(&Cpu::default(), &[1, 5], 3);
    model.expect("sound")
}

fn values(model: &Model<f64, Cpu>) -> Vec<Vec<f64>> {
    model.named().iter().map(|(_, t)| t.as_vec()).collect()
}

/// A file of the parameters, with shapes as `reshape` makes them.
fn file(model: &Model<f64, Cpu>, reshape: impl Fn(&[usize]) -> Vec<usize>) -> Vec<u8> {
    let bytes = to_bytes(model, Metadata::new()).expect("serializable");
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    let views = file.iter().map(|(name, view)| {
        let view = TensorView::new(view.dtype(), reshape(view.shape()), view.data());
        (name, view.expect("as many entries"))
    });
    safetensors::serialize(views, None).expect("serializable")
}

fn load(bytes: &[u8], model: &mut Model<f64, Cpu>) -> Result<(), CheckpointError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).expect("written");
    Checkpoint::read(Path::new(&path))?.load(model)
}

/// Every `Metadata` has an order of its own: with eight keys, two are alike once in 40320 times.
#[test]
fn equal_models_make_equal_files() {
    let bytes = || {
        let keys = ["a", "b", "c", "d", "e", "f", "g", "ü"];
        let metadata: Metadata = keys.map(|key| (key.to_owned(), key.to_owned())).into();
        to_bytes(&model(1), metadata).expect("serializable")
    };
    assert!(bytes() == bytes());
    let (_, header) = SafeTensors::read_metadata(&bytes()).expect("whole");
    assert_eq!(header.metadata().as_ref().map(Metadata::len), Some(8));
}

#[test]
fn vectors_have_one_dimension_and_weights_of_linear_maps_two() {
    let bytes = to_bytes(&model(1), Metadata::new()).expect("serializable");
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    for (name, shape) in [
        ("backbone.modality.1.gate.weight", &[1, 1][..]),
        ("backbone.modality.1.gate.bias", &[1]),
        ("backbone.modality.2.confidence.weight", &[1, 8]),
        ("backbone.modality.2.confidence.bias", &[1]),
        ("fusion.theta.1.hat.weight", &[8, 8]),
        ("fusion.theta.1.hat.bias", &[8]),
        ("fusion.theta.2.gn3.weight", &[8]),
        ("fusion.fuse.w", &[2]),
        ("head.weight", &[3, 8]),
    ] {
        let view = file.tensor(name).expect("a parameter of this name");
        assert_eq!(view.shape(), shape, "{name}");
    }
}

#[test]
fn rows_are_read_in_either_shape() {
    let saved = model(1);
    let as_row = |shape: &[usize]| match shape {
        [length] => vec![1, *length],
        matrix => matrix.to_vec(),
    };
    for bytes in [file(&saved, <[usize]>::to_vec), file(&saved, as_row)] {
        let mut other = model(2);
        assert_ne!(values(&other), values(&saved));
        load(&bytes, &mut other).expect("a sound file");
        assert_eq!(values(&other), values(&saved));
    }
}

#[test]
fn other_shapes_are_refused_by_name() {
    let saved = model(1);
    let mut other = model(2);
    let before = values(&other);
    let as_column = |shape: &[usize]| match shape {
        [length] => vec![*length, 1],
        matrix => matrix.to_vec(),
    };
    let transposed = |shape: &[usize]| shape.iter().rev().copied().collect();
    let flat = |shape: &[usize]| vec![shape.iter().product()];
    for (bytes, parts) in [
        (file(&saved, as_column), ["1.encoder.bias", "is F64 [8, 1]"]),
        (
            file(&saved, transposed),
            ["1.encoder.weight", "is F64 [1, 8]"],
        ),
        (file(&saved, flat), ["1.encoder.weight", "is F64 [8],"]),
    ] {
        let error = load(&bytes, &mut other).expect_err("no such parameter");
        assert!(matches!(error, CheckpointError::Mismatch { .. }));
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(values(&other), before);
    }
}

/// The checkpoint of a run after an epoch in which it has taken averages, and has a best epoch.
fn checkpoint() -> Vec<u8> {
    let (training, mut model) = (experiment(1).training, model(1));
    let mut progress = Progress::new(&training).expect("a known rule");
    let table = |columns: usize| Table {
        name: columns.to_string(),
        columns,
        values: random_values(6 * columns, columns as u64),
    };
    let rows = Split {
        modalities: vec![table(1), table(5)],
        targets: Targets::Classes(vec![0, 1, 2, 0, 1, 2]),
    };
    let mut trainer = Trainer {
        model: &mut model,
        device: &Cpu::default(),
        training: &training,
        seed: 1,
    };
    trainer
        .run::<Error>(&rows, Some(&rows), &mut progress, &mut |_, _| Ok(()))
        .expect("it trains");
    let snapshot = progress.snapshot(&model, Metadata::new());
    snapshot.into_bytes().expect("serializable")
}

#[test]
fn arrays_of_other_lengths_are_refused_by_file_and_name() {
    let bytes = checkpoint();
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint.safetensors");
    let resume = |damaged: &str| {
        let views = file.iter().map(|(name, view)| {
            let data = match name == damaged {
                true => &view.data()[8..],
                false => view.data(),
            };
            let shape = match name == damaged {
                true => vec![data.len() / 8],
                false => view.shape().to_vec(),
            };
            (
                name,
                TensorView::new(view.dtype(), shape, data).expect("as many entries"),
            )
        });
        let bytes = safetensors::serialize(views, None).expect("serializable");
        std::fs::write(&path, bytes).expect("written");
        let saved = Checkpoint::read(&path).expect("a safetensors file");
        Progress::resume(&saved, &mut model(2), &experiment(1).training)
    };
    let whole = resume("none").expect("whole");
    assert_eq!(whole.history.len(), 1);
    for kind in ["first", "second", "average", "best"] {
        let damaged = format!("{kind}.head.bias");
        let error = resume(&damaged).err().expect("too short");
        assert!(matches!(error, CheckpointError::Mismatch { .. }), "{error}");
        let expected = format!(
            "{}: parameter `{damaged}` is F64 [2], the model needs F64 [3]",
            path.display()
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}
