//! Runs that are interrupted and go on: they end where an uninterrupted one does, to the last bit.
#![cfg(unix)]

#[path = "small/runs.rs"]
mod runs;
mod small;
#[path = "small/rooms.rs"]
mod small_rooms;

use std::path::Path;
use std::process::{Command, Output};

use safetensors::tensor::TensorView;
use safetensors::SafeTensors;

use runs::{interrupt, text, Bench};

/// The small data with its class numbers as numbers to predict.
fn write_numbers(folder: &Path) {
    small::write_data(folder);
    for split in ["tr", "te"] {
        let [from, to] =
            ["labels", "targets"].map(|name| folder.join(format!("{name}_{split}.csv")));
        std::fs::rename(from, to).expect("a file");
    }
}

#[test]
fn a_run_with_another_head_goes_on_as_well() {
    let config = small::CONFIG
        .replace("mm-dynamics", "encoder")
        .replace("epochs = 60", "epochs = 300");
    let config = config + "[head]\ntype = \"regression\"\nloss = \"l1\"\n";
    let bench = Bench::of(&config, write_numbers);
    let output = interrupt(bench.train_until_checkpoint("run"));
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    let resumed = bench.resume("run");
    assert!(resumed.status.success(), "{}", text(&resumed));
    bench.whole("whole");
    let (arrays, history) = bench.result("run");
    assert!((arrays, history.clone()) == bench.result("whole"));
    assert!(history.contains("validation_mae,validation_correlation,"));
    assert_eq!(history.lines().count(), 1 + 300);
}

/// Rooms are moved, findings dropped and statistics settled as if nothing had happened.
#[test]
fn a_detector_goes_on_as_well() {
    let config = small_rooms::ROOMS.replace("epochs = 4", "epochs = 12");
    let bench = Bench::generated(&config);
    let output = interrupt(bench.train_until_checkpoint("run"));
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    let resumed = bench.resume("run");
    assert!(resumed.status.success(), "{}", text(&resumed));
    bench.whole("whole");
    let (arrays, history) = bench.result("run");
    assert!((arrays, history.clone()) == bench.result("whole"));
    assert_eq!(history.lines().count(), 1 + 12);
}

#[test]
fn an_interrupted_run_leaves_a_checkpoint() {
    let bench = Bench::new();
    let child = bench.train_until_checkpoint("run");
    let output = interrupt(child);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(
        text(&output).contains("train --resume run"),
        "{}",
        text(&output)
    );

    // Neither a second run nor one that is still at work may touch it.
    let again = bench.train("run").output().expect("it starts");
    assert_eq!(again.status.code(), Some(2));
    assert!(
        text(&again).contains("an unfinished run is there"),
        "{}",
        text(&again)
    );
    let lock = std::fs::File::open(bench.partial("run").join("lock")).expect("a lock");
    lock.lock().expect("nobody has it");
    let busy = bench.resume("run");
    assert!(
        text(&busy).contains("another process is at work"),
        "{}",
        text(&busy)
    );
    drop(lock);

    // There is no model yet; the folder that is there names the run as well.
    let mut evaluate = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    evaluate.current_dir(bench.folder.path());
    let early = evaluate.args(["evaluate", "run"]).output();
    let early = text(&early.expect("it starts"));
    assert!(early.contains("run: the run is unfinished"), "{early}");
    let resumed = bench.resume("run.partial");
    assert!(resumed.status.success(), "{}", text(&resumed));
    bench.whole("whole");
    assert!(bench.result("run") == bench.result("whole"));
    let complete = bench.resume("run");
    let message = String::from_utf8_lossy(&complete.stdout).into_owned();
    assert!(message.contains("complete, nothing to resume"), "{message}");
}

/// A folder of data is copied, and one thing in it replaced.
fn copy_with(bench: &Bench, name: &str, file: &str, from: &str, to: &str) -> String {
    let place = bench.folder.path().join(name);
    std::fs::create_dir(&place).expect("a folder");
    for entry in std::fs::read_dir(bench.folder.path().join("data")).expect("a folder") {
        let entry = entry.expect("an entry").path();
        let copy = place.join(entry.file_name().expect("a name"));
        std::fs::copy(entry, copy).expect("copied");
    }
    replace(&place.join(file), from, to);
    name.to_owned()
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).expect("a file");
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text);
    std::fs::write(file, changed).expect("written");
}

#[test]
fn a_run_goes_on_with_its_own_rows_only() {
    let bench = Bench::new();
    let output = interrupt(bench.train_until_checkpoint("run"));
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    let refused = |resumed: Output, expected: &str| {
        assert_eq!(resumed.status.code(), Some(2), "{}", text(&resumed));
        let message = text(&resumed);
        assert!(message.contains("other data"), "{message}");
        assert!(
            message.contains(&format!("differs in {expected};")),
            "{message}"
        );
        assert!(bench
            .partial("run")
            .join("checkpoint.safetensors")
            .is_file());
    };
    // As many rows and columns, and the same classes.
    for (name, file, from, to, expected) in [
        ("features", "2_tr.csv", "0.", "1.", "2_tr"),
        ("labels", "labels_tr.csv", "0\n1\n", "1\n0\n", "labels_tr"),
        ("test-rows", "1_te.csv", "0.", "0.0", "1_te"),
        ("test-labels", "labels_te.csv", "0\n", "1\n", "labels_te"),
    ] {
        let other = copy_with(&bench, name, file, from, to);
        refused(bench.resume_with("run", &["--data", &other]), expected);
    }
    // In place, too; and back again.
    let file = bench.folder.path().join("data/1_tr.csv");
    let before = std::fs::read_to_string(&file).expect("a file");
    replace(&file, "0.", "1.");
    refused(bench.resume("run"), "1_tr");
    std::fs::write(&file, before).expect("written");

    // The same rows in another place, written otherwise, are the same.
    let moved = copy_with(&bench, "moved", "1_te.csv", "\n", "0\n");
    let resumed = bench.resume_with("run", &["--data", &moved]);
    assert!(resumed.status.success(), "{}", text(&resumed));
    // Solves of a training run may fail; there is nothing else to warn of.
    let message = text(&resumed);
    let mut warnings = message.lines().filter(|line| line.starts_with("warning"));
    assert!(
        warnings.all(|line| line.contains("samples unsolved")),
        "{message}"
    );
    bench.whole("whole");
    assert!(bench.result("run") == bench.result("whole"));
}

/// Versions before the digest kept neither it nor a scale of numbers.
#[test]
fn a_run_without_a_digest_goes_on_with_a_warning() {
    let bench = Bench::new();
    let output = interrupt(bench.train_until_checkpoint("run"));
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    let path = bench.partial("run").join("checkpoint.safetensors");
    let bytes = std::fs::read(&path).expect("a checkpoint");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("whole");
    let mut metadata = header.metadata().clone().expect("metadata");
    assert!(metadata.remove("digest").is_some());
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    let views: Vec<(&str, TensorView<'_>)> = file.iter().collect();
    let old = safetensors::serialize(views, Some(metadata)).expect("serializable");
    std::fs::write(&path, old).expect("written");

    let resumed = bench.resume("run");
    assert!(resumed.status.success(), "{}", text(&resumed));
    let message = text(&resumed);
    assert!(
        message.contains("warning: ") && message.contains("no digest"),
        "{message}"
    );
    bench.whole("whole");
    assert!(bench.result("run") == bench.result("whole"));
}
