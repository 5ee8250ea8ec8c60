//! `study`: every variant with every seed, once.

mod small;

use std::path::Path;
use std::process::{Command, Output};

const PLAN: &str = r#"
title = "A small study"
config = "config.toml"
seeds = [1, 2]
convergence = 12
[[variant]]
name = "sum"
set = ['fusion={type="weighted-sum"}']
[[variant]]
name = "deq"
[[variant]]
name = "tied"
set = ['fusion={type="weight-tied", steps=2, groups=2, layer={type="residual-block", groups=2}}']
"#;

fn folder(plan: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), small::CONFIG).expect("a file");
    std::fs::write(folder.path().join("plan.toml"), plan).expect("a file");
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    small::write_data(&folder.path().join("data"));
    folder
}

fn study(folder: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command
        .current_dir(folder)
        .args(["study", "plan.toml", "--data", "data", "--out", "out"]);
    command.args(["--set", "training.epochs=2"]).args(more);
    command.output().expect("the program starts")
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_study_is_made_once_and_compared() {
    let folder = folder(PLAN);
    let first = study(folder.path(), &[]);
    assert!(first.status.success(), "{first:?}");
    let text = String::from_utf8_lossy(&first.stdout).into_owned();
    for part in [
        "A small study",
        "sum",
        "deq",
        "tied",
        "±",
        "relative difference norm",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let out = folder.path().join("out");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).expect(name);
    let runs = read("runs.csv");
    assert_eq!(runs.lines().count(), 1 + 3 * 2, "{runs}");
    // Two variants iterate, 12 steps each.
    let convergence = read("convergence.csv");
    assert_eq!(convergence.lines().count(), 1 + 2 * 12, "{convergence}");
    let last = convergence.lines().find(|line| line.starts_with("deq,12,"));
    let last: f64 = last
        .and_then(|line| line.split(',').nth(2)?.parse().ok())
        .expect("a number");
    assert!((0.0..1e-2).contains(&last), "{last}");

    let page = read("report.html");
    for part in ["A small study", "tied", "Convergence"] {
        assert!(page.contains(part), "{part}");
    }

    let metrics = out.join("deq/seed-1/metrics.json");
    let time = |path: &Path| path.metadata().and_then(|m| m.modified()).expect("a file");
    let before = time(&metrics);
    let second = study(folder.path(), &[]);
    assert_eq!(second.stdout, first.stdout);
    assert_eq!(time(&metrics), before, "made again");

    let changed = refusal(&study(folder.path(), &["--set", "training.batch=8"]));
    assert!(changed.contains("another configuration"), "{changed}");

    // Complete runs of rows that have changed since are not those of the study.
    let file = folder.path().join("data/2_te.csv");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text.replacen("0.", "1.", 1)).expect("written");
    let other = refusal(&study(folder.path(), &[]));
    assert!(
        other.contains("other data, which differs in 2_te"),
        "{other}"
    );
}

#[test]
fn what_is_wrong_with_a_plan_is_named() {
    for (change, expected) in [
        (
            ("name = \"deq\"", "name = \"sum\""),
            "two variants are called `sum`",
        ),
        (
            ("name = \"deq\"", "name = \"../deq\""),
            "the name of a folder",
        ),
        (("seeds = [1, 2]", "seeds = []"), "`seeds`"),
        (("seeds", "seads"), "seads"),
        (("weight-tied", "weight-tide"), "variant `tied`"),
        (("config.toml", "other.toml"), "other.toml"),
    ] {
        let folder = folder(&PLAN.replace(change.0, change.1));
        let message = refusal(&study(folder.path(), &[]));
        assert!(message.contains(expected), "{change:?}: {message}");
        assert!(!folder.path().join("out").exists(), "{change:?}");
    }
}
