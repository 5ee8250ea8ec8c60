//! Heads through the program: targets that can be learned are learned, every command works, and what does not fit is refused.

mod called;

#[path = "small/rooms.rs"]
mod small_rooms;

use std::collections::BTreeMap;
use std::path::Path;

use called::{refusal, succeed};
use equilibria_core::registry;
use equilibria_fusion::data::TargetKind;
use equilibria_fusion::Head;
use equilibria_testing::random_values;
use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;
use small_rooms::ROOMS;
use tempfile::TempDir;

const TRAIN: usize = 160;
const TEST: usize = 60;
const LABELS: [&str; 3] = ["warm", "rain & <wind>", "night"];

/// Trains to the end within a second or two. Without validation rows there would be no best epoch.
const CONFIG: &str = r#"
seed = 2
data = { type = "folder" }
backbone = { type = "encoder", hidden = 16, dropout = 0.0 }
fusion = { type = "concat" }
[training]
epochs = 120
batch = 16
validation = 0.2
optimizer = { type = "adam", rate = 1e-2 }
decay = { every = 90, factor = 0.1 }
"#;

/// A number per row and label: products of the features with fixed weights.
fn signals(features: &[Vec<f64>; 2], row: usize) -> [f64; 3] {
    let x: Vec<f64> = features
        .iter()
        .flat_map(|x| &x[3 * row..3 * row + 3])
        .copied()
        .collect();
    let weights = [
        [0.5, -0.3, 0.2, 0.4, 0.0, -0.2],
        [-0.4, 0.6, 0.0, 0.1, 0.3, 0.5],
        [0.1, 0.0, -0.7, 0.4, -0.4, 0.2],
    ];
    weights.map(|w| w.iter().zip(&x).map(|(w, x)| w * x).sum())
}

/// Two modalities of three features, and targets that are linear in them: the first signal, or the signs of all, or the
/// number of the largest.
fn write_data(folder: &Path, kind: TargetKind) {
    if kind == TargetKind::Boxes {
        std::fs::write(folder.join("config.toml"), ROOMS).expect("written");
        return;
    }
    if kind == TargetKind::Answers {
        // No folder of tables has answers of people: they are generated.
        let source = format!(
            "data = {{ type = \"generated-questions\", people = true, train = {TRAIN}, test = {TEST} }}"
        );
        let config = CONFIG.replace("data = { type = \"folder\" }", &source);
        std::fs::write(folder.join("config.toml"), config).expect("written");
        return;
    }
    std::fs::write(folder.join("config.toml"), CONFIG).expect("written");
    for (split, rows, seed) in [("tr", TRAIN, 1), ("te", TEST, 11)] {
        let write = |stem: String, lines: Vec<String>| {
            let path = folder.join(format!("{stem}_{split}.csv"));
            std::fs::write(path, lines.join("\n")).expect("written");
        };
        let features = [0, 1].map(|modality| random_values(3 * rows, seed + modality));
        for (k, values) in (1..).zip(&features) {
            let line = |row: &[f64]| format!("{},{},{}", row[0], row[1], row[2]);
            write(k.to_string(), values.chunks(3).map(line).collect());
        }
        let signals: Vec<[f64; 3]> = (0..rows).map(|row| signals(&features, row)).collect();
        let bit = |signal: f64| u8::from(signal > 0.0);
        let (stem, mut lines): (_, Vec<String>) = match kind {
            TargetKind::Class => {
                let class = |s: &[f64; 3]| (0..3).max_by(|&a, &b| s[a].total_cmp(&s[b]));
                let line = |s: &[f64; 3]| class(s).unwrap_or(0).to_string();
                ("labels", signals.iter().map(line).collect())
            }
            TargetKind::LabelSet => {
                let line = |s: &[f64; 3]| s.map(|x| bit(x).to_string()).join(",");
                ("multilabels", signals.iter().map(line).collect())
            }
            TargetKind::Number => {
                let line = |s: &[f64; 3]| s[0].clamp(-3.0, 3.0).to_string();
                ("targets", signals.iter().map(line).collect())
            }
            TargetKind::Answers | TargetKind::Boxes => continue,
        };
        if kind == TargetKind::LabelSet {
            lines.insert(0, LABELS.join(","));
        }
        write(stem.to_owned(), lines);
    }
}

fn data(kind: TargetKind) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write_data(folder.path(), kind);
    folder
}

/// Where data of this kind is.
fn place(kind: TargetKind) -> &'static [&'static str] {
    match kind {
        TargetKind::Answers | TargetKind::Boxes => &[],
        _ => &["--data", "."],
    }
}

/// Trains, and gives the metrics that are printed, which are those of `metrics.json` and of `evaluate`.
fn train(folder: &TempDir, changes: &[&str]) -> BTreeMap<String, Value> {
    let mut arguments = vec![
        "train",
        "config.toml",
        "--data",
        ".",
        "--out",
        "run",
        "--json",
        "-q",
    ];
    changes
        .iter()
        .for_each(|change| arguments.extend(["--set", change]));
    let last = |text: String| -> BTreeMap<String, Value> {
        serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
    };
    let trained = last(succeed(folder, &arguments));
    let saved: BTreeMap<String, Value> =
        serde_json::from_str(&read(folder, "run/metrics.json")).expect("JSON");
    assert_eq!(trained, saved);
    let evaluated = last(succeed(
        folder,
        &["evaluate", "run", "--data", ".", "--json"],
    ));
    for (key, value) in evaluated {
        assert_eq!(trained[&key], value, "{key}");
    }
    trained
}

fn read(folder: &TempDir, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).expect(name)
}

/// Header and cells of a table without quoted cells.
fn table(text: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
    let mut lines = text.lines().map(|line| line.split(',').collect());
    (lines.next().expect("a header"), lines.collect())
}

fn predictions(folder: &TempDir) -> String {
    succeed(
        folder,
        &["predict", "run", "--data", ".", "--out", "out.csv"],
    );
    read(folder, "out.csv")
}

/// The epoch of the best value of a column of the history, the first of several.
fn best_epoch(history: &str, column: &str, rises: bool) -> usize {
    let (header, rows) = table(history);
    let column = header
        .iter()
        .position(|name| *name == column)
        .expect(column);
    let values = rows
        .iter()
        .map(|row| row[column].parse::<f64>().expect("a number"));
    let merit = values.map(|value| if rises { value } else { -value });
    let best = merit
        .enumerate()
        .reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.expect("epochs").0 + 1
}

#[test]
fn a_linear_target_is_learned() {
    let folder = data(TargetKind::Number);
    let metrics = train(&folder, &[r#"head={type="regression",sentiment=true}"#]);
    let metric = |key: &str| metrics[key].as_f64().expect(key);
    // The standard deviation of the target is 0.76, so the mean error of the constant that fits best is 0.61.
    assert!(metric("mae") < 0.1, "{metrics:?}");
    assert!(metric("correlation") > 0.98, "{metrics:?}");
    for key in ["acc_2", "acc_7", "f1"] {
        assert!(metric(key) > 85.0, "{key}: {metrics:?}");
    }
    let history = read(&folder, "run/history.csv");
    let best = best_epoch(&history, "validation_mae", false);
    assert_eq!(metrics["best_epoch"], best);
    let expected = "epoch,loss,rate_factor,validation_mae,validation_correlation,validation_acc_7,validation_acc_2,\
                    validation_f1,validation_loss,solver_steps";
    assert!(history.starts_with(expected), "{history}");

    let text = predictions(&folder);
    let (header, rows) = table(&text);
    assert_eq!(
        header,
        [
            "row",
            "predicted",
            "status",
            "evaluations",
            "relative_residual"
        ]
    );
    let truth = read(&folder, "targets_te.csv");
    let truth = truth
        .lines()
        .map(|line| line.parse::<f64>().expect("a number"));
    let errors = rows
        .iter()
        .zip(truth)
        .map(|(row, y)| (row[1].parse::<f64>().expect("a number") - y).abs());
    let mae = errors.sum::<f64>() / TEST as f64;
    assert!((mae - metric("mae")).abs() < 1e-12, "{mae}");

    // The absolute error is another loss, with the same metrics and an optimum as good.
    std::fs::remove_dir_all(folder.path().join("run")).expect("a run");
    let absolute = train(&folder, &[r#"head={type="regression",loss="l1"}"#]);
    assert!(
        absolute["mae"].as_f64().expect("a number") < 0.1,
        "{absolute:?}"
    );
    assert!(
        absolute["loss"] == absolute["mae"] || {
            // Summed in f32 and in f64.
            let [loss, mae] = ["loss", "mae"].map(|key| absolute[key].as_f64().expect("a number"));
            (loss - mae).abs() < 1e-5 * mae
        }
    );
    assert!(!absolute.contains_key("acc_2"));
}

/// The same numbers times 1e3, around 1e6: every result is that much larger, and `check` finds the gradients right.
#[test]
fn numbers_near_a_million_are_learned_and_reported_in_their_units() {
    let folder = data(TargetKind::Number);
    for split in ["tr", "te"] {
        let name = format!("targets_{split}.csv");
        let number = |line: &str| 1e6 + 1e3 * line.parse::<f64>().expect("a number");
        let text = read(&folder, &name);
        let lines: Vec<String> = text.lines().map(|line| number(line).to_string()).collect();
        std::fs::write(folder.path().join(name), lines.join("\n")).expect("written");
    }
    for loss in ["l1", "l2"] {
        let head = format!("head={{type=\"regression\",loss=\"{loss}\"}}");
        let metrics = train(&folder, &[&head]);
        let metric = |key: &str| metrics[key].as_f64().expect(key);
        assert!(metric("mae") < 100.0, "{metrics:?}");
        assert!(metric("correlation") > 0.98, "{metrics:?}");
        let typical = if loss == "l1" {
            metric("loss")
        } else {
            metric("loss").sqrt()
        };
        assert!(
            (0.99..3.0).contains(&(typical / metric("mae"))),
            "{metrics:?}"
        );
        let history = read(&folder, "run/history.csv");
        let (header, rows) = table(&history);
        let column = header.iter().position(|name| *name == "validation_mae");
        let last = rows[rows.len() - 1][column.expect("the column")].parse::<f64>();
        assert!((1.0..100.0).contains(&last.expect("a number")), "{history}");
        let text = predictions(&folder);
        let (_, rows) = table(&text);
        let near = |row: &Vec<&str>| (row[1].parse::<f64>().expect("a number") - 1e6).abs() < 5e3;
        assert!(rows.iter().all(near), "{text}");
        let check = ["check", "config.toml", "--data", ".", "--set", &head];
        succeed(&folder, &check);
        std::fs::remove_dir_all(folder.path().join("run")).expect("a run");
    }
}

#[test]
fn labels_that_half_spaces_separate_are_learned() {
    let folder = data(TargetKind::LabelSet);
    let metrics = train(&folder, &[r#"head={type="multi-label"}"#]);
    let metric = |key: &str| metrics[key].as_f64().expect(key);
    for key in [
        "micro_f1",
        "macro_f1",
        "weighted_f1",
        "samples_f1",
        "subset_accuracy",
    ] {
        assert!(metric(key) > 80.0, "{key}: {metrics:?}");
    }
    let history = read(&folder, "run/history.csv");
    assert!(
        history.contains("rate_factor,validation_micro_f1,validation_macro_f1,validation_loss,")
    );

    let text = predictions(&folder);
    let (header, rows) = table(&text);
    assert_eq!(header[..5], [&["row", "predicted"], &LABELS[..]].concat());
    let truth = read(&folder, "multilabels_te.csv");
    let (_, truth) = table(&truth);
    let (mut hits, mut all) = (0, 0);
    for (row, truth) in rows.iter().zip(&truth) {
        let probable = |index: &usize| row[2 + index].parse::<f64>().expect("a probability") > 0.5;
        let predicted: Vec<usize> = (0..3).filter(probable).collect();
        let names: Vec<&str> = predicted.iter().map(|&index| LABELS[index]).collect();
        assert_eq!(row[1], names.join(";"));
        let there: Vec<usize> = (0..3).filter(|&index| truth[index] == "1").collect();
        hits += predicted
            .iter()
            .filter(|index| there.contains(index))
            .count();
        all += predicted.len() + there.len();
    }
    let micro = 200.0 * hits as f64 / all as f64;
    assert!((micro - metric("micro_f1")).abs() < 1e-12, "{micro}");

    // At a threshold near 1 no label is sure enough.
    std::fs::remove_dir_all(folder.path().join("run")).expect("a run");
    let strict = train(
        &folder,
        &[
            r#"head={type="multi-label",threshold=0.999999}"#,
            "training.epochs=1",
        ],
    );
    assert_eq!(strict["micro_f1"], 0.0);
}

#[test]
fn every_head_has_a_report_and_a_study() {
    for plugin in registry::of_kind("head").expect("heads are linked") {
        let head = registry::default::<dyn Head>(&plugin.name).expect("it parses");
        let folder = data(head.targets());
        // An equilibrium, so that solves are reported too.
        let plan = format!(
            "title = \"Fusions\"\nconfig = \"config.toml\"\nseeds = [1, 2]\n\
             [[variant]]\nname = \"deq\"\nset = ['fusion={{type=\"deq\"}}', 'head.type=\"{0}\"']\n\
             [[variant]]\nname = \"sum\"\nset = ['fusion={{type=\"weighted-sum\"}}', 'head.type=\"{0}\"']\n",
            plugin.name
        );
        std::fs::write(folder.path().join("plan.toml"), plan).expect("written");
        let mut study = vec![
            "study",
            "plan.toml",
            "--out",
            "out",
            "-q",
            "--set",
            "training.epochs=2",
        ];
        study.extend(place(head.targets()));
        let printed = succeed(&folder, &study);
        let runs = read(&folder, "out/runs.csv");
        let (header, rows) = table(&runs);
        assert_eq!(rows.len(), 4);
        assert_eq!(header.len(), 2 + head.metrics().len() + 3, "{header:?}");
        for metric in head.metrics() {
            assert!(printed.contains(&metric.heading(" ")), "{printed}");
        }
        assert!(rows.iter().flatten().all(|cell| !cell.is_empty()), "{runs}");

        let page = read(&folder, "out/deq/seed-1/report.html");
        let options = ParsingOptions {
            allow_dtd: true,
            ..ParsingOptions::default()
        };
        let page = Document::parse_with_options(&page, options).expect("well-formed");
        let texts = |tag: &str| -> Vec<String> {
            let nodes = page.descendants().filter(|node| node.has_tag_name(tag));
            let inside = |node: Node<'_, '_>| {
                node.descendants()
                    .filter(Node::is_text)
                    .filter_map(|n| n.text())
                    .collect()
            };
            nodes.map(inside).collect()
        };
        let headings = texts("h2");
        let (parts, circles) = match head.targets() {
            TargetKind::Class => ("Confusion matrix of the test rows", 0),
            TargetKind::LabelSet => ("Labels of the test rows", 0),
            TargetKind::Number => ("Predictions for the test rows", TEST),
            TargetKind::Answers => ("Answers to the test rows", 0),
            TargetKind::Boxes => ("Boxes in the test rows", 0),
        };
        assert!(headings.iter().any(|text| text == parts), "{headings:?}");
        let confused = headings.iter().any(|text| text.starts_with("Confusion"));
        assert_eq!(confused, head.targets() == TargetKind::Class);
        let scatter = page
            .descendants()
            .filter(|node| node.has_tag_name("figure"))
            .find(|figure| {
                figure
                    .descendants()
                    .any(|node| node.text() == Some("Predicted against true number"))
            });
        let dots = scatter.map_or(0, |figure| {
            figure
                .descendants()
                .filter(|node| node.has_tag_name("circle"))
                .count()
        });
        assert_eq!(dots, circles, "{}", plugin.name);
        for metric in head.metrics() {
            let heading = metric.heading(", ");
            assert!(texts("th").contains(&heading), "{heading}");
        }
        let legends = texts("li").join(", ") + &texts("figcaption").join(", ");
        for metric in head.tracked() {
            assert!(
                legends.contains(metric.label),
                "{}: {legends}",
                metric.label
            );
        }
    }
}

#[test]
fn gradients_of_whole_models_are_right_for_every_head() {
    for plugin in registry::of_kind("head").expect("heads are linked") {
        let head = registry::default::<dyn Head>(&plugin.name).expect("it parses");
        let folder = data(head.targets());
        let change = format!("head.type=\"{}\"", plugin.name);
        let mut check = vec!["check", "config.toml", "--set", &change];
        check.extend(place(head.targets()));
        succeed(&folder, &check);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let train = ["train", "config.toml", "--data", ".", "--out", "run"];
    for (kind, changes, parts) in [
        (
            TargetKind::Class,
            &[r#"head={type="multi-label"}"#][..],
            &[
                "`multi-label` needs several labels per row",
                "has one class per row",
                r#"type = "multi-class""#,
            ][..],
        ),
        (
            TargetKind::Number,
            &[],
            &[
                "`multi-class` needs one class per row",
                r#"set `head = { type = "regression" }`"#,
            ],
        ),
        (
            TargetKind::Number,
            &[
                r#"head={type="regression",sentiment=true}"#,
                r#"backbone={type="mm-dynamics"}"#,
            ],
            &["config.toml", "head.type", "`mm-dynamics`", "`encoder`"],
        ),
        (
            TargetKind::Number,
            &[r#"head={type="regresion"}"#],
            &["did you mean `regression`"],
        ),
        (
            TargetKind::LabelSet,
            &[r#"head={type="multi-label",treshold=0.4}"#],
            &["head (`multi-label`)", "did you mean `threshold`"],
        ),
        (
            TargetKind::LabelSet,
            &[r#"head={type="multi-label",threshold=1.5}"#],
            &["head.threshold: must be in (0, 1), got 1.5"],
        ),
    ] {
        let folder = data(kind);
        let changes = changes.iter().flat_map(|change| ["--set", change]);
        let message = refusal(
            &folder,
            &train.into_iter().chain(changes).collect::<Vec<_>>(),
        );
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!folder.path().join("run").exists());
    }

    // A model does not fit targets of another kind, or other labels.
    let folder = data(TargetKind::LabelSet);
    train_short(&folder);
    let other = data(TargetKind::Number);
    let path = other.path().display().to_string();
    let message = refusal(&folder, &["evaluate", "run", "--data", &path]);
    assert!(
        message.contains("`multi-label` needs several labels"),
        "{message}"
    );
    let text = read(&folder, "multilabels_te.csv");
    for split in ["tr", "te"] {
        let name = format!("multilabels_{split}.csv");
        let text = read(&folder, &name).replace("warm", "cold");
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let message = refusal(&folder, &["evaluate", "run", "--data", "."]);
    assert!(
        message.contains("warm") && message.contains("cold"),
        "{message}"
    );
    // A broken cell, by its place.
    let broken = text.replacen("\n0", "\nx", 1);
    std::fs::write(folder.path().join("multilabels_te.csv"), broken).expect("written");
    let message = refusal(&folder, &["evaluate", "run", "--data", "."]);
    assert!(
        message.contains("multilabels_te.csv, row ") && message.contains("column 1"),
        "{message}"
    );
    // To predict, no targets are needed.
    for split in ["tr", "te"] {
        let name = format!("multilabels_{split}.csv");
        std::fs::remove_file(folder.path().join(name)).expect("a file");
    }
    assert_eq!(predictions(&folder).lines().count(), 1 + TEST);
}

fn train_short(folder: &TempDir) {
    train(
        folder,
        &[r#"head={type="multi-label"}"#, "training.epochs=1"],
    );
}
