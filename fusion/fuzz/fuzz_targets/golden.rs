//! The description of a folder of DEQ fusion that `verify` compares with. Its arrays are those of examples/golden, but for the ones that
//! `"arrays": {"NAME": [2, 5], …}` lists with another shape, or with null as missing.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use equilibria_core::DeviceName;
use equilibria_fuzz::{arrays, Folder};
use equilibria_reference::golden;
use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;
use serde_json::Value;

const SOUND: &[u8] = include_bytes!("../../../examples/golden/golden_hard.safetensors");

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new(&[]));

/// The sound file with the arrays of another one in the place of its own.
fn merged(description: &Value) -> Option<Vec<u8>> {
    let sound = SafeTensors::deserialize(SOUND).ok()?;
    let mut changes = description["arrays"].as_object()?.clone();
    let mut views: BTreeMap<String, _> = sound.tensors().into_iter().collect();
    views.retain(|name, _| !changes.contains_key(name));
    changes.retain(|_, shape| !shape.is_null());
    let others = arrays::described(&serde_json::json!({ "arrays": changes }))?;
    let others = SafeTensors::deserialize(&others).ok()?;
    views.extend(others.tensors());
    safetensors::serialize(views, None).ok()
}

fuzz_target!(|bytes: &[u8]| {
    let description = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    FOLDER.write("metadata.json", bytes);
    let arrays = merged(&description);
    let arrays = arrays.as_deref().unwrap_or(SOUND);
    FOLDER.write("golden.safetensors", arrays);
    let _ = golden::verify(FOLDER.path(), DeviceName::Cpu);
});
