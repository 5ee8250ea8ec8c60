//! `stream = true`: runs, evaluations and predictions are those of tables in memory.

mod called;
mod small;

use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use called::{refusal, succeed};

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}

/// The names, types and bytes of all parameters.
fn parameters(run: &Path) -> Vec<(String, String, Vec<u8>)> {
    let bytes = std::fs::read(run.join("model.safetensors")).expect("a model");
    let arrays = SafeTensors::deserialize(&bytes).expect("whole");
    let arrays = arrays.tensors().into_iter();
    let mut all: Vec<_> = arrays
        .map(|(name, view)| (name, format!("{:?}", view.dtype()), view.data().to_vec()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_streamed_run_is_the_same_to_the_last_bit() {
    let folder = small::folder();
    let [whole, streamed] = ["whole", "streamed"].map(|name| {
        let stream = format!("data.stream={}", name == "streamed");
        let train = ["train", "config.toml", "--data", "data", "--out", name];
        let how = ["--quiet", "--set", &stream, "--set", "training.epochs=12"];
        succeed(folder.path(), &[&train[..], &how].concat());
        let told = succeed(folder.path(), &["evaluate", name, "--json"]);
        let out = format!("{name}.csv");
        succeed(folder.path(), &["predict", name, "--out", &out]);
        let run = folder.path().join(name);
        let mut metrics: Value =
            serde_json::from_str(&text(&run.join("metrics.json"))).expect("JSON");
        metrics["seconds"].take();
        assert!(text(&run.join("config.toml")).contains(&stream[5..].replace('=', " = ")));
        (
            parameters(&run),
            text(&run.join("history.csv")),
            metrics,
            told,
            text(&folder.path().join(out)),
        )
    });
    assert_eq!(whole, streamed);
    // Nothing is left beside the runs.
    let mut left: Vec<String> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("a file").file_name().to_string_lossy().into())
        .collect();
    left.sort();
    let expected = [
        "config.toml",
        "data",
        "streamed",
        "streamed.csv",
        "whole",
        "whole.csv",
    ];
    assert_eq!(left, expected);
}

#[test]
fn other_data_refuses_the_key_by_name() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/digits.toml");
    let config = config.display().to_string();
    let message = refusal(
        Path::new("."),
        &["train", &config, "--set", "data.stream=true"],
    );
    assert!(
        message.contains("`digits`") && message.contains("unknown key `stream`"),
        "{message}"
    );
}
