//! Data of one's own, through the program: paths that are no text, test cohorts, numbers beyond the dtype.

#![cfg(unix)]

mod small;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder with the small configuration and data, the latter in a folder whose name is no UTF-8 text.
struct Place {
    folder: TempDir,
    data: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join(OsStr::from_bytes(b"donn\xe9es"));
        std::fs::create_dir(&data).expect("a folder");
        small::write_data(&data);
        std::fs::write(folder.path().join("config.toml"), small::CONFIG).expect("a file");
        Self { folder, data }
    }

    fn equilibria(&self, arguments: &[&dyn AsRef<OsStr>]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
        let arguments: Vec<OsString> = arguments.iter().map(|a| a.as_ref().to_owned()).collect();
        command.args(arguments).current_dir(self.folder.path());
        command.output().expect("the program starts")
    }

    fn train(&self, more: &[&dyn AsRef<OsStr>]) -> Output {
        let arguments: [&dyn AsRef<OsStr>; 8] = [
            &"train",
            &"config.toml",
            &"--quiet",
            &"--set",
            &"training.epochs=1",
            &"--data",
            &self.data,
            &"--out=run",
        ];
        self.equilibria(&[&arguments[..], more].concat())
    }
}

fn succeeded(output: &Output) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn replace_line(file: &Path, line: usize, text: &str) {
    let old = std::fs::read_to_string(file).expect("a file");
    let lines = old.lines().enumerate();
    let new: String = lines
        .map(|(i, old)| format!("{}\n", if i == line { text } else { old }))
        .collect();
    std::fs::write(file, new).expect("a file");
}

#[test]
fn paths_of_data_need_not_be_text() {
    let place = Place::new();
    succeeded(&place.train(&[]));
    // The run remembers the path.
    succeeded(&place.equilibria(&[&"evaluate", &"run"]));
    succeeded(&place.equilibria(&[&"train", &"run/config.toml", &"--quiet", &"--out=again"]));
}

#[test]
fn a_test_cohort_is_evaluated_by_itself() {
    let place = Place::new();
    succeeded(&place.train(&[]));
    let cohort = place.folder.path().join("cohort");
    std::fs::create_dir(&cohort).expect("a folder");
    for file in ["1_te.csv", "2_te.csv"] {
        std::fs::copy(place.data.join(file), cohort.join(file)).expect("a file");
    }
    // All rows are of class 0.
    std::fs::write(cohort.join("labels_te.csv"), "0\n".repeat(10)).expect("a file");
    succeeded(&place.equilibria(&[&"evaluate", &"run", &"--data", &cohort]));
    std::fs::write(cohort.join("labels_te.csv"), "2\n".repeat(10)).expect("a file");
    let message = refusal(&place.equilibria(&[&"evaluate", &"run", &"--data", &cohort]));
    assert!(
        message.contains("labels_te.csv, row 1, column 1: found label 2"),
        "{message}"
    );
}

#[test]
fn numbers_beyond_the_dtype_are_located_before_training() {
    let place = Place::new();
    replace_line(&place.data.join("2_tr.csv"), 6, "0.5,1e300,0.25");
    let message = refusal(&place.train(&[]));
    let expected = "2_tr.csv, row 7, column 2: found 1e300, beyond the numbers of f32";
    assert!(message.contains(expected), "{message}");
    succeeded(&place.train(&[&"--force", &"--set", &"dtype=f64"]));

    // A new value that is beyond f32 once it is scaled.
    let place = Place::new();
    succeeded(&place.train(&[]));
    replace_line(&place.data.join("1_te.csv"), 2, "0.5,-1e39,0.25");
    for command in [&["evaluate", "run"][..], &["predict", "run", "--out=p.csv"]] {
        let arguments: Vec<&dyn AsRef<OsStr>> = command.iter().map(|a| a as _).collect();
        let message = refusal(&place.equilibria(&arguments));
        assert!(
            message.contains("1_te.csv, row 3, column 2: found -1e39"),
            "{message}"
        );
    }
}

#[test]
fn targets_beyond_the_dtype_are_located_before_training() {
    let place = Place::new();
    for (split, rows) in [("tr", 40), ("te", 10)] {
        std::fs::remove_file(place.data.join(format!("labels_{split}.csv"))).expect("a file");
        let lines: String = (0..rows).map(|row| format!("{row}.5\n")).collect();
        std::fs::write(place.data.join(format!("targets_{split}.csv")), lines).expect("a file");
    }
    replace_line(&place.data.join("targets_tr.csv"), 4, "1e39");
    let head: [&dyn AsRef<OsStr>; 4] = [
        &"--set",
        &"head=regression",
        &"--set",
        &"backbone={type=\"encoder\", hidden=8, dropout=0}",
    ];
    let message = refusal(&place.train(&head));
    let expected = "targets_tr.csv, row 5, column 1: found 1e39, beyond the numbers of f32";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn classes_that_nothing_is_learned_of_are_warned_of() {
    let place = Place::new();
    for (labels, warning) in [
        ("1\n2\n", "no training sample is of the classes 0"),
        ("0\n0\n", "all training samples are of one class"),
    ] {
        for (split, pairs) in [("tr", 20), ("te", 5)] {
            let file = place.data.join(format!("labels_{split}.csv"));
            std::fs::write(file, labels.repeat(pairs)).expect("a file");
        }
        let place_of_data: &dyn AsRef<OsStr> = &place.data;
        let output = place.equilibria(&[
            &"train",
            &"config.toml",
            &"--force",
            &"--set",
            &"training.epochs=1",
            &"--data",
            place_of_data,
            &"--out=run",
        ]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(warning), "{message}");
    }
}

/// 40 training rows, whose numbers are taken for labels: 3901 classes.
#[test]
fn labels_that_number_the_samples_point_to_a_list_of_classes() {
    let place = Place::new();
    for (split, rows) in [("tr", 40), ("te", 10)] {
        let labels: String = (0..rows).map(|row| format!("{}\n", 100 * row)).collect();
        let file = place.data.join(format!("labels_{split}.csv"));
        std::fs::write(file, labels).expect("a file");
    }
    let message = refusal(&place.train(&[]));
    let found = "labels_tr.csv, row 40, column 1: found \"3900\"";
    assert!(message.contains(found), "{message}");
    assert!(message.contains("3901 classes for 40 rows"), "{message}");
    assert!(message.contains("classes.csv"), "{message}");
    // Whoever means it lists them, and the page stays small.
    let classes: String = (0..20_000)
        .map(|class| format!("class {class}\n"))
        .collect();
    std::fs::write(place.data.join("classes.csv"), classes).expect("a file");
    succeeded(&place.train(&[&"--set", &"training.validation=0"]));
    let page = place.folder.path().join("run/report.html");
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("The matrix is left out: it would have 20000 classes"));
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

/// Puts a line of names above the tables of a split.
fn name_columns(folder: &Path, split: &str, names: [&str; 2]) {
    for (modality, names) in (1..).zip(names) {
        let file = folder.join(format!("{modality}_{split}.csv"));
        let rows = std::fs::read_to_string(&file).expect("a file");
        let start = rows.find('\n').expect("a line") + 1;
        let rows = if rows.starts_with(char::is_alphabetic) {
            &rows[start..]
        } else {
            &rows[..]
        };
        std::fs::write(&file, format!("{names}\n{rows}")).expect("a file");
    }
}

#[test]
fn features_in_another_order_than_in_training_are_refused() {
    let place = Place::new();
    for split in ["tr", "te"] {
        name_columns(&place.data, split, ["a,b,c", "x,y,z"]);
    }
    succeeded(&place.train(&[]));
    let cohort = place.folder.path().join("cohort");
    std::fs::create_dir(&cohort).expect("a folder");
    let copy = || {
        for file in ["1_te.csv", "2_te.csv", "labels_te.csv"] {
            std::fs::copy(place.data.join(file), cohort.join(file)).expect("a file");
        }
    };
    let commands = [&["evaluate", "run"][..], &["predict", "run", "--out=p.csv"]];
    let run = |command: &[&str]| {
        let data: &dyn AsRef<OsStr> = &cohort;
        let arguments = command.iter().map(|a| a as &dyn AsRef<OsStr>);
        let arguments: Vec<_> = arguments.chain([&"--data" as _, data]).collect();
        place.equilibria(&arguments)
    };
    copy();
    for command in commands {
        succeeded(&run(command));
    }
    for (names, part) in [
        (["a,b,c", "x,z,y"], "2_te.csv, feature 2: found \"z\", where the model was trained on \"y\"; put the columns in the order"),
        (["a,b,d", "x,y,z"], "1_te.csv, feature 3: found \"d\", where the model was trained on \"c\"; give the model the features"),
    ] {
        name_columns(&cohort, "te", names);
        for command in commands {
            let message = refusal(&run(command));
            assert!(message.contains(part), "{message}");
        }
    }
    // Names in a list beside tables without a header.
    copy();
    for file in ["1_te.csv", "2_te.csv"] {
        let rows = std::fs::read_to_string(cohort.join(file)).expect("a file");
        let start = rows.find('\n').expect("a line") + 1;
        std::fs::write(cohort.join(file), &rows[start..]).expect("a file");
    }
    succeeded(&run(commands[0]));
    std::fs::write(cohort.join("1_featname.csv"), "c\nb\na\n").expect("a file");
    let message = refusal(&run(commands[1]));
    assert!(
        message.contains("1_featname.csv, feature 1: found \"c\""),
        "{message}"
    );
}

#[test]
fn modalities_in_each_others_place_are_refused() {
    let place = Place::new();
    let list = place.data.join("modalities.csv");
    std::fs::write(&list, "rna\nmethylation\n").expect("a file");
    succeeded(&place.train(&[]));
    let evaluate = || place.equilibria(&[&"evaluate", &"run"]);
    succeeded(&evaluate());
    std::fs::write(&list, "methylation\nrna\n").expect("a file");
    let message = refusal(&evaluate());
    assert!(
        message.contains("modality 1 is called \"methylation\""),
        "{message}"
    );
    // One that has been given a new name.
    std::fs::write(&list, "RNA-seq\nmethylation\n").expect("a file");
    succeeded(&evaluate());
}
