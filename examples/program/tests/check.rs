//! `check` passes right gradients and sees wrong ones.

use std::path::Path;
use std::process::{Command, Output};

use dfdx::prelude::Cpu;
use equilibria_fusion::data::{features_from_folder, MinMax, Split, SplitName, Targets};
use equilibria_fusion::predict::predict;
use equilibria_fusion::Experiment;
use equilibria_testing::random_values;

fn check(config: &str, more: &[&str]) -> (Output, serde_json::Value) {
    check_on("2", config, more)
}

/// [`check`] on so many rows.
fn check_on(rows: &str, config: &str, more: &[&str]) -> (Output, serde_json::Value) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../configs")
        .join(config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command
        .arg("check")
        .arg(config)
        .args(["--json", "--rows", rows, "--entries", "1"]);
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

/// Three classes, four features, and what a configuration has by default.
fn small_data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (split, rows) in [("tr", 30), ("te", 6)] {
        for modality in 1..=2_u64 {
            let values = random_values(4 * rows, modality);
            let lines = values
                .chunks(4)
                .map(|row| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",") + "\n");
            let name = format!("{modality}_{split}.csv");
            std::fs::write(folder.path().join(name), lines.collect::<String>()).expect("a file");
        }
        let labels: String = (0..rows).map(|row| format!("{}\n", row % 3)).collect();
        std::fs::write(folder.path().join(format!("labels_{split}.csv")), labels).expect("a file");
    }
    let config = r#"
        data = { type = "folder" }
        backbone = { type = "encoder", hidden = 32 }
        fusion = { type = "deq" }
        training = {}
    "#;
    std::fs::write(folder.path().join("config.toml"), config).expect("a file");
    folder
}

#[test]
fn right_gradients_pass_whatever_the_seed() {
    let folder = small_data();
    let config = folder.path().join("config.toml").display().to_string();
    let data = folder.path().display().to_string();
    for seed in 1..=6 {
        let seed = format!("seed={seed}");
        let (output, json) = check(&config, &["--data", &data, "--set", &seed]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{seed}: {text}");
        let rows = json["parameters"].as_array().expect("a table");
        let sum = |key: &str| rows.iter().filter_map(|row| row[key].as_u64()).sum::<u64>();
        // What cannot be compared is the exception.
        assert!(2 * sum("compared") > sum("entries"), "{seed}: {text}");
    }
}

#[test]
fn a_wrong_gradient_gives_status_1_whatever_the_seed() {
    let folder = small_data();
    let config = folder.path().join("config.toml").display().to_string();
    let data = folder.path().display().to_string();
    for seed in 1..=3 {
        let seed = format!("seed={seed}");
        let wrong = [
            "--data",
            &data,
            "--set",
            &seed,
            "--set",
            "fusion.backward=jacobian-free",
        ];
        let (output, json) = check(&config, &wrong);
        assert_eq!(output.status.code(), Some(1), "{seed}: {json}");
        assert_eq!(json["passed"], false);
    }
}

#[test]
fn where_next_to_nothing_can_be_compared_nothing_passes() {
    let sum = ["--set", "fusion={type=\"weighted-sum\"}", "--tolerance"];
    let (output, json) = check("digits.toml", &[&sum[..], &["1e-30"]].concat());
    assert_eq!(output.status.code(), Some(1), "{json}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Differences that agree exactly are exact; there are not many.
    assert!(text.contains("no entry compared of "), "{text}");
}

/// The absolute error has a kink at 0. Where the targets are what the model says, no entry of a parameter has a slope, unless
/// no row depends on it: of the few features of this model every one is above 0 for some row.
#[test]
fn where_nothing_can_be_compared_nothing_passes() {
    let folder = small_data();
    let config = r#"
        data = { type = "folder" }
        backbone = { type = "encoder", hidden = 2 }
        fusion = { type = "weighted-sum" }
        head = { type = "regression", loss = "l1", standardization = { mean = 0.0, deviation = 1.0 } }
        training = {}
    "#;
    let experiment: Experiment = toml::from_str(config).expect("a configuration");
    std::fs::write(folder.path().join("config.toml"), config).expect("a file");

    let device = Cpu::default();
    let model = experiment.model::<f64, Cpu>(&device, &[4, 4], 0);
    let modalities = features_from_folder(folder.path(), SplitName::Train).expect("features");
    let mut rows = Split {
        modalities,
        targets: Targets::Numbers(vec![0.0; 30]),
    };
    MinMax::fit(&rows).apply(&mut rows).expect("in range");
    let said = predict(&model.expect("a model"), &device, &rows.modalities).expect("finite");
    for (split, rows) in [("tr", 30), ("te", 6)] {
        let lines = said.outputs.iter().take(rows);
        let targets: String = lines.map(|row| format!("{:e}\n", row[0])).collect();
        std::fs::write(folder.path().join(format!("targets_{split}.csv")), targets)
            .expect("a file");
        std::fs::remove_file(folder.path().join(format!("labels_{split}.csv"))).expect("a file");
    }

    let config = folder.path().join("config.toml").display().to_string();
    let data = folder.path().display().to_string();
    let (output, json) = check_on("30", &config, &["--data", &data]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(json["passed"], false);
    assert!(text.contains("\nnothing could be compared: "), "{text}");
    let parameters = json["parameters"].as_array().expect("a table");
    assert!(parameters
        .iter()
        .all(|row| row["compared"] == 0 && row["entries"] != 0));
}

/// A constant modality is 0 after scaling, and so is the gradient of what multiplies it.
#[test]
fn the_table_has_a_legend_and_a_dash_where_there_is_no_gradient() {
    let folder = small_data();
    let constant = "1,1,1,1\n";
    for (name, rows) in [("2_tr.csv", 30), ("2_te.csv", 6)] {
        std::fs::write(folder.path().join(name), constant.repeat(rows)).expect("a file");
    }
    let config = folder.path().join("config.toml").display().to_string();
    let data = folder.path().display().to_string();
    let arguments = ["--data", &data, "--set", "fusion={type=\"weighted-sum\"}"];
    let (output, json) = check(&config, &arguments);
    assert_eq!(output.status.code(), Some(0), "{json}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["\nlargest: ", "\ncompared: ", "\ngradient: "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let dashed = |line: &&str| line.split_whitespace().filter(|&cell| cell == "–").count() == 2;
    let dashed: Vec<&str> = text.lines().filter(dashed).collect();
    let weight = |line: &&str| line.starts_with("backbone.encoder.2.weight ");
    assert_eq!(
        dashed.iter().filter(|line| weight(line)).count(),
        1,
        "{text}"
    );
}

#[test]
fn a_model_without_equilibria_is_checked_as_well() {
    let (output, json) = check("digits.toml", &["--set", "fusion={type=\"weighted-sum\"}"]);
    assert_eq!(output.status.code(), Some(0), "{json}");
    assert_eq!(json["ways"], serde_json::json!(["gradient"]));
}
