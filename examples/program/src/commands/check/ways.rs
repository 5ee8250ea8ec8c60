//! The ways to differentiate a configured model.

use equilibria_fusion::Experiment;
use serde_json::{json, Value};

/// The configuration in f64 with accurate solves: differentiated implicitly, by unrolling, and as it says itself, if that
/// is a third way. A fusion without equilibria has one way.
pub fn configurations(experiment: &Experiment, unroll: usize) -> Vec<(String, Value)> {
    let accurate = json!({
        "tolerance": {"relative": 1e-13}, "max_evaluations": 1000, "patience": 100, "on_unconverged": "accept",
    });
    let mut base = json!(experiment);
    base["dtype"] = json!("f64");
    if base["fusion"].get("backward").is_none() {
        return vec![("gradient".to_owned(), base)];
    }
    base["fusion"]["stop"] = accurate.clone();
    let with = |backward: Value| {
        let mut config = base.clone();
        config["fusion"]["backward"] = backward;
        config
    };
    let mut own = base["fusion"]["backward"].clone();
    let name = own["type"].as_str().unwrap_or_default().to_owned();
    let mut implicit = json!({"type": "implicit", "stop": accurate});
    if own.get("stop").is_some() {
        own["stop"] = accurate.clone();
    }
    if name == "implicit" {
        implicit = own.clone();
    }
    let unrolled = json!({"type": "unrolled", "steps": unroll});
    let mut all = vec![
        ("implicit".to_owned(), with(implicit)),
        ("unrolled".to_owned(), with(unrolled)),
    ];
    if !["implicit", "unrolled"].contains(&name.as_str()) {
        all.push((name, with(own)));
    }
    all
}

/// The configuration with the solver that unrolling runs.
pub fn plain(config: &Value, steps: u32) -> Value {
    let mut config = config.clone();
    config["fusion"]["solver"] = json!({"type": "picard"});
    config["fusion"]["stop"] = json!({
        "tolerance": {"relative": 1e-9}, "max_evaluations": steps, "on_unconverged": "accept",
    });
    config
}
