//! Configurations as the program reads them, and models of them: lines in front of one that is `---` are given with `--set`.
#![no_main]

use std::sync::LazyLock;

use dfdx::prelude::Cpu;
use equilibria_fusion::Model;
use equilibria_fuzz::Folder;
use equilibria_program::config;
use libfuzzer_sys::fuzz_target;
use serde_json::{json, Value};

/// Wider models are not built: they take long, and nothing else.
const MOST: f64 = 600.0;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new(&[]));

/// Whether all numbers are within bounds.
fn is_small(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number <= MOST),
        Value::Array(items) => items.iter().all(is_small),
        Value::Object(entries) => entries.values().all(is_small),
        _ => true,
    }
}

fuzz_target!(|text: &str| {
    let (overrides, text) = text.split_once("---\n").unwrap_or(("", text));
    let overrides: Vec<String> = overrides.lines().map(str::to_owned).collect();
    FOLDER.write("config.toml", text.as_bytes());
    let path = FOLDER.path().join("config.toml");
    let Ok(experiment) = config::read(&path, &overrides) else {
        return;
    };
    if is_small(&json!(experiment)) {
        let _: Result<Model<f32, Cpu>, _> = experiment.model(&Cpu::default(), &[4, 6], 3);
    }
});
