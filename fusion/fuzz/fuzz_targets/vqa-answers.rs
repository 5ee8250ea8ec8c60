//! The list of the answers of VQA, or that of the words: the first byte says which.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::{chosen, questions, vqa, Folder};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 2] = ["answer_dict.json", "words.txt"];

static FOLDER: LazyLock<Folder> = LazyLock::new(|| questions("none"));

fuzz_target!(|bytes: &[u8]| {
    let [which, text @ ..] = bytes else { return };
    let name = chosen(*which, &NAMES);
    FOLDER.with(name, text, || FOLDER.load(vqa(&["regions.tsv"])));
});
