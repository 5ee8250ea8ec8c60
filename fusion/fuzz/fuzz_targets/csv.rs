//! Tables, labels, classes, names of features and of samples as comma-separated text: the first byte says which of them is given.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::{chosen, tables, Folder};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const NAMES: [&str; 8] = [
    "1_tr.csv",
    "2_te.csv",
    "labels_tr.csv",
    "classes.csv",
    "modalities.csv",
    "1_featname.csv",
    "1_tr_ids.csv",
    "samples_tr.csv",
];

static FOLDER: LazyLock<Folder> = LazyLock::new(|| tables("none"));

fuzz_target!(|bytes: &[u8]| {
    let [which, text @ ..] = bytes else { return };
    let name = chosen(*which, &NAMES);
    FOLDER.with(name, text, || FOLDER.load(json!({ "type": "folder" })));
});
