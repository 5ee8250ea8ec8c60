//! The commands that the pages of the book show, each run as it stands there, with one epoch of training.

#![cfg(unix)]

mod small;

use std::path::Path;
use std::process::Command;

/// The lines of a page's `sh` blocks that call the program, made short.
fn commands(page: &str) -> impl Iterator<Item = String> + '_ {
    let blocks = page.split("```sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or("").lines());
    lines
        .filter(|line| line.contains("equilibria "))
        .map(|line| {
            let mut line = line.trim().to_owned();
            let studies = line.starts_with("equilibria study");
            if studies && !line.contains("--seeds") {
                line += " --seeds 1";
            }
            if studies || line.contains("equilibria train") {
                line += " --set training.epochs=1";
                // The two exclude each other.
                line += if line.contains(" -v") { "" } else { " --quiet" };
            }
            line
        })
}

#[test]
fn commands_of_getting_started_run() {
    run(
        "getting-started.md",
        include_str!("../../../docs/src/getting-started.md"),
    );
}

#[test]
fn commands_of_troubleshooting_run() {
    run(
        "troubleshooting.md",
        include_str!("../../../docs/src/troubleshooting.md"),
    );
}

#[test]
fn commands_of_reproducing_run() {
    run(
        "reproducing.md",
        include_str!("../../../docs/src/reproducing.md"),
    );
}

/// A page is read from its beginning, in a fresh copy of the repository, by someone with a model and data of their own.
fn run(name: &str, page: &str) {
    // The program under the name it is installed by.
    let programs = tempfile::tempdir().expect("a folder");
    let program = programs.path().join("equilibria");
    let built = env!("CARGO_BIN_EXE_equilibria-program");
    std::os::unix::fs::symlink(built, program).expect("a link");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", programs.path().display());
    let folder = tempfile::tempdir().expect("a folder");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::os::unix::fs::symlink(examples, folder.path().join("examples")).expect("a link");
    std::fs::write(folder.path().join("CONFIG"), small::CONFIG).expect("a file");
    for data in ["DIR", "OTHER_DIR"] {
        std::fs::create_dir(folder.path().join(data)).expect("a folder");
        small::write_data(&folder.path().join(data));
    }
    let mut count = 0;
    for line in commands(page) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).env("PATH", &path);
        let output = shell.current_dir(folder.path()).output();
        let output = output.expect("a shell");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {line}\n{message}");
        count += 1;
    }
    assert!(count > 0, "{name} shows no command");
}
