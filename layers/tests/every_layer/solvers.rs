//! Evaluations and time that solvers take on the layers: the table of the book.

use std::time::Instant;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::Equilibrium;

use super::{arguments, layer};

/// Samples.
const BATCH: usize = 16;

/// Layers of moderate size: 32 numbers to a state, or what the fields say.
fn moderate() -> Vec<Value> {
    let plugins = registry::of_kind("layer").expect("linked").into_iter();
    let mut all: Vec<Value> = plugins.map(|plugin| plugin.default).collect();
    let sizes = [
        json!({ "type": "eignn", "nodes": 10, "width": 6 }),
        json!({ "type": "ignn", "nodes": 10, "width": 6, "features": 4 }),
        json!({ "type": "mdeq", "channels": [8, 8], "side": 4, "groups": 4 }),
        json!({ "type": "quadratic-program", "variables": 12, "equalities": 4, "inequalities": 8 }),
        json!({ "type": "sinkhorn", "rows": 8, "columns": 8 }),
        json!({ "type": "transformer", "tokens": 8, "width": 8, "features": 4, "inner": 16 }),
    ];
    for sized in sizes {
        let place = all.iter_mut().find(|all| all["type"] == sized["type"]);
        *place.expect("registered") = sized;
    }
    all.push(json!({ "type": "mondeq", "margin": 0.1 }));
    all.push(json!({ "type": "mondeq", "splitting": "peaceman-rachford", "alpha": 0.1 }));
    all.push(
        json!({ "type": "mondeq", "margin": 0.1, "splitting": "peaceman-rachford", "alpha": 0.1 }),
    );
    all.push(json!({ "type": "nemon", "alpha": 0.3 }));
    all.push(json!({ "type": "sinkhorn", "rows": 8, "columns": 8, "epsilon": 0.05 }));
    all
}

/// The name of a layer and the fields that are not as usual.
fn title(config: &Value) -> String {
    let plain = registry::of_kind("layer").expect("linked");
    let plain = plain
        .into_iter()
        .find(|plugin| config["type"] == *plugin.name);
    let plain = plain.expect("registered");
    let fields = config.as_object().expect("a table").iter();
    let told = fields.filter(|(key, value)| {
        let size = value.is_u64() || value.is_array();
        !size && plain.default.get(key) != Some(value)
    });
    let told = told.map(|(key, value)| format!(", {key} {value}"));
    format!("`{}`{}", plain.name, told.collect::<String>())
}

/// `cargo test --release --test every_layer -- --ignored --nocapture evaluations`
///
/// A cell has the mean evaluations of a sample and the milliseconds of one; how many samples were solved where not all were.
#[test]
#[ignore = "measures"]
fn evaluations_of_solvers() {
    let solvers = registry::of_kind("solver").expect("linked");
    let names: Vec<String> = solvers.into_iter().map(|plugin| plugin.name).collect();
    let heads: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    println!("| layer | {} |", heads.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    for config in moderate() {
        let layer = layer::<f64>(&config, 32);
        let (_, x) = arguments(&config, &layer, BATCH);
        let cells = names.iter().map(|name| {
            let mut equilibrium = Equilibrium::new(
                layer.clone(),
                equilibria_solvers::solver(name).expect("registered"),
                equilibria_solvers::backward("implicit").expect("registered"),
            );
            equilibrium.stop = Stop {
                max_evaluations: 2000,
                on_unconverged: OnUnconverged::Accept,
                ..Stop::at(Tolerance::relative(1e-8))
            };
            let start = Instant::now();
            let solved = equilibrium.forward(&x, NoneTape).expect("it runs").report;
            let milliseconds = start.elapsed().as_secs_f64() * 1e3 / BATCH as f64;
            match solved.unconverged() {
                0 => format!("{:.0} ({milliseconds:.2})", solved.mean_evaluations()),
                failed => format!("{} of {BATCH} solved", BATCH - failed),
            }
        });
        let cells: Vec<String> = cells.collect();
        println!("| {} | {} |", title(&config), cells.join(" | "));
    }
}
