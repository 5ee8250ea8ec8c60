//! Targets that are no classes, as comma-separated text: several labels of a sample, or numbers.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::{tables, Folder};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| tables("labels"));

fuzz_target!(|bytes: &[u8]| {
    let [which, text @ ..] = bytes else { return };
    let (kind, test) = match which % 2 {
        0 => ("multilabels", &b"a,b\n0,1\n1,1\n"[..]),
        _ => ("targets", &b"0.5\n-1\n"[..]),
    };
    FOLDER.with(&format!("{kind}_te.csv"), test, || {
        FOLDER.with(&format!("{kind}_tr.csv"), text, || {
            FOLDER.load(json!({ "type": "folder" }));
        });
    });
});
