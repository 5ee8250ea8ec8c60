//! Rows that are aligned by the names of the samples.

use crate::{folder, refused};
use equilibria_fusion::data::{
    features_from_folder, place_in_folder, DataError, DataSet, IdsError, SplitName, StreamedFolder,
};

/// The training rows of the second modality in another order, with names for all rows.
const ALIGNED: [(&str, &str); 4] = [
    ("1_tr_ids.csv", "s1\ns2\ns3\n"),
    ("2_tr.csv", "2e-3\n0.5\n-1.5\n"),
    ("2_tr_ids.csv", "s3\ns1\ns2\n"),
    ("labels_tr_ids.csv", "s1\ns2\ns3\n"),
];

#[test]
fn rows_take_the_order_of_the_labels() {
    let expected = DataSet::from_folder(folder(&[]).path()).unwrap();
    let set = DataSet::from_folder(folder(&ALIGNED).path()).unwrap();
    assert_eq!((set.train, set.test), (expected.train, expected.test));

    // One list for all files but one.
    let common = [ALIGNED[1], ALIGNED[2], ("samples_tr.csv", "s1\ns2\ns3\n")];
    let dir = folder(&common);
    let set = DataSet::from_folder(dir.path()).unwrap();
    let expected = DataSet::from_folder(folder(&[]).path()).unwrap();
    assert_eq!(set.train, expected.train);
    let features = features_from_folder(dir.path(), SplitName::Train).unwrap();
    assert_eq!(features, expected.train.modalities);
    // Errors name the row of the file: sample s1 is in its second.
    let (file, row) = place_in_folder(dir.path(), SplitName::Train, Some(2), 0);
    assert!(file.ends_with("2_tr.csv"), "{file}");
    assert_eq!(row, 2);
    assert_eq!(place_in_folder(dir.path(), SplitName::Train, None, 0).1, 1);
}

/// Those who need no labels see rows in the same order as those who do, as long as the labels are there.
#[test]
fn features_alone_take_the_order_of_the_labels_too() {
    let turned = [
        ALIGNED[0],
        ALIGNED[1],
        ALIGNED[2],
        ("labels_tr_ids.csv", "s3\ns2\ns1\n"),
    ];
    let dir = folder(&turned);
    let set = DataSet::from_folder(dir.path()).unwrap();
    let features = features_from_folder(dir.path(), SplitName::Train).unwrap();
    assert_eq!(features, set.train.modalities);
    let scratch = tempfile::tempdir().unwrap();
    let (path, scratch) = (dir.path(), scratch.path());
    let streamed = StreamedFolder { path, scratch };
    let streamed = streamed.features(SplitName::Train).unwrap();
    let tables = streamed.tables(&[0, 1, 2]).unwrap().into_owned();
    assert_eq!(tables, set.train.modalities);
    // Sample s3 is the last of the first file.
    let row = |modality| place_in_folder(path, SplitName::Train, modality, 0).1;
    assert_eq!([row(Some(1)), row(Some(2)), row(None)], [3, 1, 1]);
    // Without them it is that of the first modality.
    std::fs::remove_file(path.join("labels_tr.csv")).unwrap();
    let features = features_from_folder(path, SplitName::Train).unwrap();
    let in_order = DataSet::from_folder(folder(&[]).path()).unwrap();
    assert_eq!(features, in_order.train.modalities);
    let row = |modality| place_in_folder(path, SplitName::Train, modality, 0).1;
    assert_eq!([row(Some(1)), row(Some(2))], [1, 2]);
}

#[test]
fn missing_and_repeated_samples_are_named() {
    let changed =
        |change: (&'static str, &'static str)| refused(&[&ALIGNED[..], &[change]].concat());
    let error = changed(("2_tr_ids.csv", "s3\ns1\ns4\n"));
    let parts = [
        "labels_tr_ids.csv lacks the sample \"s4\"",
        "2_tr_ids.csv, row 3",
    ];
    assert_error!(
        error,
        DataError::Ids(IdsError::MissingId { .. }),
        parts[0],
        parts[1]
    );
    let error = changed(("2_tr_ids.csv", "s3\ns1\ns3\n"));
    let parts = ["2_tr_ids.csv, row 3", "\"s3\" again", "row 1"];
    assert_error!(
        error,
        DataError::Ids(IdsError::RepeatedId { .. }),
        parts[0],
        parts[1],
        parts[2]
    );
    let error = changed(("2_tr_ids.csv", "id\ns3\ns1\ns2\n"));
    let parts = [
        "2_tr_ids.csv names 4 samples, expected 3",
        "2_tr.csv",
        "without a header",
    ];
    assert_error!(
        error,
        DataError::Ids(IdsError::IdCount { .. }),
        parts[0],
        parts[1],
        parts[2]
    );
    let error = refused(&ALIGNED[1..3]);
    let parts = ["labels_tr_ids.csv is missing", "samples_tr.csv"];
    assert_error!(error, DataError::MissingFile { .. }, parts[0], parts[1]);
}

#[test]
fn a_common_list_fits_every_file() {
    let error = refused(&[("samples_tr.csv", "s1\ns2\n")]);
    assert_error!(
        error,
        DataError::Ids(IdsError::IdCount { .. }),
        "samples_tr.csv names 2 samples",
        "labels_tr.csv"
    );
}
