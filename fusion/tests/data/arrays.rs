//! Tables and labels as NPY, NPZ and safetensors files. Those in the folder `numpy` were written by NumPy 2.

use crate::{folder, refused_dir, SOUND};
use equilibria_fusion::data::{features_from_folder, DataError, DataSet, SplitName};
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The bytes of a file of NumPy. All tables are 1,2; 3,4; 5,6, as in `1_tr.csv`; the labels are 0, 1, 1.
macro_rules! numpy {
    ($name:literal) => {
        include_bytes!(concat!("numpy/", $name)).as_slice()
    };
}

/// The sound folder with one of its CSV files replaced.
fn replaced(stem: &str, ending: &str, bytes: &[u8]) -> TempDir {
    let dir = folder(&[]);
    fs::remove_file(dir.path().join(format!("{stem}.csv"))).unwrap();
    fs::write(dir.path().join(format!("{stem}.{ending}")), bytes).unwrap();
    dir
}

fn refused(stem: &str, ending: &str, bytes: &[u8]) -> DataError {
    refused_dir(&replaced(stem, ending, bytes))
}

fn safetensors(arrays: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
    let views = arrays.iter().map(|&(name, dtype, shape, bytes)| {
        let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        (name, view)
    });
    safetensors::serialize(views, None).unwrap()
}

/// An NPY file of version 1.
pub fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

#[test]
fn every_format_is_read_like_text() {
    let expected = DataSet::from_folder(folder(&[]).path()).unwrap();
    let bytes: Vec<u8> = (1..=6).flat_map(|v| f64::from(v).to_le_bytes()).collect();
    let table = safetensors(&[("any name", Dtype::F64, &[3, 2], &bytes)]);
    let labels = safetensors(&[("y", Dtype::U8, &[3], &[0, 1, 1])]);
    for (stem, ending, bytes) in [
        ("1_tr", "npy", numpy!("rows.npy")),
        ("1_tr", "npy", numpy!("big-endian.npy")),
        ("1_tr", "npy", numpy!("columns.npy")),
        ("1_tr", "npy", numpy!("single.npy")),
        ("1_tr", "npy", numpy!("whole.npy")),
        ("1_tr", "npz", numpy!("stored.npz")),
        ("1_tr", "npz", numpy!("deflated.npz")),
        ("1_tr", "safetensors", &table),
        ("labels_tr", "npy", numpy!("labels.npy")),
        ("labels_tr", "safetensors", &labels),
    ] {
        let dir = replaced(stem, ending, bytes);
        let set = DataSet::from_folder(dir.path()).unwrap();
        assert_eq!(set.train, expected.train, "{stem}.{ending}");
        assert_eq!(set.test, expected.test, "{stem}.{ending}");
    }
}

#[test]
fn two_files_of_one_content_are_refused() {
    for (stem, bytes) in [
        ("1_tr", numpy!("rows.npy")),
        ("labels_tr", numpy!("labels.npy")),
    ] {
        let dir = folder(&[]);
        fs::write(dir.path().join(format!("{stem}.npy")), bytes).unwrap();
        let (first, second) = (format!("{stem}.csv"), format!("{stem}.npy"));
        let error = refused_dir(&dir);
        assert_error!(error, DataError::TwoFiles { .. }, &first, &second, "remove");
    }
}

#[test]
fn values_are_located_in_arrays() {
    let error = refused("1_tr", "npy", numpy!("nan.npy"));
    let place = "1_tr.npy, row 2, column 1";
    assert_error!(error, DataError::NotFinite { .. }, place, "NaN");

    let error = refused("labels_tr", "npy", &npy("|i1", "(3,)", &[0, 1, 255]));
    let place = "labels_tr.npy, row 3";
    assert_error!(error, DataError::NotALabel { row: 3, .. }, place, "\"-1\"");

    let halves: Vec<u8> = [0.0, 1.5, 1.0]
        .into_iter()
        .flat_map(f64::to_le_bytes)
        .collect();
    let error = refused("labels_tr", "npy", &npy("<f8", "(3,)", &halves));
    let place = "labels_tr.npy, row 2";
    assert_error!(error, DataError::NotALabel { row: 2, .. }, place, "\"1.5\"");

    let error = refused("labels_te", "npy", &npy("|u1", "(1,)", &[7]));
    let place = "labels_te.npy, row 1";
    assert_error!(error, DataError::LabelOutOfRange { .. }, place, "label 7");

    let error = refused("2_tr", "npy", &npy("|u1", "(2, 1)", &[1, 2]));
    let parts = ["2_tr.npy has 2 rows, expected 3", "labels_tr.csv"];
    assert_error!(error, DataError::RowCount { .. }, parts[0], parts[1]);

    let error = refused("1_te", "npy", &npy("|u1", "(1, 3)", &[1, 2, 3]));
    let parts = ["1_te.npy has 3 columns, expected 2", "1_tr.csv"];
    assert_error!(error, DataError::ColumnCount { .. }, parts[0], parts[1]);

    let error = refused("2_te", "npy", &npy("|u1", "(0, 1)", &[]));
    assert_error!(error, DataError::EmptyFile { .. }, "2_te.npy is empty");
}

#[test]
fn arrays_of_another_kind_are_explained() {
    let two = safetensors(&[("a", Dtype::U8, &[1], &[1]), ("b", Dtype::U8, &[1], &[1])]);
    let complex = safetensors(&[("a", Dtype::C64, &[3, 1], &[0; 24])]);
    for (stem, ending, bytes, parts) in [
        (
            "1_tr",
            "npy",
            numpy!("labels.npy"),
            ["shape [3]", "samples by features"],
        ),
        (
            "1_tr",
            "npz",
            numpy!("two.npz"),
            ["2 arrays (a.npy, b.npy)", "expected one"],
        ),
        (
            "1_tr",
            "npz",
            numpy!("rows.npy"),
            ["not a whole NPZ file", "numpy.save"],
        ),
        (
            "1_tr",
            "npy",
            b"1,2\n3,4\n",
            ["no whole header", "magic not found"],
        ),
        (
            "1_tr",
            "safetensors",
            &two,
            ["2 arrays (a, b)", "expected one"],
        ),
        (
            "2_tr",
            "safetensors",
            &complex,
            ["type C64", "a type of numbers"],
        ),
        (
            "labels_tr",
            "npy",
            numpy!("rows.npy"),
            ["shape [3, 2]", "1 dimension (samples)"],
        ),
    ] {
        let error = refused(stem, ending, bytes);
        let file = format!("{stem}.{ending}: ");
        assert_error!(
            error,
            DataError::InvalidArray { .. },
            &file,
            parts[0],
            parts[1]
        );
    }
}

#[test]
fn truncated_arrays_are_named() {
    let table = safetensors(&[("a", Dtype::U8, &[3, 2], &[1, 2, 3, 4, 5, 6])]);
    for (ending, bytes) in [
        ("npy", numpy!("rows.npy")),
        ("npz", numpy!("stored.npz")),
        ("npz", numpy!("deflated.npz")),
        ("safetensors", &table),
    ] {
        let file = format!("1_tr.{ending}");
        let dir = replaced("1_tr", ending, bytes);
        for end in 0..bytes.len() {
            fs::write(dir.path().join(&file), &bytes[..end]).unwrap();
            assert_error!(refused_dir(&dir), DataError::InvalidArray { .. }, &file);
        }
    }
}

/// The sound folder with its test modalities and nothing else.
fn unlabeled() -> TempDir {
    let dir = folder(&[]);
    for (file, _) in SOUND {
        if !["1_te.csv", "2_te.csv"].contains(&file) {
            fs::remove_file(dir.path().join(file)).unwrap();
        }
    }
    dir
}

#[test]
fn one_split_is_read_without_labels() {
    let dir = unlabeled();
    let expected = DataSet::from_folder(folder(&[]).path()).unwrap();
    let features = |part| features_from_folder(dir.path(), part);
    assert_eq!(features(SplitName::Test).unwrap(), expected.test.modalities);
    let error = features(SplitName::Train).unwrap_err();
    let parts = ["1_tr.csv is missing", "needs K_tr.csv;"];
    assert_error!(error, DataError::MissingFile { .. }, parts[0], parts[1]);

    // The other split and the labels do not matter.
    fs::write(dir.path().join("labels_te.csv"), "no label").unwrap();
    fs::write(dir.path().join("3_tr.csv"), "no number").unwrap();
    assert_eq!(features(SplitName::Test).unwrap(), expected.test.modalities);
}

#[test]
fn faults_of_one_split_are_named() {
    let refused = |file: &str, text: &str| {
        let dir = unlabeled();
        fs::write(dir.path().join(file), text).unwrap();
        features_from_folder(dir.path(), SplitName::Test).unwrap_err()
    };
    let error = refused("2_te.csv", "1\n2\n");
    let parts = ["2_te.csv has 2 rows, expected 1", "1_te.csv"];
    assert_error!(error, DataError::RowCount { .. }, parts[0], parts[1]);
    let error = refused("1_te.csv", "1,inf\n");
    let place = "1_te.csv, row 1, column 2";
    assert_error!(error, DataError::NotFinite { .. }, place);
    let error = refused("4_te.csv", "1\n");
    assert_error!(error, DataError::MissingFile { .. }, "3_te.csv is missing");
    let error = features_from_folder(Path::new("no/such/folder"), SplitName::Test).unwrap_err();
    assert_error!(error, DataError::NoFolder { .. }, "no/such/folder");
}
