//! A table as `.npy` file.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::{tables, Folder};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| tables("1_tr"));

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("1_tr.npy", bytes);
    FOLDER.load(json!({ "type": "folder" }));
});
