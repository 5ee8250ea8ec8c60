//! Questions of VQA.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::Folder;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    Folder::new(&[
        (
            "v2_mscoco_train2014_annotations.json",
            include_bytes!("../../tests/data/vqa/v2_mscoco_train2014_annotations.json"),
        ),
        (
            "answer_dict.json",
            include_bytes!("../../tests/data/vqa/answer_dict.json"),
        ),
        (
            "bottom_up_36.tsv",
            include_bytes!("../../tests/data/vqa/bottom_up_36.tsv"),
        ),
    ])
});

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("v2_OpenEnded_mscoco_train2014_questions.json", bytes);
    FOLDER.load(json!({
        "type": "vqa",
        "test": "train2014",
        "features": ["."],
        "regions": 4,
        "occurrences": 0,
    }));
});
