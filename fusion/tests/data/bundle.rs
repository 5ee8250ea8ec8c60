//! Bundles: what is kept, and what is refused.

use equilibria_fusion::data::{DataError, DataSet, Split, Table, Targets};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;

/// A set whose four tables need the four types of a bundle.
pub fn made_up() -> DataSet {
    let split = |labels: Vec<usize>, tables: [(&str, usize, Vec<f64>); 2]| Split {
        modalities: tables
            .map(|(name, columns, values)| Table {
                name: name.into(),
                columns,
                values,
            })
            .into(),
        targets: Targets::Classes(labels),
    };
    DataSet {
        name: "made up".into(),
        classes: vec!["cats, \"large\"".into(), "dogs".into()],
        train: split(
            vec![0, 1],
            [
                ("bytes", 2, vec![0.0, 255.0, 7.0, 1.0]),
                ("tiny", 1, vec![1e-300, -2.5]),
            ],
        ),
        test: split(
            vec![1],
            [("bytes", 2, vec![65535.0, 3.0]), ("tiny", 1, vec![-0.375])],
        ),
    }
}

#[test]
fn bundles_are_lossless() {
    let set = made_up();
    let bytes = set.to_bundle("somebody", "CC0").unwrap();
    assert_eq!(
        DataSet::from_bundle(&bytes, "made_up.safetensors").unwrap(),
        set
    );

    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let entries = header.metadata().as_ref().unwrap();
    assert_eq!(
        (&*entries["attribution"], &*entries["license"]),
        ("somebody", "CC0")
    );
    let dtype = |array: &str| header.info(array).unwrap().dtype;
    let dtypes = ["1.train", "1.test", "2.test", "2.train"].map(dtype);
    assert_eq!(dtypes, [Dtype::U8, Dtype::U16, Dtype::F32, Dtype::F64]);
}

#[test]
fn truncated_bundles_are_refused() {
    let bytes = made_up().to_bundle("", "").unwrap();
    for end in 0..bytes.len() {
        let error = DataSet::from_bundle(&bytes[..end], "cut.safetensors").unwrap_err();
        assert_error!(
            error,
            DataError::InvalidBundle { .. },
            "cut.safetensors",
            "not a whole"
        );
    }
}

#[test]
fn faulty_sets_are_not_bundled() {
    let mut set = made_up();
    set.train.modalities[1].values[1] = f64::NAN;
    let error = set.to_bundle("", "").unwrap_err();
    let place = "made up [modality 2, train], row 2, column 1";
    assert_error!(error, DataError::NotFinite { .. }, place);

    let mut set = made_up();
    set.test.modalities.pop();
    let error = set.validate().unwrap_err();
    assert_error!(
        error,
        DataError::ModalityCount { .. },
        "[test] has 1 modalities, expected 2"
    );

    let mut set = made_up();
    set.train.modalities[0].columns = 3;
    let error = set.validate().unwrap_err();
    assert_error!(
        error,
        DataError::TableShape { .. },
        "modality 1, train",
        "4 values"
    );
}

/// Reads a bundle of one modality (U8, one column) made of the given shapes
/// and bytes for `1.train`, `1.test`, `labels.train` and `labels.test`.
fn forged(arrays: [(&[usize], &[u8]); 4]) -> Result<DataSet, DataError> {
    let names = ["1.train", "1.test", "labels.train", "labels.test"];
    let views =
        arrays.map(|(shape, data)| TensorView::new(Dtype::U8, shape.to_vec(), data).unwrap());
    let entries = [
        ("name", "f"),
        ("classes", r#"["a", "b"]"#),
        ("modalities", r#"["m"]"#),
    ];
    let metadata: HashMap<_, _> = entries.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let bytes = safetensors::serialize(names.into_iter().zip(views), Some(metadata)).unwrap();
    DataSet::from_bundle(&bytes, "f.safetensors")
}

#[test]
fn faulty_arrays_are_named() {
    let (two, one) = ((&[2, 1][..], &[5, 6][..]), (&[1, 1][..], &[7][..]));
    let (labels, label) = ((&[2][..], &[0, 1][..]), (&[1][..], &[1][..]));
    assert!(forged([two, one, labels, label]).is_ok());

    let error = forged([(&[2], &[5, 6]), one, labels, label]).unwrap_err();
    assert_error!(
        error,
        DataError::InvalidBundle { .. },
        "f.safetensors [1.train]",
        "[2]"
    );
    let error = forged([two, one, (&[2, 1], &[0, 1]), label]).unwrap_err();
    assert_error!(
        error,
        DataError::InvalidBundle { .. },
        "[labels.train]",
        "[2, 1]"
    );
    let error = forged([two, two, labels, label]).unwrap_err();
    assert_error!(
        error,
        DataError::RowCount { .. },
        "[1.test] has 2 rows, expected 1"
    );
    let error = forged([two, (&[1, 2], &[7, 8]), labels, label]).unwrap_err();
    assert_error!(
        error,
        DataError::ColumnCount { .. },
        "[1.test] has 2 columns, expected 1"
    );
    let error = forged([two, one, (&[2], &[0, 2]), label]).unwrap_err();
    assert_error!(
        error,
        DataError::LabelOutOfRange { .. },
        "[labels.train], row 2",
        "label 2"
    );
    let error = forged([(&[2, 0], &[]), one, labels, label]).unwrap_err();
    assert_error!(
        error,
        DataError::TableShape { .. },
        "[1.train]",
        "at least one column"
    );
}
