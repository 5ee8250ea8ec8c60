//! `equilibria predict`: a table of all rows, with or without labels, and what bad data gets.

mod called;

use std::path::Path;

use called::{program, succeed};
use tempfile::TempDir;

/// The classes, with a name that must be quoted.
const CLASSES: [&str; 2] = ["large, gray", "small"];

/// Writes a file of the given rows.
fn write<T: ToString>(folder: &Path, name: &str, rows: impl Iterator<Item = Vec<T>>) {
    let line = |row: Vec<T>| {
        let cells: Vec<String> = row.iter().map(T::to_string).collect();
        cells.join(",") + "\n"
    };
    std::fs::write(folder.join(name), rows.map(line).collect::<String>()).expect("written");
}

/// A folder with two modalities of 3 and 2 features, 12 training and 5 test rows, and in `run` a model trained on it.
fn trained(fusion: &str) -> TempDir {
    let data = tempfile::tempdir().expect("a folder");
    let cell = |row: usize, column: usize| (7 * row + 3 * column) % 5;
    for (split, rows) in [("tr", 0..12), ("te", 12..17)] {
        for (k, columns) in [(1, 3), (2, 2)] {
            let row = |row| (0..columns).map(|column| cell(row, column)).collect();
            write(
                data.path(),
                &format!("{k}_{split}.csv"),
                rows.clone().map(row),
            );
        }
        let labels = rows.map(|row| vec![row % 2]);
        write(data.path(), &format!("labels_{split}.csv"), labels);
    }
    std::fs::write(data.path().join("classes.csv"), CLASSES.join("\n")).expect("written");
    let config = format!(
        r#"
            data = {{ type = "folder" }}
            backbone = {{ type = "encoder", hidden = 8 }}
            fusion = {fusion}
            training = {{ epochs = 2, batch = 4, optimizer = {{ type = "adam" }} }}
        "#
    );
    std::fs::write(data.path().join("config.toml"), config).expect("written");
    let [config, run, folder] = ["config.toml", "run", ""].map(|name| at(&data, name));
    succeed(
        ".",
        &[
            "train", &config, "--data", &folder, "--out", &run, "--quiet",
        ],
    );
    data
}

fn at(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// One line of the table.
struct Row {
    predicted: String,
    probabilities: [f64; 2],
    solver: [String; 3],
}

/// Predicts from the data in `data` and reads the table.
fn predict(model: &TempDir, data: &TempDir, more: &[&str]) -> Vec<Row> {
    let [run, folder, out] = [at(model, "run"), at(data, ""), at(data, "table.csv")];
    let arguments = ["predict", &run, "--data", &folder, "--out", &out];
    succeed(".", &[&arguments[..], more].concat());
    let table = std::fs::read_to_string(&out).expect("the table");
    let (header, lines) = table.split_once('\n').expect("a header");
    let expected = "row,predicted,\"large, gray\",small,status,evaluations,relative_residual";
    assert_eq!(header, expected);
    let read = |(number, line): (usize, &str)| {
        let line = line.replace("\"large, gray\"", "large");
        let cells: Vec<&str> = line.split(',').collect();
        let &[row, predicted, a, b, status, evaluations, residual] = &cells[..] else {
            panic!("7 cells: {line}");
        };
        assert_eq!(row, number.to_string());
        Row {
            predicted: predicted.to_owned(),
            probabilities: [a, b].map(|cell| cell.parse().expect("a number")),
            solver: [status, evaluations, residual].map(str::to_owned),
        }
    };
    (1..).zip(lines.lines()).map(read).collect()
}

#[test]
fn the_table_agrees_with_evaluate() {
    // Groups of two features would be normalized to ±1, between which a state may go to and fro.
    let fusion = r#"{ type = "deq", groups = 2, layer = { type = "residual-block", groups = 2 } }"#;
    let data = trained(fusion);
    let rows = predict(&data, &data, &[]);
    assert_eq!(rows.len(), 5);
    for row in &rows {
        let [a, b] = row.probabilities;
        assert!((a + b - 1.0).abs() < 1e-15 && a > 0.0 && b > 0.0, "{a} {b}");
        assert_eq!(row.predicted, if a >= b { "large" } else { "small" });
        // Three equilibria, and at least one evaluation each; the tolerance is 1e-4.
        let [status, evaluations, residual] = &row.solver;
        assert_eq!(status, "converged");
        assert!(evaluations.parse::<usize>().expect("a count") >= 3);
        assert!(residual.parse::<f64>().expect("a number") <= 1e-4);
    }
    let run = at(&data, "run");
    let report = at(&data, "solves.csv");
    let folder = at(&data, "");
    let evaluated = [
        "evaluate", &run, "--data", &folder, "--json", "--report", &report,
    ];
    let evaluated = succeed(".", &evaluated);
    let last = evaluated.lines().last().expect("a last line");
    let evaluated: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let right = |(row, prediction): &(usize, &Row)| {
        prediction.predicted == if row % 2 == 0 { "large" } else { "small" }
    };
    let right = (12..).zip(&rows).filter(right).count();
    let accuracy = evaluated["accuracy"].as_f64().expect("a number");
    assert!(
        (accuracy - 20.0 * right as f64).abs() < 1e-9,
        "{accuracy}, {right} of 5"
    );

    // The last columns sum up the table of all solves.
    let report = std::fs::read_to_string(&report).expect("the table of solves");
    for (sample, row) in rows.iter().enumerate() {
        let solves = report.lines().skip(1).map(|line| line.split(',').collect());
        let solves = solves.filter(|cells: &Vec<&str>| cells[1] == (sample + 1).to_string());
        let solves: Vec<(usize, f64)> = solves
            .map(|cells| {
                (
                    cells[5].parse().expect("a count"),
                    cells[7].parse().expect("a number"),
                )
            })
            .collect();
        assert_eq!(solves.len(), 3);
        let evaluations: usize = solves.iter().map(|solve| solve.0).sum();
        assert_eq!(row.solver[1], evaluations.to_string());
        let worst = solves.iter().map(|solve| solve.1).fold(0.0, f64::max);
        assert_eq!(row.solver[2], worst.to_string());
    }
}

#[test]
fn labels_are_not_needed() {
    let data = trained(r#"{ type = "deq" }"#);
    let labeled = predict(&data, &data, &[]);
    let unlabeled = tempfile::tempdir().expect("a folder");
    for file in ["1_te.csv", "2_te.csv"] {
        std::fs::copy(data.path().join(file), unlabeled.path().join(file)).expect("copied");
    }
    let rows = predict(&data, &unlabeled, &[]);
    assert_eq!(rows.len(), labeled.len());
    for (a, b) in rows.iter().zip(&labeled) {
        assert_eq!(
            a.probabilities.map(f64::to_bits),
            b.probabilities.map(f64::to_bits)
        );
    }
    assert_eq!(predict(&data, &data, &["--split", "train"]).len(), 12);
    let out = at(&unlabeled, "other.csv");
    let message = refusal(&data, &unlabeled, &out, &["--split", "train"]);
    assert!(message.contains("1_tr.csv is missing"), "{message}");
}

#[test]
fn unsolved_rows_are_told() {
    let data = trained(
        r#"{ type = "deq", stop = { max_evaluations = 2, tolerance = { relative = 1e-12 } } }"#,
    );
    for row in predict(&data, &data, &[]) {
        let [status, _, residual] = &row.solver;
        assert_eq!(status, "max-evaluations");
        assert!(residual.parse::<f64>().expect("a number") > 1e-12);
    }
}

#[test]
fn a_model_without_equilibria_has_no_status() {
    let data = trained(r#"{ type = "weighted-sum" }"#);
    for row in predict(&data, &data, &[]) {
        assert_eq!(row.solver, ["", "", ""]);
    }
}

/// What the program says when it refuses, with status 2, and leaves no file.
fn refusal(model: &TempDir, data: &TempDir, out: &str, more: &[&str]) -> String {
    let [run, folder] = [at(model, "run"), at(data, "")];
    let arguments = ["predict", &run, "--data", &folder, "--out", out];
    let output = program(".", &[&arguments[..], more].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(!Path::new(out).exists());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn bad_data_is_named_and_no_file_is_left() {
    let model = trained(r#"{ type = "deq" }"#);
    for (file, text, parts) in [
        (
            "2_te.csv",
            "1,2\n3,x\n",
            ["2_te.csv, row 2, column 2", "\"x\""],
        ),
        ("1_te.csv", "1,2,3\n", ["2_te.csv has 5 rows", "expected 1"]),
        ("2_te.npy", "", ["2_te.csv", "2_te.npy"]),
        (
            "3_te.csv",
            "1\n1\n1\n1\n1\n",
            ["features [3, 2]", "features [3, 2, 1]"],
        ),
    ] {
        let data = tempfile::tempdir().expect("a folder");
        for file in ["1_te.csv", "2_te.csv"] {
            std::fs::copy(model.path().join(file), data.path().join(file)).expect("copied");
        }
        std::fs::write(data.path().join(file), text).expect("written");
        let message = refusal(&model, &data, &at(&data, "table.csv"), &[]);
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    }
    // A folder below a file can be made by no one.
    let out = at(&model, "config.toml/table.csv");
    let message = refusal(&model, &model, &out, &[]);
    assert!(message.contains(&out), "{message}");
}
