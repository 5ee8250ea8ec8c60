//! Lists of names that are there with another name or another content than they should have.

use crate::{folder, refused};
use equilibria_fusion::data::{
    features_from_folder, split_from_folder, DataError, DataSet, SplitName,
};
use std::fs;

#[test]
fn lists_that_would_go_unread_are_named() {
    for (file, remedy) in [
        ("1_tr_ids.txt", "call it 1_tr_ids.csv"),
        ("1_tr_ids.CSV", "call it 1_tr_ids.csv"),
        (
            "1_tr_ids.npy",
            "one name per line, and call it 1_tr_ids.csv",
        ),
        ("1_te_ids.csv.gz", "unpack it"),
        ("1_train_ids.csv", "call it 1_tr_ids.csv"),
        ("1_tr.ids.csv", "call it 1_tr_ids.csv"),
        ("2_te_id.csv", "call it 2_te_ids.csv"),
        ("labels_tr_ids.txt", "call it labels_tr_ids.csv"),
        ("samples_tr.txt", "call it samples_tr.csv"),
        ("sample_te.csv", "call it samples_te.csv"),
        ("ids_tr.csv", "K_tr_ids.csv"),
        ("classes.txt", "call it classes.csv"),
        ("modalities.tsv", "call it modalities.csv"),
        ("1_featname.txt", "call it 1_featname.csv"),
        ("01_tr.csv", "call it 1_tr.csv"),
    ] {
        let message = refused(&[(file, "a\n")]).to_string();
        assert!(
            message.contains(file) && message.contains(remedy),
            "{message}"
        );
    }
    // What is not meant for the folder does no harm, nor what is not asked for.
    for file in [
        "sample_info.csv",
        "README.md",
        "classes.json",
        "1_tr_ids.md",
        "notes.txt",
        "1_tr.csv.gz",
    ] {
        assert!(
            DataSet::from_folder(folder(&[(file, "a\n")]).path()).is_ok(),
            "{file}"
        );
    }
    let dir = folder(&[("1_tr_ids.txt", "a\n"), ("labels_te_ids.txt", "a\n")]);
    assert!(features_from_folder(dir.path(), SplitName::Test).is_ok());
    assert!(split_from_folder(
        dir.path(),
        SplitName::Test,
        &["0".to_owned(), "1".to_owned()]
    )
    .is_err());
}

#[cfg(unix)]
#[test]
fn links_to_files_that_are_gone_are_errors() {
    for file in [
        "1_tr_ids.csv",
        "samples_te.csv",
        "classes.csv",
        "1_featname.csv",
        "3_tr.csv",
    ] {
        let dir = folder(&[]);
        std::os::unix::fs::symlink("gone.csv", dir.path().join(file)).unwrap();
        let message = crate::refused_dir(&dir).to_string();
        assert!(
            message.contains(file) || file == "3_tr.csv" && message.contains("3_te.csv"),
            "{message}"
        );
    }
}

#[test]
fn a_folder_in_the_place_of_a_file_is_named() {
    let dir = folder(&[]);
    fs::remove_file(dir.path().join("1_tr.csv")).unwrap();
    fs::create_dir(dir.path().join("1_tr.csv")).unwrap();
    assert_error!(
        crate::refused_dir(&dir),
        DataError::Unreadable { .. },
        "1_tr.csv",
        "it is a folder"
    );
}

#[test]
fn lists_of_classes_hold_names_alone() {
    for head in ["0", "class", "Label", "name"] {
        let error = refused(&[("classes.csv", &format!("{head}\ncat\ndog\n"))]);
        assert_error!(
            error,
            DataError::List { row: 1, .. },
            "classes.csv, row 1",
            head,
            "looks like a heading"
        );
        let named = [
            ("labels_tr.csv", "cat\ndog\ndog\n"),
            ("labels_te.csv", "cat\n"),
        ];
        let list = format!("{head}\ncat\ndog\n");
        let error = refused(&[named[0], named[1], ("classes.csv", &list)]);
        assert_error!(error, DataError::List { .. }, "classes.csv, row 1");
    }
    for text in [
        "0,cat\n1,dog\n",
        "1,cat\n2,dog\n",
        "\"\",\"x\"\n\"1\",\"cat\"\n\"2\",\"dog\"\n",
        ",0\n0,cat\n1,dog\n",
    ] {
        let error = refused(&[("classes.csv", text)]);
        assert_error!(
            error,
            DataError::List { .. },
            "classes.csv, row 1",
            "number of its row"
        );
    }
    let error = refused(&[("1_tr_ids.csv", "a,\nb,\nc,\n")]);
    assert_error!(
        error,
        DataError::List { .. },
        "1_tr_ids.csv, row 1",
        "a separator at the end"
    );
    // Classes may be called so, and there may be more of them than rows have.
    for text in ["name\ncat\n", "cat\ndog\nfox\n", "0\n1\n", "0,1\n0,2\n"] {
        assert!(
            DataSet::from_folder(folder(&[("classes.csv", text)]).path()).is_ok(),
            "{text}"
        );
    }
}

#[test]
fn labels_in_several_columns_or_brackets_are_named() {
    for (text, part) in [
        ("0;\n1;\n1;\n", "several columns"),
        ("class;batch\n0;7\n1;7\n1;8\n", "several columns"),
        ("a\t1\nb\t2\nb\t3\n", "several columns"),
        ("[0]\n[1]\n[1]\n", "in brackets"),
        ("tensor(0)\ntensor(1)\ntensor(1)\n", "in brackets"),
    ] {
        assert_error!(
            refused(&[("labels_tr.csv", text)]),
            DataError::NotALabel { row: 1, .. },
            "labels_tr.csv",
            part
        );
    }
    for [a, b] in [
        ["asthma;COPD", "none known"],
        ["stage 1", "stage 2"],
        ["type (1)", "type (2)"],
        ["+", "-"],
    ] {
        let (train, test) = (format!("{a}\n{b}\n{b}\n"), format!("{a}\n"));
        let dir = folder(&[("labels_tr.csv", &train), ("labels_te.csv", &test)]);
        assert!(DataSet::from_folder(dir.path()).is_ok(), "{a}");
    }
}

#[test]
fn labels_of_which_no_two_are_the_same_are_no_classes() {
    let labels: String = (0..10).map(|row| format!("S{row}\n")).collect();
    assert_error!(
        refused(&[("labels_tr.csv", &labels)]),
        DataError::NotALabel { row: 1, .. },
        "labels_tr.csv",
        "no two rows have the same class"
    );
}

#[test]
fn labels_that_are_no_class_are_blamed_themselves() {
    for (text, row, part) in [
        ("x\nnan\nx\n", "row 2", "no finite number"),
        ("inf\nx\nx\n", "row 1", "no finite number"),
        (
            "x\nNone\nx\n",
            "row 2",
            "counts as a missing value, as NA, null and None do",
        ),
        (
            "0\ncat\ndog\ncat\n",
            "row 1",
            "unnamed column that pandas writes",
        ),
        ("0\n1\n1e300\n", "row 3", "\"1e300\""),
    ] {
        assert_error!(
            refused(&[("labels_tr.csv", text)]),
            DataError::NotALabel { .. },
            row,
            part
        );
    }
}
