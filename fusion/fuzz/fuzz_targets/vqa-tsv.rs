//! Regions of images as a table with base64.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::{questions, vqa, Folder};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| questions("regions.tsv"));

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("regions.tsv", bytes);
    FOLDER.load(vqa(&["regions.tsv"]));
});
