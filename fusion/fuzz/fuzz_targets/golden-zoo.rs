//! The description of a case of a layer that `verify` compares with: the arrays are sound ones of examples/golden.
#![no_main]

use std::sync::LazyLock;

use equilibria_core::DeviceName;
use equilibria_fuzz::Folder;
use equilibria_reference::golden;
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let arrays = include_bytes!("../../../examples/golden/zoo/sinkhorn/golden.safetensors");
    Folder::new(&[("golden.safetensors", arrays)])
});

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("golden.json", bytes);
    let _ = golden::verify(FOLDER.path(), DeviceName::Cpu);
});
