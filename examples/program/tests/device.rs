//! The program on a GPU, or on the stand-in of `core/testing/cuda`, and saved runs that move between devices.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn equilibria(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// What the program prints last, as JSON.
fn json(arguments: &[&str]) -> serde_json::Value {
    let output = equilibria(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

fn config() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/digits.toml");
    path.display().to_string()
}

/// Two epochs of the digits, small: in double precision, so that devices can be told from each other.
fn train(device: &str, folder: &Path) -> serde_json::Value {
    let out = folder.display().to_string();
    let sets = [
        "dtype=f64",
        "modalities=[4,6]",
        "backbone.hidden=8",
        "training.epochs=2",
        "training.batch=400",
    ];
    let config = config();
    let sets = sets.iter().flat_map(|set| ["--set", *set]);
    let mut arguments = vec![
        "train", &config, "--device", device, "--out", &out, "--json",
    ];
    arguments.extend(sets);
    json(&arguments)
}

fn number(value: &serde_json::Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} in {value}"))
}

#[test]
#[ignore = "minutes on the stand-in, and losses part by 1e-3 there: solves that do not converge go on differently"]
fn the_digits_are_learned_alike_and_runs_move() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs: [PathBuf; 2] = ["cpu", "cuda"].map(|device| folder.path().join(device));
    let [cpu, cuda] = [train("cpu", &runs[0]), train("cuda:0", &runs[1])];
    // Six steps of Adam, which divides by roots of means that may be small.
    for key in ["loss", "accuracy"] {
        let difference = number(&cpu, key) - number(&cuda, key);
        assert!(difference.abs() < 1e-6 * number(&cpu, key), "{cpu} {cuda}");
    }
    let saved = std::fs::read_to_string(runs[1].join("config.toml")).expect("a configuration");
    assert!(saved.contains("device = \"cuda\""), "{saved}");
    // Learned on one, evaluated on the other.
    for (run, device, learned) in [(&runs[0], "cuda", &cpu), (&runs[1], "cpu", &cuda)] {
        let run = run.display().to_string();
        let found = json(&["evaluate", &run, "--device", device, "--json"]);
        let difference = number(&found, "loss") - number(learned, "loss");
        assert!(difference.abs() < 1e-9, "{found} {learned}");
    }
    // Where it was learned, without being told.
    let run = runs[1].display().to_string();
    let [first, second] = ["first.csv", "second.csv"].map(|name| folder.path().join(name));
    let out = |path: &Path| path.display().to_string();
    for arguments in [
        vec!["predict", &run, "--out", &out(&first)],
        vec!["predict", &run, "--out", &out(&second), "--device", "cpu"],
    ] {
        let output = equilibria(&arguments);
        assert!(output.status.success(), "{output:?}");
    }
    let classes = |path: &Path| {
        let text = std::fs::read_to_string(path).expect("a table");
        let lines = text
            .lines()
            .map(|line| line.split(',').take(2).collect::<Vec<_>>().join(","));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(classes(&first), classes(&second));
}

#[test]
fn gradients_are_right_on_the_device() {
    let config = config();
    let sets = ["modalities=[4,6]", "backbone.hidden=8"];
    let mut arguments = vec!["check", &config, "--device", "cuda", "--json"];
    arguments.extend(["--rows", "2", "--entries", "1", "--unroll", "1"]);
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    assert_eq!(json(&arguments)["passed"], true);
}

#[test]
fn a_gpu_that_is_not_there_is_named() {
    for (devices, name, message) in [
        ("1", "cuda:7", "GPU 7 cannot be used: there are 1; "),
        ("0", "cuda", "GPU 0 cannot be used: the driver says "),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
        let output = (command.args(["train", &config(), "--device", name]))
            .env("CUDA_STAND_IN_DEVICES", devices)
            .output()
            .expect("the program starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(message), "{error}");
    }
}
