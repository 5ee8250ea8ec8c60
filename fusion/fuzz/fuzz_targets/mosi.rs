//! Sentences, their sound, and the vocabulary of BERT: the first byte says which file is given.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::{chosen, Folder};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const FILES: [(&str, &[u8]); 7] = [
    (
        "train.tsv",
        include_bytes!("../../tests/data/mosi/train.tsv"),
    ),
    ("dev.tsv", include_bytes!("../../tests/data/mosi/dev.tsv")),
    ("test.tsv", include_bytes!("../../tests/data/mosi/test.tsv")),
    (
        "train_audio.npy",
        include_bytes!("../../tests/data/mosi/train_audio.npy"),
    ),
    (
        "dev_audio.npy",
        include_bytes!("../../tests/data/mosi/dev_audio.npy"),
    ),
    (
        "test_audio.npy",
        include_bytes!("../../tests/data/mosi/test_audio.npy"),
    ),
    (
        "vocab.txt",
        include_bytes!("../../tests/data/mosi/vocab.txt"),
    ),
];

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new(&FILES));

fuzz_target!(|bytes: &[u8]| {
    let [which, text @ ..] = bytes else { return };
    let (name, _) = chosen(*which, &FILES);
    FOLDER.with(name, text, || FOLDER.load(json!({ "type": "mosi" })));
});
