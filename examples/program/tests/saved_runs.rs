//! What a saved run tells of itself is checked against the rows it is given, and has to make sense.

mod called;
mod small;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::SafeTensors;

/// A folder with the small data set, and a run on it.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new(more: &[&str]) -> Self {
        let bench = Self(small::folder());
        let train = ["train", "config.toml", "--data", "data", "--out", "run"];
        let short = ["--set", "training.epochs=1"];
        bench.succeed(&[&train[..], &short, more].concat());
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What is said on standard error.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = called::program(self.0.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// Changes a number of a line, from 1.
fn change(file: &Path, line: usize) {
    let text = std::fs::read_to_string(file).expect("a file");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let rest = lines[line - 1].split_once(',').map(|(_, rest)| rest);
    lines[line - 1] = match rest {
        Some(rest) => format!("0.123,{rest}"),
        None => (1 - lines[line - 1].parse::<usize>().expect("a label")).to_string(),
    };
    std::fs::write(file, lines.join("\n") + "\n").expect("written");
}

const EVALUATE: [&str; 2] = ["evaluate", "run"];

#[test]
fn rows_that_were_changed_in_place_are_warned_of_by_file() {
    let predict = ["predict", "run", "--out", "table.csv"];
    let train_rows = [&predict[..], &["--split", "train"]].concat();
    for (file, line, warned) in [
        ("1_te", 3, [true, true, false]),
        ("2_te", 10, [true, true, false]),
        ("labels_te", 2, [true, false, false]),
        ("2_tr", 5, [false, false, true]),
        ("labels_tr", 5, [false; 3]),
    ] {
        let bench = Bench::new(&[]);
        for arguments in [&EVALUATE[..], &predict, &train_rows] {
            assert_eq!(bench.succeed(arguments), "", "nothing has changed");
        }
        change(&bench.at(&format!("data/{file}.csv")), line);
        for (arguments, warned) in [&EVALUATE[..], &predict, &train_rows]
            .into_iter()
            .zip(warned)
        {
            let message = bench.succeed(arguments);
            let told = message.contains("warning: run/model.safetensors: the ")
                && message.contains(&format!(
                    "rows are not those of the run, they differ in {file};"
                ));
            assert_eq!(told, warned, "{file}, {arguments:?}: {message}");
        }
        // Rows that are asked for by name may be others.
        let given = [&EVALUATE[..], &["--data", "data"]].concat();
        assert_eq!(bench.succeed(&given), "");
    }
}

#[test]
fn a_file_is_named_as_it_is_called_where_modalities_are_chosen() {
    let bench = Bench::new(&["--set", "modalities=[2]"]);
    change(&bench.at("data/1_te.csv"), 1);
    assert_eq!(bench.succeed(&EVALUATE), "");
    change(&bench.at("data/2_te.csv"), 1);
    let message = bench.succeed(&EVALUATE);
    assert!(message.contains("differ in 2_te;"), "{message}");
}

#[test]
fn metadata_that_makes_no_sense_is_named_with_the_file() {
    let bench = Bench::new(&[]);
    let path = bench.at("run/model.safetensors");
    let bytes = std::fs::read(&path).expect("a model");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("whole");
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    for (key, text, expected) in [
        ("config", "{}", "missing field `data`"),
        ("config", "[]", "metadata `config`: "),
        (
            "config",
            "{\"data\":{\"type\":\"fold\"}}",
            "metadata `config`: data: ",
        ),
        (
            "classes",
            "[\"a\",\"a\"]",
            "metadata `classes`: two classes are called `a`",
        ),
        ("classes", "{}", "metadata `classes`: "),
    ] {
        let mut metadata: HashMap<String, String> = header.metadata().clone().expect("metadata");
        metadata.insert(key.to_owned(), text.to_owned());
        let views: Vec<(&str, TensorView<'_>)> = file.iter().collect();
        let changed = safetensors::serialize(views, Some(metadata)).expect("serializable");
        std::fs::write(&path, changed).expect("written");
        for arguments in [&EVALUATE[..], &["predict", "run", "--out", "table.csv"]] {
            let message = called::refusal(bench.0.path(), arguments);
            let place = format!("error: run/model.safetensors: metadata `{key}`: ");
            assert!(message.contains(&place), "{key} = {text}: {message}");
            assert!(message.contains(expected), "{key} = {text}: {message}");
        }
    }
}
