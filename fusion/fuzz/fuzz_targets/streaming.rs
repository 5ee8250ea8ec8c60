//! Tables that are read batch by batch: the first byte says which file is given. What is read is what is read at once, and what is refused is
//! refused either way.
#![no_main]

use std::sync::LazyLock;

use equilibria_fusion::data::{DataError, DataSet, Samples, SplitName, StreamedFolder};
use equilibria_fuzz::{chosen, tables, Folder};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 11] = [
    "1_tr.csv",
    "2_te.csv",
    "labels_tr.csv",
    "classes.csv",
    "1_featname.csv",
    "1_tr_ids.csv",
    "samples_tr.csv",
    "3_tr.csv",
    "multilabels_tr.csv",
    "targets_te.csv",
    "1_te.npy",
];

static FOLDER: LazyLock<Folder> = LazyLock::new(|| tables("none"));

fuzz_target!(|bytes: &[u8]| {
    let [which, text @ ..] = bytes else { return };
    let name = chosen(*which, &NAMES);
    let own: Vec<(&str, &[u8])> = match *name {
        "3_tr.csv" => vec![("3_te.csv", b"1\n2\n")],
        "multilabels_tr.csv" => vec![("multilabels_te.csv", b"a,b\n0,1\n1,1\n")],
        "targets_te.csv" => vec![("targets_tr.csv", b"0.5\n-1\n2\n3\n")],
        _ => Vec::new(),
    };
    compare(name, text, &own);
});

/// Reads the folder in both ways, with a file in the place of the one that is its like.
fn compare(name: &str, bytes: &[u8], companions: &[(&str, &[u8])]) {
    if let [(companion, text), others @ ..] = companions {
        return FOLDER.with(companion, text, || compare(name, bytes, others));
    }
    let labels = name.starts_with("multilabels") || name.starts_with("targets");
    let replaced: &[&str] = match name {
        "1_te.npy" => &["1_te.csv"],
        _ if labels => &["labels_tr.csv", "labels_te.csv"],
        _ => &[],
    };
    FOLDER.lacking(replaced, || FOLDER.with(name, bytes, read_both));
}

fn read_both() {
    let whole = DataSet::from_folder(FOLDER.path());
    let scratch = std::env::temp_dir();
    let (path, scratch) = (FOLDER.path(), &scratch);
    let streamed = StreamedFolder { path, scratch }.samples();
    match (whole, streamed) {
        (Ok(whole), Ok(streamed)) => assert_same(&whole, &streamed),
        (Err(_), Err(_)) => {}
        // One in Fortran order cannot be read row by row.
        (Ok(_), Err(DataError::InvalidArray { .. })) => {}
        (whole, streamed) => panic!(
            "at once: {:?}; batch by batch: {:?}",
            whole.err(),
            streamed.err()
        ),
    }
}

fn assert_same(whole: &DataSet, streamed: &Samples) {
    assert_eq!(
        (&whole.name, &whole.classes),
        (&streamed.name, &streamed.classes)
    );
    for part in SplitName::BOTH {
        let rows = streamed.split(part).read_all().expect("it is there");
        assert_eq!(&rows, whole.split(part), "{part}");
    }
}
