//! First lines that are neither samples nor names as they stand, and cells that are no numbers.

use crate::{folder, refused};
use equilibria_fusion::data::{features_from_folder, DataError, DataSet, SplitName};

/// The sound folder with another first table; the test table has as many columns.
fn with_table(text: &str) -> DataError {
    let columns = text.lines().last().unwrap().split(',').count();
    let test = format!("{}\n", vec!["1.5"; columns].join(","));
    refused(&[("1_tr.csv", text), ("1_te.csv", &test)])
}

#[test]
fn numbers_of_chosen_columns_are_no_sample() {
    // Numbers of genes, in no order.
    let text = "7157,1956,672\n1.5,2.5,0.5\n3.5,0,0.25\n";
    assert_error!(
        with_table(text),
        DataError::Header { .. },
        "1_tr.csv, row 1",
        "column numbers",
        "header=False"
    );
    // A test table by itself.
    let dir = folder(&[("1_te.csv", text), ("2_te.csv", "1.5\n2.5\n3\n")]);
    let error = features_from_folder(dir.path(), SplitName::Test).unwrap_err();
    assert_error!(error, DataError::Header { .. }, "1_te.csv, row 1");
    // Among whole numbers, a line that stands above both splits is no sample, nor is one of wavelengths.
    for head in ["17,3,42", "400.0,400.5,401.0"] {
        let [train, test] = ["5,3,9\n4,4,1\n", "1,1,7\n"].map(|rows| format!("{head}\n{rows}"));
        let changes = [
            ("1_tr.csv", &*train),
            ("1_te.csv", &*test),
            ("labels_te.csv", "0\n1\n"),
            ("2_te.csv", "0\n1\n"),
        ];
        assert_error!(
            refused(&changes),
            DataError::Header { .. },
            "1_te.csv, row 1",
            "that of",
            "1_tr.csv"
        );
        let other = test.replace(head, "8,9,1");
        let dir = folder(&[&changes[..], &[("1_te.csv", &other)]].concat());
        assert!(DataSet::from_folder(dir.path()).is_ok());
    }
}

#[test]
fn headers_with_a_cell_that_is_no_name_are_told_from_row_names() {
    for (text, place, part) in [
        (
            "a,b,c,\n1.5,2,3,\n4,5,6,\n",
            "row 1, column 4",
            "a comma at the end of the line",
        ),
        (
            "a,b,c,\n1.5,2,3\n4,5,6\n",
            "row 1, column 4",
            "ends in a comma",
        ),
        (
            "1.5,2.5,\n3,4,\n5,6,\n",
            "row 1, column 3",
            "a comma at the end of the lines",
        ),
        (
            "age,1,2\n1.5,2,3\n4,5,6\n",
            "row 1, column 2",
            "reads as the number 1",
        ),
        (
            "NRAS,NAN,KRAS\n1.5,2,3\n4,5,6\n",
            "row 1, column 2",
            "reads as the number NAN",
        ),
        (
            "NRAS,NA,KRAS\n1.5,2,3\n4,5,6\n",
            "row 1, column 2",
            "reads as a missing value",
        ),
        (
            "NRAS,TRUE,KRAS\n1.5,2,3\n4,5,6\n",
            "row 1, column 2",
            "reads as a truth value",
        ),
        ("sep=,\n1.5,2\n3,4\n5,6\n", "row 1, column 1", "tells Excel"),
        (
            "# by hand\n1.5,2\n3,4\n5,6\n",
            "row 1, column 1",
            "is a comment",
        ),
        (
            "\"V1\",\"V2\"\n\"1\",1.5,2\n\"2\",3,4\n\"3\",5,6\n",
            "row 1",
            "row.names=FALSE",
        ),
    ] {
        assert_error!(
            with_table(text),
            DataError::Header { .. },
            "1_tr.csv",
            place,
            part
        );
    }
    // Names of rows, and one faulty cell, stay what they are.
    for text in ["S1,2,3\nS2,4,5\n", "1.5,x,3.5\n1,2,3\n"] {
        assert_error!(
            with_table(text),
            DataError::NotANumber { .. },
            "row 1",
            "this is text"
        );
    }
}

#[test]
fn a_header_of_numpy_and_odd_names_are_read() {
    for header in ["# a,b", "25%,50%", "2D10,[2]"] {
        let text = format!("{header}\n1,2\n3,4\n5,6\n");
        let dir = folder(&[("1_tr.csv", &text), ("1_te.csv", "7,8\n")]);
        let expected = DataSet::from_folder(folder(&[]).path()).unwrap();
        assert_eq!(
            DataSet::from_folder(dir.path()).unwrap().train,
            expected.train
        );
    }
    let dir = folder(&[
        ("1_tr.csv", "# a,b\n1,2\n3,4\n5,6\n"),
        ("1_te.csv", "a,b\n7,8\n"),
    ]);
    assert!(DataSet::from_folder(dir.path()).is_ok());
}

#[test]
fn numbers_in_other_notations_are_named() {
    for (cell, part) in [
        ("\"1,234.5\"", "marks between thousands"),
        ("\"1,234,567\"", "marks between thousands"),
        ("\"1,234\"", "a decimal mark or separates thousands"),
        ("1'234.5", "marks between thousands"),
        ("1_234.5", "marks between thousands"),
        ("1 234.5", "marks between thousands"),
        ("12%", "percent sign"),
        ("1.5D+00", "with D"),
        ("\u{2212}1.5", "minus sign"),
        ("tensor(2.)", "in brackets"),
        ("#DIV/0!", "missing value"),
        (".", "missing value"),
        ("-", "missing value"),
    ] {
        let text = format!("1,2\n3,{cell}\n5,6\n");
        assert_error!(
            with_table(&text),
            DataError::NotANumber { .. },
            "row 2, column 2",
            part
        );
    }
}

#[test]
fn cells_of_targets_are_not_taken_for_names_of_samples() {
    let targets = |text| {
        let dir = folder(&[("targets_tr.csv", text), ("targets_te.csv", "1.5\n")]);
        for file in ["labels_tr.csv", "labels_te.csv"] {
            std::fs::remove_file(dir.path().join(file)).unwrap();
        }
        crate::refused_dir(&dir).to_string()
    };
    let message = targets("1.5\nhigh\n2\n");
    assert!(
        message.contains("row 2") && message.contains("one number per line"),
        "{message}"
    );
    assert!(
        !message.contains("ids.csv") && !message.contains("dummies"),
        "{message}"
    );
    assert!(targets("1.5\n\"1,234.5\"\n2\n").contains("between thousands"));
    assert!(targets("1.5\nNA\n2\n").contains("drop the sample, in all files"));
}
