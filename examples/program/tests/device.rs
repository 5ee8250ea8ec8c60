//! The program on a GPU, or on the stand-in of `core/testing/cuda`, and saved runs that move between devices.

mod called;

mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;

use called::program;
use equilibria_core::registry;
use equilibria_core::serde_json::{self, json};
use equilibria_digits as _;
use equilibria_fusion::data::Targets;
use equilibria_fusion::DataSource;

/// What the program prints last, as JSON.
fn json_of(arguments: &[&str]) -> serde_json::Value {
    let output = program(".", arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

fn config() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/digits.toml");
    path.display().to_string()
}

/// Two of the six modalities of the digits, of few rows, as files.
fn write_digits(folder: &Path) {
    let digits = registry::make::<dyn DataSource>(&json!({ "type": "digits" })).expect("linked");
    let set = digits.load().expect("digits");
    for (split, name, rows) in [(&set.train, "tr", 40), (&set.test, "te", 20)] {
        let every = split.len() / rows;
        let chosen: Vec<usize> = (0..rows).map(|row| every * row).collect();
        let chosen = split.select(&chosen);
        for (number, table) in [&chosen.modalities[3], &chosen.modalities[5]]
            .iter()
            .enumerate()
        {
            let lines = (0..rows).map(|row| {
                let values: Vec<String> = table.row(row).iter().map(f64::to_string).collect();
                values.join(",") + "\n"
            });
            let path = folder.join(format!("{}_{name}.csv", number + 1));
            std::fs::write(path, lines.collect::<String>()).expect("a file");
        }
        let Targets::Classes(classes) = &chosen.targets else {
            panic!("digits have classes");
        };
        let lines: String = classes.iter().map(|class| format!("{class}\n")).collect();
        std::fs::write(folder.join(format!("labels_{name}.csv")), lines).expect("a file");
    }
}

/// What each solve is solved to, forward and adjoint: all samples are.
const SOLVED: f64 = 1e-12;

/// Two epochs of two steps by the configuration of the digits, with fewer rows, features and hidden units, in double precision. Eight
/// hidden units are normalized together: of two, a normalization makes what is close to a jump, and samples have no equilibrium.
fn train(device: &str, data: &Path, folder: &Path) -> serde_json::Value {
    let (data, out) = (data.display().to_string(), folder.display().to_string());
    let stop = format!(
        "{{ tolerance = {{ relative = {SOLVED:e} }}, max_evaluations = 1000, patience = 300 }}"
    );
    let sets = [
        "dtype=f64".to_owned(),
        "data.type=folder".to_owned(),
        "backbone.hidden=16".to_owned(),
        "fusion.groups=2".to_owned(),
        "fusion.layer.groups=2".to_owned(),
        "training.epochs=2".to_owned(),
        "training.batch=16".to_owned(),
        format!("fusion.stop={stop}"),
        format!("fusion.backward.stop={stop}"),
    ];
    let config = config();
    let mut arguments = vec![
        "train", &config, "--device", device, "--data", &data, "--out", &out, "--json",
    ];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    json_of(&arguments)
}

fn number(value: &serde_json::Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} in {value}"))
}

/// Gradients are off by the tolerance of the solves, amplified by the inverses of I − J there and back, some hundreds; an update of Adam
/// by the rate times that, over ε = 1e-8 at the worst, where a gradient is small and moves the loss as little. Four of them are left.
const LEARNED: f64 = 1e-8;

/// Solves alone, from parameters in 17 digits.
const EVALUATED: f64 = 1e-10;

#[test]
fn the_digits_are_learned_alike_and_runs_move() {
    let folder = tempfile::tempdir().expect("a folder");
    write_digits(folder.path());
    let runs: [PathBuf; 2] = ["cpu", "cuda"].map(|device| folder.path().join(device));
    let [cpu, cuda] = [("cpu", &runs[0]), ("cuda:0", &runs[1])]
        .map(|(device, run)| train(device, folder.path(), run));
    for key in [
        "training_unconverged_fraction",
        "adjoint_unconverged_fraction",
    ] {
        assert!(
            number(&cpu, key) + number(&cuda, key) <= 0.0,
            "{cpu} {cuda}"
        );
    }
    for key in ["loss", "accuracy"] {
        let difference = number(&cpu, key) - number(&cuda, key);
        assert!(
            difference.abs() < LEARNED * number(&cpu, key),
            "{cpu} {cuda}"
        );
    }
    let saved = std::fs::read_to_string(runs[1].join("config.toml")).expect("a configuration");
    assert!(saved.contains("device = \"cuda\""), "{saved}");
    // Learned on one, evaluated on the other.
    for (run, device, learned) in [(&runs[0], "cuda", &cpu), (&runs[1], "cpu", &cuda)] {
        let run = run.display().to_string();
        let found = json_of(&["evaluate", &run, "--device", device, "--json"]);
        let difference = number(&found, "loss") - number(learned, "loss");
        assert!(
            difference.abs() < EVALUATED * number(learned, "loss"),
            "{found} {learned}"
        );
    }
    // Where it was learned, without being told.
    let run = runs[1].display().to_string();
    let [first, second] = ["first.csv", "second.csv"].map(|name| folder.path().join(name));
    let out = |path: &Path| path.display().to_string();
    for arguments in [
        vec!["predict", &run, "--out", &out(&first)],
        vec!["predict", &run, "--out", &out(&second), "--device", "cpu"],
    ] {
        let output = program(".", &arguments);
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
fn problems_are_solved_on_the_device() {
    for (dtype, allowed) in [(None, 1e-8), (Some("--f32"), 1e-3)] {
        let mut arguments = vec!["solve", "linear-90", "--device", "cuda", "--json"];
        arguments.extend(dtype);
        let solver = &json_of(&arguments)["solvers"][0];
        let error = number(solver, "error");
        assert!(error < allowed, "{solver}");
    }
}

#[test]
fn arrays_of_the_reference_are_met_on_the_device() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/zoo");
    for name in ["eignn", "revdeq", "nemon"] {
        let folder = golden.join(name).display().to_string();
        let found = json_of(&["verify", &folder, "--device", "cuda", "--json"]);
        assert_eq!(found["passed"], true, "{found}");
    }
}

#[test]
fn workloads_are_timed_on_the_device() {
    let folder = tempfile::tempdir().expect("a folder");
    workload::write(&folder.path().join("fusion_small.safetensors"), "");
    let path = folder.path().display().to_string();
    let output = program(
        ".",
        &[
            "bench",
            &path,
            "--device",
            "cuda",
            "--json",
            "--seconds",
            "0",
        ],
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let jobs: Vec<_> = lines.iter().map(|line| &line["job"]).collect();
    assert_eq!(jobs, ["map", "solve", "train"], "{output:?}");
    for line in &lines {
        assert_eq!(line["device"], "cuda");
        assert!(number(line, "residual") <= 1.01e-4, "{line}");
        assert!(number(line, "adjoint_residual") <= 1.01e-4, "{line}");
    }
}

#[test]
fn gradients_are_right_on_the_device() {
    let config = config();
    let sets = ["modalities=[4,6]", "backbone.hidden=8"];
    let mut arguments = vec!["check", &config, "--device", "cuda", "--json"];
    arguments.extend(["--rows", "2", "--entries", "1", "--unroll", "1"]);
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    assert_eq!(json_of(&arguments)["passed"], true);
}

#[test]
fn a_gpu_that_is_not_there_is_named() {
    fails_to_start("CUDA_STAND_IN_DEVICES", "1", "cuda:7", "there are 1; ");
    fails_to_start("CUDA_STAND_IN_DEVICES", "0", "cuda", "the driver says ");
}

#[test]
fn headers_that_are_gone_are_named() {
    let message = "dfdx finds no headers of CUDA ";
    fails_to_start("CUDA_STAND_IN_HEADERS", "0", "cuda", message);
}

/// Training ends with status 2 and a message about a GPU where the stand-in has this setting.
fn fails_to_start(setting: &str, value: &str, device: &str, reason: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    let output = (command.args(["train", &config(), "--device", device]))
        .env(setting, value)
        .output()
        .expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("cannot be used: "), "{error}");
    assert!(error.contains(reason), "{error}");
}
