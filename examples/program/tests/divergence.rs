//! A run whose parameters diverge ends with the step and the parameter, wherever the numbers overflow.

mod called;
mod small;

use called::{program, refusal};
use safetensors::tensor::TensorView;
use safetensors::SafeTensors;

const TRAIN: [&str; 6] = ["train", "config.toml", "--data", "data", "--out", "run"];

#[test]
fn a_step_that_makes_parameters_overflow_is_named_with_the_parameter() {
    let folder = small::folder();
    for (changes, expected) in [
        (
            &["training.optimizer.rate=1e20"][..],
            "the largest parameter is `",
        ),
        (
            &["training.optimizer={type=\"sgd\", rate=1e20}"],
            "the largest parameter is `",
        ),
        (
            &[
                "training.optimizer={type=\"sgd\", rate=1e5}",
                "training.clip=1e30",
            ],
            "parameter",
        ),
        (&["training.optimizer.weight_decay=1e39"], "is not finite ("),
        (&["training.optimizer.epsilon=1e-320"], "is not finite ("),
    ] {
        for validation in ["0", "0.2"] {
            let validation = format!("training.validation={validation}");
            let mut arguments = TRAIN.to_vec();
            for change in changes.iter().chain([&validation.as_str()]) {
                arguments.extend(["--set", change]);
            }
            let message = refusal(folder.path(), &arguments);
            assert!(message.contains("error: epoch "), "{changes:?}: {message}");
            assert!(
                message.contains("step ") || message.contains("validation"),
                "{message}"
            );
            assert!(message.contains(expected), "{changes:?}: {message}");
            assert!(
                message.contains("lower the learning rate"),
                "{changes:?}: {message}"
            );
        }
    }
}

/// With a single step there is no next one to fail.
#[test]
fn the_last_step_is_looked_at_too() {
    let folder = small::folder();
    let mut train = TRAIN.to_vec();
    for change in [
        "training.epochs=1",
        "training.batch=40",
        "training.validation=0",
        "training.optimizer.weight_decay=1e39",
    ] {
        train.extend(["--set", change]);
    }
    let message = refusal(folder.path(), &train);
    assert!(message.contains("error: after epoch 1: `"), "{message}");
    assert!(message.contains("` is not finite ("), "{message}");
    assert!(!folder.path().join("run").exists());
}

/// A weight of 1e30 is a number, and what it makes of the features is none.
#[test]
fn a_saved_model_that_overflows_is_named_with_file_and_parameter() {
    let folder = small::folder();
    let train = [&TRAIN[..], &["--set", "training.epochs=1"]].concat();
    assert!(program(folder.path(), &train).status.success());
    let path = folder.path().join("run/model.safetensors");
    let bytes = std::fs::read(&path).expect("a model");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("whole");
    let metadata = header.metadata().clone();
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    for (part, expected) in [
        ("backbone.", "non-finite value"),
        ("head.", "finite number"),
    ] {
        let large: Vec<(String, Vec<usize>, Vec<u8>)> = (file.iter())
            .map(|(name, view)| {
                let data = match name.starts_with(part) && name.ends_with("weight") {
                    true => 3e38f32.to_le_bytes().repeat(view.data().len() / 4),
                    false => view.data().to_vec(),
                };
                (name.to_owned(), view.shape().to_vec(), data)
            })
            .collect();
        let views = large.iter().map(|(name, shape, data)| {
            let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), data);
            (name.as_str(), view.expect("as many numbers"))
        });
        let changed = safetensors::serialize(views, metadata.clone()).expect("serializable");
        std::fs::write(&path, changed).expect("written");
        for arguments in [
            &["evaluate", "run", "--data", "data"][..],
            &["predict", "run", "--data", "data", "--out", "table.csv"],
        ] {
            let message = refusal(folder.path(), arguments);
            assert!(
                message.contains("error: run/model.safetensors: "),
                "{message}"
            );
            assert!(message.contains(expected), "{part}: {message}");
            let parameter = format!("the largest parameter is `{part}");
            assert!(message.contains(&parameter), "{part}: {message}");
        }
    }
}
