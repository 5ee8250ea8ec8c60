//! The shapes parameters have in files, and those that are accepted.

use std::path::Path;

use dfdx::prelude::Cpu;
use equilibria_fusion::checkpoint::{to_bytes, Checkpoint, CheckpointError, Metadata};
use equilibria_fusion::core::Parameters;
use equilibria_fusion::{Experiment, Model};
use safetensors::tensor::TensorView;
use safetensors::SafeTensors;

/// A model with linear maps from one feature and to one output.
fn model(seed: u64) -> Model<f64, Cpu> {
    let experiment = serde_json::json!({
        "seed": seed,
        "data": { "type": "folder" },
        "backbone": { "type": "mm-dynamics", "hidden": 8 },
        "fusion": { "type": "deq" },
        "training": { "epochs": 1, "batch": 2, "optimizer": { "type": "adam" } },
    });
    let experiment: Experiment = serde_json::from_value(experiment).expect("a configuration");
    let model = experiment.model(&Cpu::default(), &[1, 5], 3);
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
