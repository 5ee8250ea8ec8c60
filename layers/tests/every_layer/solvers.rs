//! Evaluations that solvers take on the layers: the table of the book.

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::Equilibrium;

use super::{arguments, layer};

/// `cargo test -p equilibria-layers --test every_layer -- --ignored --nocapture evaluations`
#[test]
#[ignore = "measures"]
fn evaluations_of_solvers() {
    let solvers = [
        json!({ "type": "picard" }),
        json!({ "type": "anderson" }),
        json!({ "type": "broyden" }),
        json!({ "type": "newton-gmres" }),
        json!({ "type": "chain" }),
    ];
    let plugins = registry::of_kind("layer").expect("linked").into_iter();
    let mut configs: Vec<Value> = plugins.map(|plugin| plugin.default).collect();
    configs.push(json!({ "type": "mondeq", "margin": 0.1 }));
    for config in configs {
        let layer = layer::<f64>(&config, 32);
        let (_, x) = arguments(&config, &layer, 16);
        let cells = solvers.iter().map(|solver| {
            let mut equilibrium = Equilibrium::new(
                layer.clone(),
                registry::make::<dyn FixedPointSolver>(solver).expect("it parses"),
                equilibria_solvers::backward("implicit").expect("registered"),
            );
            equilibrium.stop = Stop {
                max_evaluations: 2000,
                on_unconverged: OnUnconverged::Accept,
                ..Stop::at(Tolerance::relative(1e-8))
            };
            let solved = equilibrium.forward(&x, NoneTape).expect("it runs");
            let solved = solved.report;
            match solved.unconverged() {
                0 => format!("{:.0}", solved.mean_evaluations()),
                failed => format!("{} of 16", 16 - failed),
            }
        });
        println!("{config} | {}", cells.collect::<Vec<_>>().join(" | "));
    }
}
