//! Questions of VQA.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::{questions, vqa, Folder};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> =
    LazyLock::new(|| questions("v2_OpenEnded_mscoco_train2014_questions.json"));

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("v2_OpenEnded_mscoco_train2014_questions.json", bytes);
    FOLDER.load(vqa(&["regions.tsv"]));
});
