//! Models made by PyTorch (`docs/pytorch_exchange.py`) give the outputs PyTorch gives, and parameters go back in its shapes.

use std::path::{Path, PathBuf};
use std::process::Command;

use dfdx::prelude::*;
use equilibria_core::{Backend, Matrix, Scalar};
use equilibria_fusion::checkpoint::{decode, to_bytes, Checkpoint, Metadata};
use equilibria_fusion::data::{features_from_folder, Split, SplitName, Targets};
use equilibria_fusion::train::tensors;
use equilibria_fusion::{Experiment, Model, Pass};
use safetensors::SafeTensors;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/exchange")
        .join(name)
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file of the test data")
}

/// A model of the configuration in the file, before it gets its parameters.
fn untrained<E: Scalar>(saved: &Checkpoint) -> Model<E, Cpu>
where
    Cpu: Backend<E>,
{
    let experiment: Experiment = serde_json::from_str(&saved.metadata["config"]).expect("a config");
    let columns: Vec<usize> = serde_json::from_str(&saved.metadata["columns"]).expect("columns");
    let classes: Vec<String> = serde_json::from_str(&saved.metadata["classes"]).expect("classes");
    let device = Cpu::default();
    (experiment.model(&device, &columns, classes.len())).expect("a sound configuration")
}

/// The largest difference from an output of PyTorch.
fn difference<E: Scalar>(ours: &Matrix<E, Cpu>, outputs: &SafeTensors<'_>, name: &str) -> f64
where
    Cpu: Backend<E>,
{
    let view = outputs.tensor(name).expect("an output");
    let (rows, columns) = *ours.shape();
    assert_eq!(view.shape(), [rows, columns], "{name}");
    let theirs: Vec<f64> = decode(view.data());
    let pairs = ours.as_vec().into_iter().zip(theirs);
    pairs.fold(0.0, |worst, (a, b)| worst.max((a.wide() - b).abs()))
}

fn outputs_agree<E: Scalar>(name: &str, bound: f64)
where
    Cpu: Backend<E>,
{
    let (folder, device) = (folder(name), Cpu::default());
    let saved = Checkpoint::read(&folder.join("model.safetensors")).expect("readable");
    let mut model = untrained::<E>(&saved);
    saved.load(&mut model).expect("every parameter is there");
    let split = Split {
        modalities: features_from_folder(&folder, SplitName::Test).expect("sound data"),
        targets: Targets::Classes(Vec::new()),
    };
    let outputs = bytes(&folder.join("outputs.safetensors"));
    let outputs = SafeTensors::deserialize(&outputs).expect("whole");

    let mut pass = Pass::evaluation();
    let x = tensors(&device, &split).expect("memory");
    let features = model.backbone.encode(&x, None, &mut pass).expect("sound");
    let fused = model
        .fusion
        .fuse(0, &features, &mut pass)
        .expect("solvable");
    let logits = model.outputs(&x, None, &mut pass).expect("solvable");
    assert!(pass
        .solves
        .iter()
        .all(|solve| solve.report.unconverged() == 0));
    for (k, feature) in (1..).zip(&features) {
        let error = difference(feature, &outputs, &format!("features.{k}"));
        assert!(error < bound, "{name}, features {k}: {error:e}");
    }
    for (what, ours) in [("fused", &fused), ("logits", &logits)] {
        let error = difference(ours, &outputs, what);
        assert!(error < bound, "{name}, {what}: {error:e}");
    }
}

#[test]
fn a_state_dict_of_pytorch_gives_its_outputs() {
    outputs_agree::<f32>("f32", 1e-6);
    outputs_agree::<f64>("f64", 1e-12);
}

#[test]
fn parameters_are_written_as_pytorch_wrote_them() {
    let path = folder("f32").join("model.safetensors");
    let saved = Checkpoint::read(&path).expect("readable");
    let mut model = untrained::<f32>(&saved);
    saved.load(&mut model).expect("every parameter is there");
    let ours = to_bytes(&model, Metadata::new()).expect("serializable");
    let theirs = bytes(&path);
    let ours = SafeTensors::deserialize(&ours).expect("whole");
    let theirs = SafeTensors::deserialize(&theirs).expect("whole");
    assert_eq!(ours.len(), theirs.len());
    for (name, theirs) in theirs.iter() {
        let ours = ours.tensor(name).expect("a parameter of the same name");
        assert_eq!(ours.shape(), theirs.shape(), "{name}");
        assert_eq!(ours.data(), theirs.data(), "{name}");
    }
}

/// Copies a run folder with other metadata, and predicts its rows; returns status and errors.
fn predict(run: &str, change: impl FnOnce(&mut Metadata)) -> (Option<i32>, String) {
    let place = tempfile::tempdir().expect("a folder");
    let bytes = bytes(&folder(run).join("model.safetensors"));
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("whole");
    let mut metadata = header.metadata().clone().expect("metadata");
    change(&mut metadata);
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    let views: Vec<_> = file.iter().collect();
    let changed = safetensors::serialize(views, Some(metadata)).expect("serializable");
    std::fs::write(place.path().join("model.safetensors"), changed).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command
        .arg("predict")
        .arg(place.path())
        .arg("--data")
        .arg(folder(run));
    command.arg("--out").arg(place.path().join("out.csv"));
    let output = command.output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), errors)
}

#[test]
fn a_state_dict_without_metadata_is_not_called_incomplete() {
    for key in ["config", "columns", "classes", "scaling"] {
        let (status, message) = predict("f32", |metadata| {
            metadata.remove(key).expect("the key");
        });
        assert_eq!(status, Some(2), "{message}");
        let expected = format!("a whole file, but without the metadata `{key}`");
        assert!(message.contains(&expected), "{message}");
        assert!(message.contains("docs/src/pytorch.md"), "{message}");
        let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        assert!(book.join("docs/src/pytorch.md").is_file());
    }
    let (status, message) = predict("f32", |metadata| {
        metadata.insert("columns".to_owned(), "many".to_owned());
    });
    assert_eq!(status, Some(2), "{message}");
    assert!(message.contains("metadata `columns`: "), "{message}");
}

#[test]
fn metadata_that_no_run_has_written_is_refused_with_its_file() {
    let replace = |key: &'static str, from: &'static str, to: &'static str| {
        move |metadata: &mut Metadata| {
            let entry = metadata.get_mut(key).expect("the key");
            let changed = entry.replacen(from, to, 1);
            assert_ne!(changed, *entry);
            *entry = changed;
        }
    };
    for (key, from, to, expected) in [
        (
            "scaling",
            "\"range\": ",
            "\"range\": -",
            "expected finite numbers, and a range above 0",
        ),
        ("columns", "[", "[1,", "metadata `scaling`: has features"),
        (
            "config",
            "\"hidden\": ",
            "\"hidden\": 1000000",
            "choose smaller widths",
        ),
    ] {
        let (status, message) = predict("f32", replace(key, from, to));
        assert_eq!(status, Some(2), "{message}");
        assert!(message.contains("model.safetensors: "), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn weights_of_another_precision_are_used_and_the_log_says_so() {
    let dtype = |from: &'static str, to: &'static str| {
        move |metadata: &mut Metadata| {
            let config = metadata.get_mut("config").expect("a config");
            let changed = config.replace(from, to);
            assert_ne!(changed, *config);
            *config = changed;
        }
    };
    let (status, message) = predict("f64", dtype("\"f64\"", "\"f32\""));
    assert_eq!(status, Some(0), "{message}");
    assert!(message.contains("warning: "), "{message}");
    assert!(
        message.contains("are F64 and are rounded to F32"),
        "{message}"
    );
    let (status, message) = predict("f32", dtype("\"f32\"", "\"f64\""));
    assert_eq!(status, Some(0), "{message}");
    assert!(
        message.contains("are F32 and are widened to F64"),
        "{message}"
    );
    let (status, message) = predict("f32", |_| {});
    assert_eq!(
        (status, message.contains("arrays")),
        (Some(0), false),
        "{message}"
    );
}
