//! Questions about images from the files of VQA v2, through the program: trained, evaluated, predicted.

mod called;

use std::path::Path;

use called::{program, succeed};

const MUTAN: &str = r#"
[backbone]
type = "mutan"
words = 16
embedding = 4
question = 6
regions = 5
attention = [4, 4]
product = [8, 2]
features = [4, 4]
common = 8
dropout = 0.0
[head]
type = "answers"
loss = "shares"
"#;

const MCAN: &str = r#"
[backbone]
type = "mcan"
words = 16
embedding = 4
regions = 5
hidden = 8
layers = 1
heads = 2
inner = 8
pooling = 4
width = 8
dropout = 0.0
[head]
type = "answers"
"#;

/// The generated files, whose one split serves as both.
fn config(model: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fusion/tests/data/vqa");
    let path = data.display().to_string().replace('\\', "/");
    format!(
        r#"
seed = 1
data = {{ type = "vqa", path = "{path}", test = "train2014", words = 6, regions = 5 }}
fusion = {{ type = "sum" }}
{model}
[training]
epochs = 60
batch = 3
optimizer = {{ type = "adam", rate = 1e-2 }}
"#
    )
}

/// Three questions are learned by heart; the best answers are worth 1 each.
#[test]
fn both_systems_learn_questions_from_files() {
    for model in [MUTAN, MCAN] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), config(model)).expect("written");
        let train = ["train", "config.toml", "--out", "run", "--json", "-q"];
        let printed = succeed(&folder, &train);
        let last = printed.lines().last().expect("a line");
        let metrics: serde_json::Value = serde_json::from_str(last).expect("JSON");
        for key in ["vqa_accuracy", "yes_no", "number", "other"] {
            let value = metrics[key].as_f64().expect(key);
            assert!((value - 100.0).abs() < 1e-9, "{key}: {metrics}");
        }
        let evaluated = succeed(&folder, &["evaluate", "run", "--json"]);
        assert!(evaluated.contains("vqa_accuracy"), "{evaluated}");
        succeed(&folder, &["predict", "run", "--out", "out.csv"]);
        let table = std::fs::read_to_string(folder.path().join("out.csv")).expect("a table");
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split(',').collect())
            .collect();
        assert_eq!(rows[0][..3], ["row", "predicted", "probability"]);
        let answers: Vec<&str> = rows[1..].iter().map(|row| row[1]).collect();
        assert_eq!(answers, ["black", "2", "yes"]);
        let page = std::fs::read_to_string(folder.path().join("run/report.html"));
        let page = page.expect("a report");
        assert!(page.contains("Accuracy by type of answer"), "{page}");
        assert!(page.contains("VQA accuracy of 100.00 %"), "{page}");
    }
}

/// Word 14, of "bright", has no row in an embedding of fewer.
#[test]
fn too_few_words_in_the_model_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), config(MCAN)).expect("written");
    let train = [
        "train",
        "config.toml",
        "--out",
        "run",
        "--set",
        "backbone.words=12",
    ];
    let output = program(&folder, &train);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("the rows of the embedding"), "{message}");
}
