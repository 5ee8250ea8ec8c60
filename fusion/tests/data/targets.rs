//! Several labels or one number per row: what is read, and what is refused.

use crate::arrays::npy;
use crate::bundle::made_up;
use crate::{folder, refused_dir};
use equilibria_fusion::data::{DataError, DataSet, LabelSets, Samples, TargetKind, Targets};
use std::fs;
use tempfile::TempDir;

const LABELS: [(&str, &str); 2] = [
    (
        "multilabels_tr.csv",
        "rain, wind,snow\n1,0,0\n0,0,0\n1,1, 0\n",
    ),
    ("multilabels_te.csv", "rain,wind,snow\n0,1,1\n"),
];
const NUMBERS: [(&str, &str); 2] = [
    ("targets_tr.csv", "0.5\n-3\n2e-1\n"),
    ("targets_te.csv", "1\n"),
];

/// The sound folder without its class labels, with other targets and changes of them.
fn with(targets: &[(&str, &str)], changes: &[(&str, &str)]) -> TempDir {
    let dir = folder(&[targets, changes].concat());
    for file in ["labels_tr.csv", "labels_te.csv"] {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    dir
}

fn sets(columns: usize, bits: &[u8]) -> Targets {
    let values = bits.iter().map(|&bit| bit == 1).collect();
    Targets::LabelSets(LabelSets { columns, values })
}

#[test]
fn several_labels_are_read_with_their_names() {
    let dir = with(&LABELS, &[]);
    let set = DataSet::from_folder(dir.path()).unwrap();
    assert_eq!(set.classes, ["rain", "wind", "snow"]);
    assert_eq!(set.train.targets, sets(3, &[1, 0, 0, 0, 0, 0, 1, 1, 0]));
    assert_eq!(set.test.targets, sets(3, &[0, 1, 1]));
    assert_eq!((set.train.len(), set.test.len()), (3, 1));

    // The same as arrays, which have no header.
    for names in [None, Some("rain\nwind\nsnow\n")] {
        let dir = with(&[], &[]);
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        let train = npy("|u1", "(3, 3)", &[1, 0, 0, 0, 0, 0, 1, 1, 0]);
        write("multilabels_tr.npy", &train);
        write("multilabels_te.npy", &npy("|b1", "(1, 3)", &[0, 1, 1]));
        if let Some(names) = names {
            write("classes.csv", names.as_bytes());
        }
        let same = DataSet::from_folder(dir.path()).unwrap();
        let expected = names.map_or(["0", "1", "2"], |_| ["rain", "wind", "snow"]);
        assert_eq!(same.classes, expected);
        assert_eq!(same.train, set.train);
    }
}

#[test]
fn numbers_are_read() {
    let set = DataSet::from_folder(with(&NUMBERS, &[]).path()).unwrap();
    assert_eq!(set.train.targets, Targets::Numbers(vec![0.5, -3.0, 0.2]));
    assert!(set.classes.is_empty());
    let dir = with(&NUMBERS[1..], &[]);
    let bytes: Vec<u8> = [0.5, -3.0, 0.2_f64]
        .into_iter()
        .flat_map(f64::to_le_bytes)
        .collect();
    fs::write(
        dir.path().join("targets_tr.npy"),
        npy("<f8", "(3,)", &bytes),
    )
    .unwrap();
    assert_eq!(DataSet::from_folder(dir.path()).unwrap().train, set.train);
}

#[test]
fn bundles_keep_every_kind() {
    for (train, test, classes) in [
        (sets(2, &[1, 0, 0, 1]), sets(2, &[1, 1]), 2),
        (
            Targets::Numbers(vec![-1.5, 1e-300]),
            Targets::Numbers(vec![2.0]),
            0,
        ),
    ] {
        let mut set = made_up();
        (set.train.targets, set.test.targets) = (train, test);
        set.classes.truncate(classes);
        let bytes = set.to_bundle("", "").unwrap();
        assert_eq!(DataSet::from_bundle(&bytes, "f.safetensors").unwrap(), set);
        set.test.targets = Targets::Classes(vec![0]);
        let error = set.validate().unwrap_err();
        let expected = set.train.targets.kind();
        assert_error!(
            error,
            DataError::MixedTargets { .. },
            "[labels, test]",
            &expected.to_string()
        );
    }
}

#[test]
fn faulty_headers_are_located() {
    for (text, place, problem) in [
        ("1,0\n0,1\n1,1\n", "row 1, column 1", "\"1\", a value"),
        ("a,b,a\n0,0,0\n", "row 1, column 3", "\"a\" again"),
        ("a,,c\n0,0,0\n", "row 1, column 2", "no name"),
    ] {
        let error = refused_dir(&with(&LABELS, &[("multilabels_tr.csv", text)]));
        assert_error!(
            error,
            DataError::LabelHeader { .. },
            "multilabels_tr.csv",
            place,
            problem
        );
    }
    let error = refused_dir(&with(
        &LABELS,
        &[("multilabels_te.csv", "rain,snow,wind\n0,1,1\n")],
    ));
    let place = "multilabels_te.csv, row 1, column 2";
    assert_error!(
        error,
        DataError::LabelName { .. },
        place,
        "\"snow\"",
        "\"wind\"",
        "multilabels_tr.csv"
    );
    let error = refused_dir(&with(
        &LABELS,
        &[("multilabels_te.csv", "rain,wind\n0,1\n")],
    ));
    let parts = [
        "multilabels_te.csv has 2 labels, expected 3",
        "multilabels_tr.csv",
    ];
    assert_error!(error, DataError::LabelCount { .. }, parts[0], parts[1]);
    let error = refused_dir(&with(&LABELS, &[("classes.csv", "rain\nwind\nhail\n")]));
    assert_error!(
        error,
        DataError::LabelName { .. },
        "column 3",
        "\"snow\"",
        "\"hail\"",
        "classes.csv"
    );
    let error = refused_dir(&with(&LABELS, &[("classes.csv", "rain\nwind\n")]));
    assert_error!(
        error,
        DataError::LabelCount { .. },
        "classes.csv",
        "3 labels, expected 2"
    );
}

#[test]
fn faulty_cells_are_located() {
    for cell in ["2", "yes", "0.5", "", "-1"] {
        let text = format!("a,b\n0,1\n1,{cell}\n0,0\n");
        let error = refused_dir(&with(&LABELS, &[("multilabels_tr.csv", &text)]));
        let place = "multilabels_tr.csv, row 3, column 2";
        assert_error!(error, DataError::NotABit { .. }, place, "expected 1 if");
    }
    let error = refused_dir(&with(
        &LABELS,
        &[("multilabels_tr.csv", "a,b\n0,1\n1\n0,0\n")],
    ));
    let place = "multilabels_tr.csv, row 3";
    assert_error!(
        error,
        DataError::RaggedRow { .. },
        place,
        "found 1 columns, expected 2"
    );
    let error = refused_dir(&with(
        &LABELS,
        &[("multilabels_te.csv", "rain,wind,snow\n")],
    ));
    assert_error!(error, DataError::EmptyFile { .. }, "multilabels_te.csv");

    for (text, variant, place) in [
        ("1\nx\n3\n", "NotANumber", "targets_tr.csv, row 2, column 1"),
        (
            "1\n2\nNaN\n",
            "NotFinite",
            "targets_tr.csv, row 3, column 1",
        ),
        ("1\n2,3\n3\n", "NotOneNumber", "targets_tr.csv, row 2"),
        (
            "score\n1\nbad\n3\n",
            "NotANumber",
            "targets_tr.csv, row 3, column 1",
        ),
        ("1\n2\n", "RowCount", "targets_tr.csv"),
    ] {
        let error = refused_dir(&with(&NUMBERS, &[("targets_tr.csv", text)]));
        assert!(format!("{error:?}").starts_with(variant), "{error:?}");
        assert!(error.to_string().contains(place), "{error}");
    }
    let dir = with(&LABELS[1..], &[]);
    let train = npy("|u1", "(3, 3)", &[1, 0, 0, 0, 3, 0, 1, 1, 0]);
    fs::write(dir.path().join("multilabels_tr.npy"), train).unwrap();
    let place = "multilabels_tr.npy, row 2, column 2";
    assert_error!(refused_dir(&dir), DataError::NotABit { .. }, place, "\"3\"");
}

#[test]
fn one_kind_of_target_is_expected() {
    let error = refused_dir(&folder(&NUMBERS));
    assert_error!(
        error,
        DataError::TwoFiles { .. },
        "labels_tr.csv",
        "targets_tr.csv"
    );
    let error = refused_dir(&with(&[LABELS[0], NUMBERS[1]], &[]));
    assert_error!(
        error,
        DataError::TwoFiles { .. },
        "multilabels_tr.csv",
        "targets_te.csv"
    );
    let error = refused_dir(&with(&NUMBERS[..1], &[]));
    assert_error!(
        error,
        DataError::MissingFile { .. },
        "targets_te.csv is missing"
    );
    let error = refused_dir(&with(&[], &[]));
    let parts = [
        "labels_tr.csv is missing",
        "multilabels_tr.csv",
        "targets_tr.csv",
    ];
    assert_error!(
        error,
        DataError::MissingFile { .. },
        parts[0],
        parts[1],
        parts[2]
    );
}

#[test]
fn a_head_gets_what_it_learns_from() {
    let set = Samples::from(DataSet::from_folder(with(&NUMBERS, &[]).path()).unwrap());
    assert!(set.require("regression", TargetKind::Number).is_ok());
    let error = set
        .require("multi-label", TargetKind::LabelSet)
        .unwrap_err();
    let parts = [
        "several labels per row",
        "one number per row",
        "type = \"regression\"",
    ];
    assert_error!(error, DataError::Head { .. }, parts[0], parts[1], parts[2]);
}
