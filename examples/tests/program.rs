//! The program from outside: the README's table, a short run, and what bad input gets.

use std::path::Path;
use std::process::{Command, Output};

fn equilibria(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria"));
    command
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn config(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    folder.join(name).display().to_string()
}

fn last_line(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().expect("a last line");
    serde_json::from_str(line).expect("JSON on the last line")
}

/// Runs the program, which must refuse with status 2, and returns its message.
fn refusal(arguments: &[&str]) -> String {
    let output = equilibria(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_plugin_table_of_the_readme_is_current() {
    let plugins = last_line(&equilibria(&["plugins", "--json"]));
    let mut table = String::from("| kind | name | summary |\n|---|---|---|\n");
    for plugin in plugins.as_array().expect("a list") {
        let cell = |key: &str| plugin[key].as_str().expect("text").replace('|', "\\|");
        table += &format!(
            "| {} | `{}` | {} |\n",
            cell("kind"),
            cell("name"),
            cell("summary")
        );
    }
    let readme = include_str!("../../README.md");
    let (_, rest) = readme
        .split_once("<!-- plugins -->\n")
        .expect("the first marker");
    let (found, _) = rest
        .split_once("<!-- /plugins -->")
        .expect("the second marker");
    assert!(
        found.trim() == table.trim(),
        "the README's plugin table is stale; replace it by\n{table}"
    );
}

#[test]
fn a_saved_model_has_the_metrics_of_its_training_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run").display().to_string();
    let shorter = ["--set", "training.epochs=1", "--json"];
    let train = ["train", &config("digits.toml"), "--out", &run];
    let trained = last_line(&equilibria(&[&train[..], &shorter[..]].concat()));
    let evaluated = last_line(&equilibria(&["evaluate", &run, "--json"]));
    for key in ["accuracy", "weighted_f1", "macro_f1", "mean_solver_steps"] {
        assert_eq!(trained[key], evaluated[key], "{key}");
    }
    for file in [
        "config.toml",
        "model.safetensors",
        "history.csv",
        "metrics.json",
    ] {
        assert!(Path::new(&run).join(file).is_file(), "{file}");
    }

    let again = refusal(&[&train[..], &shorter[..]].concat());
    assert!(again.contains("already exists"), "{again}");

    let model = Path::new(&run).join("model.safetensors");
    let bytes = std::fs::read(&model).expect("the model");
    std::fs::write(&model, &bytes[..bytes.len() / 2]).expect("a truncated model");
    let truncated = refusal(&["evaluate", &run]);
    assert!(truncated.contains("model.safetensors"), "{truncated}");
    assert!(
        truncated.contains("not a complete safetensors file"),
        "{truncated}"
    );
}

#[test]
fn bad_configuration_is_refused_by_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("run");
    let shown = out.display().to_string();
    for (change, parts) in [
        (
            "fusion.solver.type=\"andersen\"",
            ["fusion: solver", "did you mean `anderson`?"],
        ),
        (
            "fusion.solver.memroy=3",
            ["unknown key `memroy`", "did you mean `memory`?"],
        ),
        (
            "fusion.solver.mixing=0",
            ["`mixing` must be in (0, 2]", "got 0"],
        ),
        (
            "fusion.stop.tolerance.relative=-1",
            ["`relative` must be", "got -1"],
        ),
        ("training.epoch=3", ["unknown field `epoch`", "`epochs`"]),
    ] {
        let message = refusal(&[
            "train",
            &config("digits.toml"),
            "--out",
            &shown,
            "--set",
            change,
        ]);
        for part in parts {
            assert!(message.contains(part), "{change}: {message}");
        }
        assert!(!out.exists(), "{change} left a folder behind");
    }
    let message = refusal(&[
        "train",
        &config("digits.toml"),
        "--data",
        &shown,
        "--out",
        &shown,
    ]);
    assert!(message.contains(&shown), "{message}");
}
