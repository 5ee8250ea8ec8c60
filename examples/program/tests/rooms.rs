//! Boxes in rooms through the program: trained, evaluated, predicted, reported, from generated rooms and from files.

mod called;

#[path = "small/rooms.rs"]
mod small_rooms;

use std::path::Path;

use called::{program, refusal, succeed};
use serde_json::Value;
use small_rooms::ROOMS;
use tempfile::TempDir;

fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), config).expect("written");
    folder
}

fn read(folder: &TempDir, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).expect(name)
}

/// The object on the last line.
fn json(printed: &str) -> Value {
    serde_json::from_str(printed.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn a_detector_is_trained_evaluated_and_told_of() {
    let folder = folder(ROOMS);
    let train = ["train", "config.toml", "--out", "run", "--json", "-q"];
    let trained = json(&succeed(&folder, &train));
    let printed = succeed(&folder, &["evaluate", "run", "--json"]);
    assert!(
        printed.contains("mAP@0.25 ") && printed.contains("mAP@0.5 "),
        "{printed}"
    );
    let evaluated = json(&printed);
    for key in ["map_25", "map_50", "average_precision", "loss"] {
        assert_eq!(trained[key], evaluated[key], "{key}");
        assert!(!evaluated[key].is_null(), "{key}");
    }
    // mAP is the mean of what classes have.
    for (at, key) in ["map_25", "map_50"].into_iter().enumerate() {
        let own = |class: &str| evaluated["average_precision"][class][at].as_f64();
        let [a, b] = ["crate", "cabinet"].map(|class| own(class).expect(class));
        let mean = evaluated[key].as_f64().expect(key);
        assert!((0.5 * (a + b) - mean).abs() < 1e-9, "{evaluated}");
    }
    let history = read(&folder, "run/history.csv");
    assert!(
        history.contains("validation_map_25,validation_map_50,validation_loss"),
        "{history}"
    );
    assert_eq!(history.lines().count(), 1 + 4);

    let page = read(&folder, "run/report.html");
    for part in [
        "Boxes in the test rows",
        "Average precision by class",
        "Row 1: ",
        "cabinet",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        page.matches("<polyline").count() >= 4 * 2,
        "true boxes of four rooms"
    );
}

#[test]
fn boxes_are_predicted_as_csv_and_as_json() {
    let folder = folder(ROOMS);
    succeed(&folder, &["train", "config.toml", "--out", "run", "-q"]);
    succeed(&folder, &["predict", "run", "--out", "boxes.csv"]);
    succeed(&folder, &["predict", "run", "--out", "boxes.json"]);
    let table = read(&folder, "boxes.csv");
    let mut lines = table.lines().map(|line| line.split(',').collect());
    let header: Vec<&str> = lines.next().expect("a header");
    assert_eq!(
        header[..10],
        [
            "row",
            "predicted",
            "score",
            "x",
            "y",
            "z",
            "length",
            "width",
            "height",
            "heading"
        ]
    );
    let rows: Vec<Vec<&str>> = lines.collect();
    let list: Vec<Value> = serde_json::from_str(&read(&folder, "boxes.json")).expect("JSON");
    assert!(rows.len() > 6, "{table}");
    assert_eq!(rows.len(), list.len());
    let mut last = 1;
    for (cells, entry) in rows.iter().zip(&list) {
        let row: usize = cells[0].parse().expect("a number");
        assert!((last..=6).contains(&row), "{table}");
        last = row;
        assert!(["crate", "cabinet"].contains(&cells[1]), "{cells:?}");
        assert_eq!(entry["predicted"], cells[1]);
        for (name, cell) in header
            .iter()
            .zip(cells)
            .filter(|(name, _)| **name != "predicted")
        {
            match cell.parse::<f64>() {
                Ok(number) => assert_eq!(entry[name].as_f64(), Some(number), "{name}"),
                Err(_) => assert!(cell.is_empty() && entry[name].is_null(), "{name}: {cell}"),
            }
        }
        let score: f64 = cells[2].parse().expect("a number");
        assert!((0.0..=1.0).contains(&score), "{score}");
    }
}

#[test]
fn points_alone_make_a_detector_too() {
    let folder = folder(ROOMS);
    let changes = ["--set", "modalities=[1]", "--set", "training.epochs=2"];
    let train = ["train", "config.toml", "--out", "run", "-q"];
    succeed(&folder, &[&train[..], &changes].concat());
    let printed = succeed(&folder, &["evaluate", "run"]);
    assert!(printed.contains("mAP@0.25"), "{printed}");
}

#[test]
fn what_cannot_be_is_refused_by_its_key() {
    let folder = folder(ROOMS);
    for (change, parts) in [
        (
            "head=multi-class",
            &["head.type", "`boxes`", "`imvotenet`"][..],
        ),
        ("backbone=encoder", &["head.type", "`imvotenet`"]),
        ("data.boxes=1", &["data.boxes", "at most 1"]),
        ("backbone.kept=49", &["backbone.kept", "votes of seeds"]),
        ("backbone.keep=1.5", &["backbone.keep", "[0, 1]"]),
        (
            "backbone.levels=[]",
            &["backbone.levels", "two tables or more"],
        ),
        ("backbone.levels.0.radii=1", &["backbone.levels", "radii"]),
        ("backbone.mask=green", &["backbone.mask", "green"]),
        ("head.sizes=[[1.0, 1.0, 1.0]]", &["head.sizes", "2 classes"]),
        ("head.sizes=[[1.0, 1.0, 0.0]]", &["head.sizes", "above 0"]),
        ("head.proposals=0", &["head.proposals", "from 1 to"]),
        (
            "head.headings=1000000000000000000",
            &["head.headings", "from 1 to"],
        ),
        (
            "backbone.levels.0.centers=1000000000000000000",
            &["backbone.levels", "from 1 to"],
        ),
        ("modalities=[2]", &["`modalities` must be [1]", "got [2]"]),
    ] {
        let train = ["train", "config.toml", "--out", "run", "--set", change];
        let message = refusal(&folder, &train);
        for part in parts {
            assert!(message.contains(part), "{change}: {part}: {message}");
        }
        assert!(!folder.path().join("run").exists());
    }
}

/// One scan, which serves as both splits.
fn scans() -> TempDir {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fusion/tests/data/scans");
    let source = "data = { type = \"scans\", path = \"scans\", train = \"prepared\", test = \"prepared\", found_train = \"found\", found_test = \"found\", raw = \"raw\", points = 120 }\n";
    let (before, after) = ROOMS.split_once("[backbone]").expect("a backbone");
    let seed = before
        .lines()
        .find(|line| line.starts_with("seed"))
        .expect("a seed");
    let config = format!("{seed}\n{source}[backbone]{after}");
    let config: Vec<&str> = (config.lines())
        .filter(|line| !line.starts_with("sizes") && !line.starts_with("validation"))
        .collect();
    let folder = folder(&config.join("\n"));
    for name in [
        "prepared/000001_pc.npz",
        "prepared/000001_bbox.npy",
        "found/000001.txt",
        "raw/calib/000001.txt",
        "raw/image/000001.jpg",
    ] {
        let to = folder.path().join("scans").join(name);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::copy(files.join(name), to).expect("a copy");
    }
    folder
}

#[test]
fn scans_are_learned_from_and_need_no_boxes_to_be_predicted() {
    let folder = scans();
    let train = ["train", "config.toml", "--out", "run", "--json", "-v"];
    let output = program(&folder, &train);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(" boxes of the class ") && said.contains("on average ["),
        "{said}"
    );
    let metrics = json(&String::from_utf8_lossy(&output.stdout));
    assert!(
        metrics["average_precision"]["bathtub"].is_array(),
        "{metrics}"
    );
    let boxes = folder.path().join("scans/prepared/000001_bbox.npy");
    std::fs::remove_file(&boxes).expect("a file");
    succeed(&folder, &["predict", "run", "--out", "boxes.csv"]);
    let message = refusal(&folder, &["evaluate", "run"]);
    assert!(message.contains("000001_bbox.npy"), "{message}");
    std::fs::write(
        folder.path().join("scans/found/000001.txt"),
        "lamp 0 0 0 1 2 3 4 0.9\n",
    )
    .expect("written");
    let message = refusal(&folder, &["predict", "run", "--out", "boxes.csv"]);
    for part in ["000001.txt", "line 1", "lamp"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}
