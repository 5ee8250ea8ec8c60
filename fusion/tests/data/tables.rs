//! Tables that cannot be meant as they stand, and such that look like them but can.

use crate::{folder, refused, SOUND};
use equilibria_fusion::data::{
    features_from_folder, split_from_folder, DataError, DataSet, SplitName, Targets,
};
use std::fs;

/// `count` rows of a table: a first column, then decimals.
fn rows(first: impl Iterator<Item = usize>, seed: usize) -> String {
    let line = |number| format!("{number},{}.5,-{number}.25\n", (number * 7 + seed) % 5);
    first.map(line).collect()
}

/// Two modalities of six training and three test rows, with the given first columns.
fn with_first_columns(columns: [&[usize]; 4]) -> Result<DataSet, DataError> {
    let mut seeds = 0..;
    let [a, b, c, d] =
        columns.map(|column| rows(column.iter().copied(), seeds.next().unwrap_or_default()));
    let dir = folder(&[
        ("1_tr.csv", &a),
        ("1_te.csv", &b),
        ("2_tr.csv", &c),
        ("2_te.csv", &d),
        ("labels_tr.csv", "0\n1\n0\n1\n0\n1\n"),
        ("labels_te.csv", "0\n1\n0\n"),
    ]);
    DataSet::from_folder(dir.path())
}

#[test]
fn row_indices_are_no_features() {
    let free: [&[usize]; 2] = [&[5, 5, 2, 9, 9, 1], &[3, 3, 4]];
    for (train, test) in [
        (&[0, 1, 2, 3, 4, 5][..], &[0, 1, 2][..]),
        (&[1, 2, 3, 4, 5, 6], &[1, 2, 3]),
        (&[0, 1, 2, 3, 4, 5], &[6, 7, 8]),
        (&[8, 0, 3, 1, 7, 5], &[2, 6, 4]),
    ] {
        let error = with_first_columns([train, test, train, test]).unwrap_err();
        let parts = ["1_tr.csv, column 1", "counts the rows", "index=False"];
        assert_error!(
            error,
            DataError::RowIndex { .. },
            parts[0],
            parts[1],
            parts[2]
        );
        // One modality of few rows may count what it likes.
        assert!(with_first_columns([train, test, free[0], free[1]]).is_ok());
    }
    assert!(with_first_columns([free[0], free[1], free[0], free[1]]).is_ok());
}

#[test]
fn a_row_index_of_one_long_modality_is_found() {
    let long = rows(0..12, 1);
    let labels = "0\n1\n".repeat(6);
    let free: String = (0..12).map(|row| format!("{}.5\n", row % 3)).collect();
    let changes = [
        ("1_tr.csv", &*long),
        ("1_te.csv", &*long),
        ("2_tr.csv", &*free),
        ("2_te.csv", &*free),
        ("labels_tr.csv", &*labels),
        ("labels_te.csv", &*labels),
    ];
    assert_error!(
        refused(&changes),
        DataError::RowIndex { .. },
        "1_tr.csv, column 1"
    );
    // Unless the column has a name.
    let named = [("1_featname.csv", "time\nb\nc\n")];
    let dir = folder(&[&changes[..], &named].concat());
    assert!(DataSet::from_folder(dir.path()).is_ok());
}

#[test]
fn identifiers_in_two_modalities_are_no_features() {
    let ids = [101, 107, 103, 120, 111, 130];
    let others = [130, 111, 120, 101, 107, 103];
    let test = [140, 150, 160];
    for second in [ids, others] {
        let error = with_first_columns([&ids, &test, &second, &test]).unwrap_err();
        let parts = [
            "2_tr.csv, column 1",
            "identifies the samples as column 1 of",
            "1_tr.csv",
            "K_tr_ids.csv",
        ];
        assert_error!(
            error,
            DataError::RowIndex { .. },
            parts[0],
            parts[1],
            parts[2],
            parts[3]
        );
    }
}

#[test]
fn identifiers_of_most_samples_tell_as_well_and_ranks_do_not() {
    let labels = "0\n1\n".repeat(6);
    let with = |first: &str, second: &str, test: &str| {
        let tables = [
            ("1_tr.csv", first),
            ("2_tr.csv", second),
            ("labels_tr.csv", &labels),
        ];
        let test = [("1_te.csv", test), ("2_te.csv", test)];
        DataSet::from_folder(folder(&[&tables[..], &test].concat()).path())
    };
    let [first, second] = [rows(40..52, 1), rows((42..54).rev(), 2)];
    let error = with(&first, &second, "60,1.5,2\n").unwrap_err();
    assert_error!(error, DataError::RowIndex { .. }, "2_tr.csv, column 1");
    // A column that identifies the training rows by chance does not go on as one.
    assert!(with(&first, &second, "60.5,1.5,2\n").is_ok());
    let ranks = |step: usize| -> String {
        let line = |row: usize| format!("{},{}\n", row * step % 13, row * 5 % 13);
        (1..13).map(line).collect()
    };
    assert!(with(&ranks(2), &ranks(7), "1.5,2\n").is_ok());
}

#[test]
fn column_numbers_are_no_sample() {
    for (text, place) in [
        ("0,1\n1.5,2.5\n3.5,4.5\n", None),
        (
            "0,1,2\n1.5,2.5,0.5\n3.5,4.5,0.25\n",
            Some("1_tr.csv, row 1"),
        ),
        (
            "4,7,19\n1.5,2.5,0.5\n3.5,4.5,0.25\n",
            Some("1_tr.csv, row 1"),
        ),
    ] {
        let wide = text.lines().nth(1).unwrap();
        let changes = [("1_tr.csv", text), ("1_te.csv", wide)];
        match place {
            None => assert!(DataSet::from_folder(folder(&changes).path()).is_ok()),
            Some(place) => assert_error!(
                refused(&changes),
                DataError::Header { .. },
                place,
                "column numbers",
                "header=False"
            ),
        }
    }
    // Whole numbers below do not tell by themselves, but every table and list of the folder does.
    let table = "0,1,2\n5,3,9\n4,4,1\n";
    let changes = [
        ("1_tr.csv", table),
        ("1_te.csv", table),
        ("labels_te.csv", "0\n1\n0\n"),
    ];
    let second = [("2_tr.csv", "7\n7\n8\n"), ("2_te.csv", "7\n8\n8\n")];
    let dir = folder(&[&changes[..], &second].concat());
    assert!(DataSet::from_folder(dir.path()).is_ok());
    let all = [&changes[..], &[("2_tr.csv", table), ("2_te.csv", table)]].concat();
    assert_error!(refused(&all), DataError::Header { .. }, "column numbers");
}

#[test]
fn a_genuine_binary_table_is_read() {
    let bits = "0,1\n1,0\n0,0\n";
    let dir = folder(&[("1_tr.csv", bits), ("1_te.csv", "0,1\n")]);
    let set = DataSet::from_folder(dir.path()).unwrap();
    assert_eq!(set.train.modalities[0].row(0), [0.0, 1.0]);
}

#[test]
fn named_columns_are_compared() {
    let named = [
        ("1_tr.csv", "a,b\n1,2\n3,4\n5,6\n"),
        ("1_te.csv", "a,b\n7,8\n"),
    ];
    let expected = DataSet::from_folder(folder(&[]).path()).unwrap();
    let set = DataSet::from_folder(folder(&named).path()).unwrap();
    assert_eq!((set.train, set.test), (expected.train, expected.test));

    let error = refused(&[named[0], ("1_te.csv", "b,a\n8,7\n")]);
    let parts = ["1_te.csv, row 1, column 1", "\"b\"", "1_tr.csv"];
    assert_error!(
        error,
        DataError::FeatureName { .. },
        parts[0],
        parts[1],
        parts[2]
    );
    let error = refused(&[named[0], ("1_featname.csv", "a\nc\n")]);
    assert_error!(
        error,
        DataError::FeatureName { .. },
        "column 2",
        "1_featname.csv"
    );
    let error = refused(&[("1_tr.csv", "a,a\n1,2\n3,4\n5,6\n")]);
    assert_error!(
        error,
        DataError::Header { .. },
        "row 1, column 2",
        "\"a\" again"
    );
    // Rows are counted by the lines of the file.
    let error = refused(&[("1_tr.csv", "a,b\n1,2\n3,NaN\n5,6\n")]);
    assert_error!(
        error,
        DataError::NotFinite { .. },
        "1_tr.csv, row 3, column 2"
    );
}

#[test]
fn files_with_other_endings_are_named() {
    for (old, new, remedy) in [
        ("1_tr.csv", "1_tr.h5ad", "adata.X"),
        ("1_tr.csv", "1_tr.pt", "numpy.save"),
        ("1_tr.csv", "1_tr.CSV", "call it 1_tr.csv"),
        ("1_tr.csv", "1_TR.csv", "call it 1_tr.csv"),
        ("2_te.csv", "2_te.csv.gz", "unpack it"),
        ("labels_te.csv", "labels_te.txt", "one of these formats"),
        ("labels_tr.csv", "Labels_tr.csv", "call it labels_tr.csv"),
    ] {
        let dir = folder(&[]);
        fs::rename(dir.path().join(old), dir.path().join(new)).unwrap();
        let error = crate::refused_dir(&dir);
        assert_error!(
            error,
            DataError::OtherEnding { .. },
            new,
            ".csv, .npy, .npz, .safetensors",
            remedy
        );
    }
    // A modality more, which would be left out without a word.
    let error = refused(&[("3_tr.h5ad", "?")]);
    assert_error!(error, DataError::OtherEnding { .. }, "3_tr.h5ad");
    // A packed copy of a file that is there does no harm.
    assert!(DataSet::from_folder(folder(&[("1_tr.csv.gz", "?")]).path()).is_ok());
}

#[test]
fn a_test_cohort_is_read_by_itself() {
    let dir = folder(&[("labels_te.csv", "2.0\n")]);
    for (file, _) in SOUND.iter().filter(|(file, _)| file.contains("_tr")) {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    let classes = ["a", "b", "c"].map(str::to_owned);
    let split = |classes: &[String]| split_from_folder(dir.path(), SplitName::Test, classes);
    let read = split(&classes).unwrap();
    assert_eq!(read.targets, Targets::Classes(vec![2]));
    assert_eq!(
        read.modalities,
        features_from_folder(dir.path(), SplitName::Test).unwrap()
    );
    assert_error!(
        split(&classes[..2]).unwrap_err(),
        DataError::LabelOutOfRange { .. },
        "labels_te.csv, row 1"
    );

    // Names stand for the classes of the model.
    fs::write(dir.path().join("labels_te.csv"), "b\n").unwrap();
    assert_eq!(split(&classes).unwrap().targets, Targets::Classes(vec![1]));
    fs::write(dir.path().join("labels_te.csv"), "d\n").unwrap();
    let error = split(&classes).unwrap_err();
    assert_error!(
        error,
        DataError::UnknownClass { .. },
        "row 1",
        "\"d\"",
        "a, b, c",
        "the trained model"
    );
    fs::write(dir.path().join("classes.csv"), "b\na\nc\n").unwrap();
    let error = split(&classes).unwrap_err();
    assert_error!(
        error,
        DataError::OtherClasses { .. },
        "classes.csv",
        "trained on the classes a, b, c"
    );
}

#[test]
fn class_names_differ_from_each_other_and_from_headings() {
    for (names, part) in [
        ("a\na\n", "\"a\" twice"),
        ("a\nstatus\n", "\"status\" which is the heading"),
    ] {
        let error = refused(&[("classes.csv", names)]);
        assert_error!(error, DataError::ClassName { .. }, "classes.csv", part);
    }
    let error = refused(&[
        ("labels_tr.csv", "predicted\nx\nx\n"),
        ("labels_te.csv", "x\n"),
    ]);
    assert_error!(error, DataError::ClassName { .. }, "\"predicted\"");
}

#[test]
fn class_names_are_labels() {
    let named = [
        ("labels_tr.csv", "lung\nblood\nblood\n"),
        ("labels_te.csv", "lung\n"),
    ];
    let set = DataSet::from_folder(folder(&named).path()).unwrap();
    assert_eq!(set.classes, ["blood", "lung"]);
    assert_eq!(set.train.targets, Targets::Classes(vec![1, 0, 0]));
    let listed = [("classes.csv", "lung\nskin\nblood\n")];
    let set = DataSet::from_folder(folder(&[&named[..], &listed].concat()).path()).unwrap();
    assert_eq!(set.train.targets, Targets::Classes(vec![0, 2, 2]));
    assert_eq!(set.test.targets, Targets::Classes(vec![0]));
}
