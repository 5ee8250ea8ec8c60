//! `bench`: a line per job in the words of the peer scripts, and messages for what is wrong.

mod workload;

use std::path::Path;
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::Value;
use workload::write;

fn bench(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command.arg("bench").arg(folder).args(arguments);
    command.output().expect("the program starts")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let parse = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(parse).collect()
}

#[test]
fn every_job_has_a_line_that_tells_what_was_reached() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("fusion_small.safetensors"), "");
    let output = bench(folder.path(), &["--json", "--seconds", "0"]);
    let lines = lines(&output);
    let jobs: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["job"].as_str())
        .collect();
    assert_eq!(jobs, ["map", "solve", "train"], "{output:?}");
    for line in &lines {
        assert_eq!(line["workload"], "fusion_small");
        assert!(line["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
        assert!(
            line["residual"].as_f64().is_some_and(|r| r <= 1.01e-4),
            "{line}"
        );
    }
    let adjoint = lines[2]["adjoint_residual"].as_f64();
    assert!(
        adjoint.is_some_and(|r| r > 0.0 && r <= 1.01e-4),
        "{output:?}"
    );

    let output = bench(
        folder.path(),
        &[
            "--json",
            "--seconds",
            "0",
            "--job",
            "solve",
            "--tol",
            "0",
            "--max-evaluations",
            "7",
        ],
    );
    let lines = self::lines(&output);
    assert_eq!(
        (lines.len(), &lines[0]["steps"]),
        (1, &Value::from(7)),
        "{output:?}"
    );
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let message = |output: Output| {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = message(bench(folder.path(), &["--only", "b99"]));
    assert!(text.contains("fusion_*b99*.safetensors"), "{text}");
    let file = folder.path().join("fusion_broken.safetensors");
    write(&file, "param.fuse.alpha.bias");
    let text = message(bench(folder.path(), &["--seconds", "0"]));
    assert!(text.contains("fusion_broken.safetensors"), "{text}");
    assert!(text.contains("param.fuse.alpha.bias"), "{text}");
}

/// Sizes that the metadata claims are looked for before memory is taken for them.
#[test]
fn sizes_that_no_array_has_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("fusion_small.safetensors");
    for (key, size, expected) in [
        ("batch", usize::MAX / 2, "memory has room for"),
        ("batch", 0, "`target` must be 0 numbers"),
        ("width", 1 << 20, "`target` must be"),
        ("width", usize::MAX, "memory has room for"),
        ("modalities", 1 << 40, "`param.fuse.w` must be"),
        ("modalities", 0, "modalities of at least 1"),
        ("groups", 0, "groups"),
    ] {
        write(&file, "");
        let bytes = std::fs::read(&file).expect("a workload");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("whole");
        let mut metadata = header.metadata().clone().expect("metadata");
        metadata.insert(key.to_owned(), size.to_string());
        let whole = SafeTensors::deserialize(&bytes).expect("whole");
        let views: Vec<_> = whole.iter().collect();
        let changed = safetensors::serialize(views, Some(metadata)).expect("serializable");
        std::fs::write(&file, changed).expect("written");
        let output = bench(folder.path(), &["--seconds", "0"]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{key} = {size}: {message}");
        for part in ["fusion_small.safetensors", expected] {
            assert!(message.contains(part), "{key} = {size}: {message}");
        }
    }
}
