//! Sentences with sound from the files of CM-BERT, through the program: trained, evaluated, predicted.

mod called;

use std::path::Path;

use called::succeed;
use tempfile::TempDir;

fn config() -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fusion/tests/data/mosi");
    let path = data.display().to_string().replace('\\', "/");
    format!(
        r#"
seed = 1
data = {{ type = "mosi", path = "{path}" }}
fusion = {{ type = "weighted-sum", bias = true }}
[backbone]
type = "cm-bert"
vocabulary = 24
positions = 50
hidden = 8
layers = 1
heads = 2
inner = 8
projection = 4
dropout = 0.0
attention_dropout = 0.0
[head]
type = "regression"
sentiment = true
[training]
epochs = 80
batch = 4
optimizer = {{ type = "adam", rate = 1e-2 }}
"#
    )
}

/// The losses over the epochs of a run.
fn losses(folder: &TempDir, run: &str) -> Vec<f64> {
    let history = std::fs::read_to_string(folder.path().join(run).join("history.csv"));
    let history = history.expect("a history");
    let loss = |line: &str| line.split(',').nth(1)?.parse().ok();
    history.lines().skip(1).filter_map(loss).collect()
}

#[test]
fn sentences_from_files_are_learned() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), config()).expect("written");
    succeed(&folder, &["train", "config.toml", "--out", "run", "-q"]);
    let losses_of_run = losses(&folder, "run");
    let (first, last) = (losses_of_run[0], losses_of_run[losses_of_run.len() - 1]);
    assert!(last < 0.1 * first, "{first} {last}");
    let evaluated = succeed(&folder, &["evaluate", "run", "--json"]);
    for key in ["mae", "acc_7", "acc_2"] {
        assert!(evaluated.contains(key), "{evaluated}");
    }
    succeed(&folder, &["predict", "run", "--out", "out.csv"]);
    let table = std::fs::read_to_string(folder.path().join("out.csv")).expect("a table");
    assert_eq!(table.lines().count(), 1 + 2, "{table}");

    // Sentences of `dev` choose the best epoch where there is to be validation.
    let set = [
        "--set",
        "training.validation=0.1",
        "--set",
        "training.epochs=3",
    ];
    let train = ["train", "config.toml", "--out", "validated", "-q"];
    succeed(&folder, &[&train[..], &set].concat());
    let history = std::fs::read_to_string(folder.path().join("validated/history.csv"));
    assert!(history.expect("a history").contains("validation_mae"));
}
