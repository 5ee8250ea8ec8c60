//! Regions of images as a table with base64.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::Folder;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    Folder::new(&[
        (
            "v2_OpenEnded_mscoco_train2014_questions.json",
            include_bytes!("../../tests/data/vqa/v2_OpenEnded_mscoco_train2014_questions.json"),
        ),
        (
            "v2_mscoco_train2014_annotations.json",
            include_bytes!("../../tests/data/vqa/v2_mscoco_train2014_annotations.json"),
        ),
        (
            "answer_dict.json",
            include_bytes!("../../tests/data/vqa/answer_dict.json"),
        ),
    ])
});

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("bottom_up_36.tsv", bytes);
    FOLDER.load(json!({
        "type": "vqa",
        "test": "train2014",
        "features": ["bottom_up_36.tsv"],
        "regions": 4,
        "occurrences": 0,
    }));
});
