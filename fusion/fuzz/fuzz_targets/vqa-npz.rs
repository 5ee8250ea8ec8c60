//! Regions of an image as `.npz`.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::{questions, vqa, Folder};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| questions("none"));

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("image_9.npz", bytes);
    FOLDER.load(vqa(&[".", "regions.tsv"]));
});
