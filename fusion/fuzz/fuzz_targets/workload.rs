//! Workloads that `bench` times.
#![no_main]

use std::sync::LazyLock;

use dfdx::prelude::Cpu;
use equilibria_fuzz::Folder;
use equilibria_reference::workload::Workload;
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new(&[]));

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("fusion_1.safetensors", bytes);
    let path = FOLDER.path().join("fusion_1.safetensors");
    let _ = Workload::read(&Cpu::default(), &path, 1e-4, 10);
});
