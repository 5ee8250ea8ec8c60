//! `check` passes right gradients and sees wrong ones.

use std::path::Path;
use std::process::{Command, Output};

fn check(config: &str, more: &[&str]) -> (Output, serde_json::Value) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("configs")
        .join(config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria"));
    command
        .arg("check")
        .arg(config)
        .args(["--json", "--rows", "2", "--entries", "1"]);
    let output = command.args(more).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().expect("a last line");
    let json = serde_json::from_str(last).expect("JSON on the last line");
    (output, json)
}

#[test]
fn implicit_and_unrolled_gradients_are_right() {
    let (output, json) = check("digits.toml", &[]);
    assert_eq!(output.status.code(), Some(0), "{json}");
    assert_eq!(json["ways"], serde_json::json!(["implicit", "unrolled"]));
    let parameters = json["parameters"].as_array().expect("a table");
    // Six modalities: an encoder and twelve arrays of f_θ in ten names each, f_fuse, w and the head.
    assert!(parameters.len() > 60, "{}", parameters.len());
    let moving = |row: &&serde_json::Value| row["largest"].as_f64().expect("a number") > 1e-6;
    assert_eq!(parameters.iter().filter(moving).count(), parameters.len());
}

#[test]
fn an_inexact_strategy_is_seen() {
    let (output, json) = check(
        "digits.toml",
        &["--set", "fusion.backward={type=\"neumann\",terms=1}"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json["ways"][2], "neumann");
    let error = |way: usize| {
        let rows = json["parameters"].as_array().expect("a table").iter();
        let errors = rows.map(|row| row["errors"][way].as_f64().expect("a number"));
        errors.fold(0.0, f64::max)
    };
    assert!(error(0) < 1e-6 && error(1) < 1e-6 && error(2) > 1e-4);
}

#[test]
fn a_model_without_equilibria_is_checked_as_well() {
    let (output, json) = check("digits.toml", &["--set", "fusion={type=\"weighted-sum\"}"]);
    assert_eq!(output.status.code(), Some(0), "{json}");
    assert_eq!(json["ways"], serde_json::json!(["gradient"]));
}
