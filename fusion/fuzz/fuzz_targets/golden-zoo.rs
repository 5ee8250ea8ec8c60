//! The description of a case of a layer that `verify` compares with. Its arrays are of order 1, and have the shapes that it lists.
#![no_main]

use std::sync::LazyLock;

use equilibria_core::DeviceName;
use equilibria_fuzz::{arrays, Folder};
use equilibria_reference::golden;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new(&[]));

fuzz_target!(|bytes: &[u8]| {
    let description = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let Some(arrays) = arrays::described(&description) else {
        return;
    };
    FOLDER.write("case.json", bytes);
    FOLDER.write("case.safetensors", &arrays);
    let _ = golden::verify(FOLDER.path(), DeviceName::Cpu);
});
