//! Graphs as text: the first byte says which file is given.
#![no_main]

use std::sync::LazyLock;

use equilibria_fuzz::{chosen, Folder};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const FILES: [(&str, &[u8]); 5] = [
    ("T_A.txt", b"1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n"),
    ("T_graph_indicator.txt", b"1\n1\n1\n2\n2\n"),
    ("T_graph_labels.txt", b"1\n-1\n"),
    ("T_node_labels.txt", b"0\n3\n0\n0\n3\n"),
    (
        "T_node_attributes.txt",
        b"0.5, 1\n-1, 0\n2, 2\n0, 0\n1e-3, 1\n",
    ),
];

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new(&FILES));

fuzz_target!(|bytes: &[u8]| {
    let [which, text @ ..] = bytes else { return };
    let (name, _) = chosen(*which, &FILES);
    FOLDER.with(name, text, || {
        FOLDER.load(json!({ "type": "graphs", "folds": 2 }))
    });
});
