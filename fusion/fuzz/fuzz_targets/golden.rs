//! The description of a folder that `verify` compares with: the arrays are sound ones of examples/golden.
#![no_main]

use std::sync::LazyLock;

use equilibria_core::DeviceName;
use equilibria_fuzz::Folder;
use equilibria_reference::golden;
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let arrays = include_bytes!("../../../examples/golden/golden_hard.safetensors");
    Folder::new(&[("golden.safetensors", arrays)])
});

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("metadata.json", bytes);
    let _ = golden::verify(FOLDER.path(), DeviceName::Cpu);
});
