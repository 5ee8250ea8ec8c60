//! Results that cannot be written are an error, for every command. Linux has a file that is always full.
#![cfg(target_os = "linux")]

mod small;
mod workload;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PLAN: &str = r#"
title = "A study"
config = "config.toml"
seeds = [1]
[[variant]]
name = "sum"
set = ['fusion={type="weighted-sum"}']
"#;

/// One way or more to call every subcommand; paths are relative to the folder of [`folder`].
const CALLS: [&[&str]; 19] = [
    &["--help"],
    &["--version"],
    &["solve", "--help"],
    &[
        "train",
        "config.toml",
        "--data",
        "data",
        "--out",
        "second",
        "--set",
        "training.epochs=1",
    ],
    &["train", "--resume", "run"],
    &["evaluate", "run", "--data", "data"],
    &["evaluate", "run", "--data", "data", "--json"],
    &["predict", "run", "--data", "data", "--out", "table.csv"],
    &[
        "check",
        "config.toml",
        "--data",
        "data",
        "--rows",
        "2",
        "--entries",
        "1",
        "--set",
        "fusion=concat",
    ],
    &["verify", "golden"],
    &["solve", "linear-half"],
    &["solve", "--list", "--json"],
    &[
        "study",
        "plan.toml",
        "--data",
        "data",
        "--out",
        "out",
        "--set",
        "training.epochs=1",
    ],
    &["bench", "workloads", "--seconds", "0", "--job", "map"],
    &["plugins"],
    &["plugins", "--json"],
    &["describe", "solver", "anderson"],
    &["completions", "bash"],
    &["man"],
];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for name in ["data", "workloads"] {
        std::fs::create_dir(at(name)).expect("a folder");
    }
    std::fs::write(at("config.toml"), small::CONFIG).expect("a file");
    std::fs::write(at("plan.toml"), PLAN).expect("a file");
    small::write_data(&at("data"));
    workload::write(&at("workloads/fusion_small.safetensors"), "");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
    std::os::unix::fs::symlink(golden, at("golden")).expect("a link");
    let train = ["train", "config.toml", "--data", "data", "--out", "run"];
    let mut train = program(folder.path(), &train);
    let output = train.args(["--set", "training.epochs=1"]).output();
    assert!(output.expect("it starts").status.success());
    folder
}

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command.current_dir(folder).args(arguments);
    command
}

fn full() -> Stdio {
    let full = File::options().write(true).open("/dev/full");
    Stdio::from(full.expect("the file that is always full"))
}

/// The names of the subcommands in the help of the program.
fn subcommands(help: &Output) -> BTreeSet<String> {
    let help = String::from_utf8_lossy(&help.stdout);
    let (_, list) = help.split_once("Commands:\n").expect("the list");
    let names = list
        .lines()
        .map_while(|line| line.split_whitespace().next());
    names
        .map(str::to_owned)
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn every_command_says_that_its_results_could_not_be_written() {
    let folder = folder();
    let help = program(folder.path(), &["--help"])
        .output()
        .expect("it starts");
    let called: BTreeSet<String> = CALLS.iter().map(|call| call[0].to_owned()).collect();
    let missing: Vec<_> = subcommands(&help).difference(&called).cloned().collect();
    assert!(missing.is_empty(), "not called: {missing:?}");
    for call in CALLS {
        let output = program(folder.path(), call).stdout(full()).output();
        let output = output.expect("it starts");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{call:?}: {message}");
        let last = message.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: standard output: "),
            "{call:?}: {message}"
        );
        assert!(!message.contains("panicked"), "{call:?}: {message}");
    }
    // What was computed before is kept.
    for file in ["second/model.safetensors", "table.csv", "out/report.html"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn where_messages_cannot_be_written_either_the_status_still_tells() {
    let folder = folder();
    let status = |arguments: &[&str], out: Stdio| {
        let mut command = program(folder.path(), arguments);
        let status = command.stdout(out).stderr(full()).status();
        status.expect("it starts").code()
    };
    assert_eq!(status(&["plugins"], full()), Some(2));
    assert_eq!(
        status(&["describe", "solver", "nobody"], Stdio::null()),
        Some(2)
    );
    let train = [
        "train",
        "config.toml",
        "--data",
        "data",
        "--out",
        "third",
        "-v",
        "--set",
        "training.epochs=1",
    ];
    assert_eq!(status(&train, Stdio::null()), Some(0));
}
