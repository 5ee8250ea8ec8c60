//! Scans of rooms: the first byte says which file is given.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::{chosen, Folder};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const FILES: [(&str, &[u8]); 5] = [
    (
        "prepared/000001_pc.npz",
        include_bytes!("../../tests/data/scans/prepared/000001_pc.npz"),
    ),
    (
        "prepared/000001_bbox.npy",
        include_bytes!("../../tests/data/scans/prepared/000001_bbox.npy"),
    ),
    (
        "found/000001.txt",
        include_bytes!("../../tests/data/scans/found/000001.txt"),
    ),
    (
        "raw/calib/000001.txt",
        include_bytes!("../../tests/data/scans/raw/calib/000001.txt"),
    ),
    (
        "raw/image/000001.jpg",
        include_bytes!("../../tests/data/scans/raw/image/000001.jpg"),
    ),
];

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new(&FILES));

fuzz_target!(|bytes: &[u8]| {
    let [which, text @ ..] = bytes else { return };
    let (name, _) = chosen(*which, &FILES);
    let source = json!({
        "type": "scans",
        "train": "prepared",
        "test": "prepared",
        "found_train": "found",
        "found_test": "found",
        "raw": "raw",
        "points": 20,
    });
    FOLDER.with(name, text, || FOLDER.load(source));
});
