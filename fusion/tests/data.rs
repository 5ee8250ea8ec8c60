//! Data sets read from folders and bundles, and refused when they are faulty.

use equilibria_fusion::data::{DataError, DataSet, Targets};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Asserts the variant of an error and what its message says.
macro_rules! assert_error {
    ($error:expr, $variant:pat, $($part:expr),+) => {{
        let error = $error;
        assert!(matches!(error, $variant), "unexpected variant: {error:?}");
        let message = error.to_string();
        $(assert!(message.contains($part), "{message:?} lacks {:?}", $part);)+
    }};
}

#[path = "data/arrays.rs"]
mod arrays;
#[path = "data/bundle.rs"]
mod bundle;
#[path = "data/first_lines.rs"]
mod first_lines;
#[path = "data/ids.rs"]
mod ids;
#[path = "data/index_columns.rs"]
mod index_columns;
#[path = "data/lists.rs"]
mod lists;
#[path = "data/questions.rs"]
mod questions;
#[path = "data/sizes.rs"]
mod sizes;
#[path = "data/tables.rs"]
mod tables;
#[path = "data/targets.rs"]
mod targets;
#[path = "data/written.rs"]
mod written;

/// Two modalities (2 and 1 columns), three training rows and one test row.
const SOUND: [(&str, &str); 6] = [
    ("1_tr.csv", "1,2\n3,4\n5,6\n"),
    ("1_te.csv", "7,8\n"),
    ("2_tr.csv", "0.5\n-1.5\n2e-3\n"),
    ("2_te.csv", "0\n"),
    ("labels_tr.csv", "0\n1\n1\n"),
    ("labels_te.csv", "0\n"),
];

/// A folder with the sound files, some of them replaced or added.
fn folder(changes: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in SOUND.iter().chain(changes) {
        fs::write(dir.path().join(file), text).unwrap();
    }
    dir
}

fn refused_dir(dir: &TempDir) -> DataError {
    DataSet::from_folder(dir.path()).expect_err("the folder is faulty")
}

fn refused(changes: &[(&str, &str)]) -> DataError {
    refused_dir(&folder(changes))
}

fn refused_without(files: &[&str], changes: &[(&str, &str)]) -> DataError {
    let dir = folder(changes);
    for file in files {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    refused_dir(&dir)
}

#[test]
fn a_sound_folder_is_read() {
    let dir = folder(&[]);
    let set = DataSet::from_folder(dir.path()).unwrap();
    assert_eq!(set.name, dir.path().file_name().unwrap().to_str().unwrap());
    assert_eq!(set.classes, ["0", "1"]);
    assert_eq!((set.train.len(), set.test.len()), (3, 1));
    assert_eq!(set.train.targets, Targets::Classes(vec![0, 1, 1]));
    assert_eq!(set.train.modalities[0].row(1), [3.0, 4.0]);
    assert_eq!(set.train.modalities[1].values, [0.5, -1.5, 2e-3]);
    assert_eq!(set.test.modalities[1].name, "modality 2");
    set.validate().unwrap();
}

#[test]
fn optional_files_give_names() {
    let dir = folder(&[
        ("modalities.csv", "pixels\nmoments, normalized\n"),
        ("classes.csv", "zero\none\ntwo\n"),
        ("1_featname.csv", "a\nb\n"),
    ]);
    let set = DataSet::from_folder(dir.path()).unwrap();
    assert_eq!(set.classes, ["zero", "one", "two"]);
    assert_eq!(set.train.modalities[1].name, "moments, normalized");
}

#[test]
fn harmless_differences_in_writing_are_accepted() {
    let dir = folder(&[
        ("1_tr.csv", "\u{feff}1, 2\r\n 3 ,4\r\n5,6 \r\n\r\n  \r\n"),
        ("labels_tr.csv", " 0\r\n1 \r\n1\r\n\r\n"),
    ]);
    let set = DataSet::from_folder(dir.path()).unwrap();
    assert_eq!(
        set.train.modalities[0].values,
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    );
    assert_eq!(set.train.targets, Targets::Classes(vec![0, 1, 1]));
}

#[test]
fn missing_files_are_named_with_the_reason() {
    let error = DataSet::from_folder(Path::new("no/such/folder")).unwrap_err();
    assert_error!(
        error,
        DataError::NoFolder { .. },
        "no/such/folder",
        "1_tr.csv"
    );

    let empty = tempfile::tempdir().unwrap();
    assert_error!(
        refused_dir(&empty),
        DataError::MissingFile { .. },
        "1_tr.csv is missing"
    );

    let error = refused_without(&["1_te.csv"], &[]);
    assert_error!(
        error,
        DataError::MissingFile { .. },
        "1_te.csv is missing",
        "1_tr.csv is there"
    );

    let gap = [("3_tr.csv", "1\n1\n1\n"), ("3_te.csv", "1\n")];
    let error = refused_without(&["2_tr.csv", "2_te.csv"], &gap);
    assert_error!(
        error,
        DataError::MissingFile { .. },
        "2_tr.csv is missing",
        "the last is 3"
    );

    let error = refused(&[("modalities.csv", "a\nb\nc\n")]);
    assert_error!(
        error,
        DataError::MissingFile { .. },
        "3_tr.csv",
        "lists 3 modalities"
    );

    let error = refused_without(&["labels_te.csv"], &[]);
    assert_error!(
        error,
        DataError::MissingFile { .. },
        "labels_te.csv is missing"
    );
}

#[test]
fn modality_files_outside_the_numbering_are_refused() {
    let error = refused(&[("modalities.csv", "a\n")]);
    assert_error!(
        error,
        DataError::UnexpectedModality { count: 1, .. },
        "2_t",
        "from 1 to 1"
    );
    let error = refused(&[("0_tr.csv", "1\n")]);
    assert_error!(
        error,
        DataError::UnexpectedModality { count: 2, .. },
        "0_tr.csv"
    );
}

#[test]
fn unreadable_files_keep_their_cause() {
    let dir = folder(&[]);
    fs::write(dir.path().join("2_tr.csv"), [0xff, 0xfe, 0x31]).unwrap();
    let error = refused_dir(&dir);
    assert!(std::error::Error::source(&error).is_some());
    assert_error!(error, DataError::Unreadable { .. }, "2_tr.csv", "UTF-8");
}

#[test]
fn faulty_text_is_located() {
    let error = refused(&[("2_te.csv", "\n \n")]);
    assert_error!(error, DataError::EmptyFile { .. }, "2_te.csv is empty");

    let error = refused(&[("2_tr.csv", "1\n\n3\n")]);
    assert_error!(
        error,
        DataError::BlankLine { row: 2, .. },
        "2_tr.csv, row 2"
    );

    let error = refused(&[("1_tr.csv", "1,2\n3,4\n5\n")]);
    let parts = ["1_tr.csv, row 3", "found 1 columns, expected 2"];
    assert_error!(error, DataError::RaggedRow { .. }, parts[0], parts[1]);

    let error = refused(&[("1_tr.csv", "1,2\n3,abc\n5,6\n")]);
    let parts = ["1_tr.csv, row 2, column 2", "\"abc\""];
    assert_error!(error, DataError::NotANumber { .. }, parts[0], parts[1]);

    for (row, remedy) in [
        ("7;8", "separated by ';'"),
        ("7\t8", "separated by tabs"),
        ("7 8", "separated by spaces"),
        ("7, \"8\"", "in quotes"),
        ("7,'8'", "in quotes"),
        ("7,\"8,5\"", "decimal mark is a comma"),
        ("7,True", "truth value"),
        ("7,", "missing value"),
        ("7,high", "this is text"),
    ] {
        let error = refused(&[("1_te.csv", &format!("{row}\n"))]);
        assert_error!(
            error,
            DataError::NotANumber { .. },
            "1_te.csv, row 1",
            remedy
        );
    }

    for (cell, shown) in [("NaN", "NaN"), ("inf", "inf"), ("-1e999", "-inf")] {
        let error = refused(&[("1_te.csv", &format!("7,{cell}\n"))]);
        let place = "1_te.csv, row 1, column 2";
        assert_error!(error, DataError::NotFinite { .. }, place, shown);
    }
}

#[test]
fn faulty_labels_are_located() {
    for cell in ["-1", "1.5", "cat", "1,2"] {
        let error = refused(&[("labels_tr.csv", &format!("0\n{cell}\n1\n"))]);
        let place = "labels_tr.csv, row 2, column 1";
        assert_error!(error, DataError::NotALabel { row: 2, .. }, place, cell);
    }

    let error = refused(&[("classes.csv", "only\n")]);
    let parts = [
        "labels_tr.csv, row 2",
        "found label 1, expected one below 1",
    ];
    assert_error!(error, DataError::LabelOutOfRange { .. }, parts[0], parts[1]);

    let error = refused(&[("labels_te.csv", "2\n")]);
    assert_error!(
        error,
        DataError::LabelOutOfRange { .. },
        "labels_te.csv, row 1",
        "label 2"
    );

    let error = refused(&[("labels_tr.csv", "0\n1\n18446744073709551615\n")]);
    assert_error!(
        error,
        DataError::LabelOutOfRange { .. },
        "labels_tr.csv, row 3"
    );
}

#[test]
fn files_that_do_not_fit_together_are_named() {
    let error = refused(&[("2_tr.csv", "1\n2\n")]);
    let parts = ["2_tr.csv has 2 rows, expected 3", "labels_tr.csv"];
    assert_error!(error, DataError::RowCount { .. }, parts[0], parts[1]);

    let error = refused(&[("labels_te.csv", "0\n1\n")]);
    let parts = ["1_te.csv has 1 rows, expected 2", "labels_te.csv"];
    assert_error!(error, DataError::RowCount { .. }, parts[0], parts[1]);

    let error = refused(&[("1_te.csv", "7,8,9\n")]);
    let parts = ["1_te.csv has 3 columns, expected 2", "1_tr.csv"];
    assert_error!(error, DataError::ColumnCount { .. }, parts[0], parts[1]);

    let error = refused(&[("1_featname.csv", "a\nb\nc\n")]);
    let parts = ["1_featname.csv lists 3", "expected 2", "1_tr.csv"];
    assert_error!(
        error,
        DataError::FeatureNames { .. },
        parts[0],
        parts[1],
        parts[2]
    );
}
