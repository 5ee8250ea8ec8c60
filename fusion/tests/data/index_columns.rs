//! Columns that number or name the samples beside the features, and columns that look like them but do not.

use crate::folder;
use equilibria_fusion::data::{DataError, DataSet};

/// Two modalities of twelve training and two test rows; the first has the given columns, by the row, in front of decimals.
fn with(
    header: &str,
    front: fn(usize) -> String,
    changes: &[(&str, &str)],
) -> Result<DataSet, DataError> {
    let line = |row: usize| format!("{}{}.5,-{}.25\n", front(row), row * 7 % 5, row * 5 % 3);
    let table =
        |rows: std::ops::Range<usize>| format!("{header}{}", rows.map(line).collect::<String>());
    let free = |rows: usize| {
        (0..rows)
            .map(|row| format!("{}.5\n", row % 3))
            .collect::<String>()
    };
    let labels = |rows: usize| {
        (0..rows)
            .map(|row| format!("{}\n", row % 2))
            .collect::<String>()
    };
    let files = [
        ("1_tr.csv", table(0..12)),
        ("1_te.csv", table(12..14)),
        ("2_tr.csv", free(12)),
        ("2_te.csv", free(2)),
        ("labels_tr.csv", labels(12)),
        ("labels_te.csv", labels(2)),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    DataSet::from_folder(folder(&[&files[..], changes].concat()).path())
}

/// A number that goes up with gaps.
fn gaps(row: usize) -> String {
    format!("{},", row * 3 + row % 3)
}

/// Whole numbers, some there twice.
fn ages(row: usize) -> String {
    format!("{},", 40 + row * 5 % 9)
}

#[test]
fn row_indices_with_gaps_are_no_features() {
    let pairs = |row| format!("{},{},", row / 3, row * 2);
    let downwards = |row| format!("{},", 100 - row);
    for front in [gaps, pairs, downwards] {
        let error = with("", front, &[]).unwrap_err();
        let parts = [
            "1_tr.csv, column 1",
            "go up or down",
            "name it in 1_featname.csv",
        ];
        assert_error!(
            error,
            DataError::RowIndex { .. },
            parts[0],
            parts[1],
            parts[2]
        );
    }
    // A column with the name of a feature is one; so are numbers in no order.
    assert!(with("", gaps, &[("1_featname.csv", "time\nb\nc\n")]).is_ok());
    assert!(with("time,b,c\n", gaps, &[]).is_ok());
    assert!(with("", ages, &[]).is_ok());
}

#[test]
fn columns_with_the_name_of_an_index_are_no_features() {
    for name in [
        "Unnamed: 0",
        "index",
        "id",
        "sample_id",
        "patient_id",
        "Patient ID",
        "level_0",
    ] {
        let error = with(&format!("{name},b,c\n"), ages, &[]).unwrap_err();
        assert_error!(
            error,
            DataError::RowIndex { .. },
            "1_tr.csv, column 1",
            name,
            "give it another name"
        );
    }
    // Also where they are listed, and not only in front.
    let listed = [("1_featname.csv", "Unnamed: 0\nb\nc\n")];
    assert!(matches!(
        with("", ages, &listed),
        Err(DataError::RowIndex { .. })
    ));
    let behind = |row: usize| format!("{}.5,{},", row % 4, 40 + row * 5 % 9);
    let error = with("a,subject_id,c,d\n", behind, &[]).unwrap_err();
    assert_error!(
        error,
        DataError::RowIndex { .. },
        "1_tr.csv, column 2",
        "subject_id"
    );
    // Decimals identify nothing, and genes may have such names.
    assert!(with("sample_id,b,c\n", |row| format!("{row}.5,"), &[]).is_ok());
    assert!(with("IDS,b,c\n", ages, &[]).is_ok());
}

#[test]
fn a_column_that_counts_the_rows_is_none_wherever_it_stands() {
    let second = |row: usize| format!("{}.5,{},", row % 4, row);
    let error = with("", second, &[]).unwrap_err();
    assert_error!(
        error,
        DataError::RowIndex { .. },
        "1_tr.csv, column 2",
        "counts the rows"
    );
    assert!(with("a,time,c,d\n", second, &[]).is_ok());
}

#[test]
fn identifiers_of_two_modalities_are_none_wherever_they_stand() {
    let second = |row: usize| format!("{}.5,{},", row % 4, 100 + row * 5 % 14);
    let table = |rows: std::ops::Range<usize>| {
        let line = |row: usize| format!("{}.25,{}.0\n", row * 3 % 4, 100 + row * 5 % 14);
        rows.rev().map(line).collect::<String>()
    };
    let other = [table(0..12), table(12..14)];
    let error = with(
        "",
        second,
        &[("2_tr.csv", &other[0]), ("2_te.csv", &other[1])],
    )
    .unwrap_err();
    let parts = ["2_tr.csv, column 2", "as column 2 of", "1_tr.csv"];
    assert_error!(
        error,
        DataError::RowIndex { .. },
        parts[0],
        parts[1],
        parts[2]
    );
    assert!(with("", second, &[]).is_ok());
}

#[test]
fn identifiers_longer_than_numbers_are_none() {
    let long = |row: usize| format!("{},", 9007199254740992 + row * 5 % 14);
    let error = with("", long, &[]).unwrap_err();
    assert_error!(
        error,
        DataError::RowIndex { .. },
        "1_tr.csv, column 1",
        "too long to be told apart"
    );
    assert!(with("", long, &[("1_featname.csv", "hash\nb\nc\n")]).is_ok());
}
