//! State dicts under the names of the original code load by the table of a layer, and give the outputs of the original.

use dfdx::prelude::*;
use equilibria_core::{
    from_host, registry, to_host, AnyLayer, Backend, Equilibrium, FixedPointSolver, Matrix,
    Renamed, Stop, Tolerance,
};
use equilibria_fusion::checkpoint::Checkpoint;
use equilibria_fusion::layers::{Initializer, LayerConfig, LayerRequest, Layers};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{json, Value};

use super::{golden, read, Arrays};

/// Folder, file, configuration, state, inputs, and the array that the output is in.
type Case = (
    &'static str,
    &'static str,
    Value,
    usize,
    &'static [&'static str],
    &'static str,
);

fn cases() -> Vec<Case> {
    let z = "fixed_point.z";
    let positive = |phi: &str| json!({ "type": "positive-concave", "injection": "positive", "activation": phi });
    let inr = |filter: &str, blocks: usize| json!({ "type": "implicit-representation", "filter": filter, "blocks": blocks });
    let qp = json!({
        "type": "quadratic-program",
        "variables": 5, "equalities": 2, "inequalities": 4, "ridge": 0.1,
    });
    let ignn = |phi: &str| {
        json!({
            "type": "ignn", "nodes": 5, "width": 3, "features": 4, "normalize": false, "activation": phi,
        })
    };
    let transformer = |tokens: usize, memory: usize| {
        json!({
            "type": "transformer",
            "tokens": tokens, "memory": memory, "width": 6, "features": 6, "heads": 2, "inner": 8,
        })
    };
    vec![
        (
            "mondeq",
            "golden",
            json!({ "type": "mondeq", "margin": 0.2 }),
            6,
            &["x"],
            z,
        ),
        (
            "nemon",
            "golden",
            json!({ "type": "nemon", "measure": 0.05 }),
            6,
            &["x"],
            z,
        ),
        (
            "implicit",
            "golden",
            json!({ "type": "implicit" }),
            6,
            &["u"],
            z,
        ),
        ("positive_concave", "golden", positive("tanh"), 6, &["x"], z),
        (
            "positive_concave",
            "sigmoid",
            positive("sigmoid"),
            6,
            &["x"],
            z,
        ),
        (
            "sparse_coding",
            "golden",
            json!({ "type": "sparse-coding", "ridge": 0.1 }),
            8,
            &["x"],
            z,
        ),
        (
            "steady_state",
            "golden",
            json!({ "type": "steady-state" }),
            6,
            &["x"],
            z,
        ),
        ("inr", "golden", inr("siren", 1), 6, &["x"], z),
        ("inr", "two_blocks", inr("siren", 2), 6, &["x"], z),
        ("inr", "fourier", inr("fourier", 1), 6, &["x"], z),
        ("inr", "gabor", inr("gabor", 1), 6, &["x"], z),
        ("qp", "golden", qp, 11, &["p", "b", "h"], "argmin"),
        (
            "sinkhorn",
            "golden",
            json!({ "type": "sinkhorn", "rows": 4, "columns": 5 }),
            5,
            &["C", "a", "b"],
            "plan",
        ),
        ("ignn", "golden", ignn("relu"), 15, &["U", "A"], z),
        ("ignn", "tanh", ignn("tanh"), 15, &["U", "A"], z),
        (
            "deq_transformer",
            "golden",
            transformer(4, 0),
            24,
            &["x"],
            z,
        ),
        (
            "deq_transformer",
            "memory",
            transformer(3, 2),
            18,
            &["x", "mems", "mems_u"],
            z,
        ),
        ("mdeq", "golden", json!({ "type": "mdeq" }), 80, &["x"], z),
    ]
}

/// The parameters of a golden file as the state dict of the original module, in f32. With `weight_norm`, the weights of
/// positive concave layers are lengths and directions, as their code keeps them.
fn state_dict(arrays: &Arrays, weight_norm: bool) -> Vec<u8> {
    let mut all: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, values: &[f64]| {
        let bytes = values
            .iter()
            .flat_map(|&value| (value as f32).to_le_bytes());
        all.push((name, shape, bytes.collect()));
    };
    for (name, (shape, values)) in arrays {
        let Some(name) = name.strip_prefix("param.") else {
            continue;
        };
        match weight_norm && name == "W.weight" {
            true => {
                let length = |row: &[f64]| row.iter().map(|w| w * w).sum::<f64>().sqrt();
                let lengths: Vec<f64> = values.chunks_exact(shape[1]).map(length).collect();
                add(format!("{name}_g"), vec![shape[0], 1], &lengths);
                // Of any length.
                let doubled: Vec<f64> = values.iter().map(|w| 2.0 * w).collect();
                add(format!("{name}_v"), shape.clone(), &doubled);
            }
            false => add(name.to_owned(), shape.clone(), values),
        }
    }
    let views = all.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a view");
        (name.as_str(), view)
    });
    safetensors::serialize(views, None).expect("bytes")
}

fn output(arrays: &Arrays, case: &Case, file: &std::path::Path) -> Vec<f64> {
    let (_, _, config, state, inputs, _) = case;
    let device = Cpu::default();
    let config = registry::make::<dyn LayerConfig>(config).expect("it parses");
    let x: Vec<Matrix<f32, Cpu>> = (inputs.iter())
        .map(|name| {
            let (shape, values) = &arrays[&format!("input.{name}")];
            let values = values.iter().map(|&value| value as f32).collect();
            from_host(&device, values, (shape[0], shape[1])).expect("memory")
        })
        .collect();
    let widths: Vec<usize> = x.iter().map(|x| x.shape().1).collect();
    let request = LayerRequest {
        state: *state,
        inputs: &widths,
        init: &mut Initializer::new(&device, 7),
    };
    let layer: AnyLayer<f32, Cpu> =
        <Cpu as Backend<f32>>::build::<Layers>(&*config, request).expect("it builds");
    let mut renamed = Renamed::new(layer, config.original_names());
    let checkpoint = Checkpoint::read(file).expect("a state dict");
    checkpoint
        .load(&mut renamed)
        .expect("it loads by the table");
    // Of several equilibria, the reference has the one that plain iteration comes to.
    let solver = match case.0 {
        "deq_transformer" | "mdeq" | "positive_concave" => "picard",
        _ => "newton-gmres",
    };
    let mut equilibrium = Equilibrium::new(
        renamed.inner,
        registry::default::<dyn FixedPointSolver>(solver).expect("registered"),
        equilibria_fusion::solvers::backward("implicit").expect("registered"),
    );
    equilibrium.stop = Stop {
        max_evaluations: 5000,
        patience: 300,
        ..Stop::at(Tolerance::relative(2e-7))
    };
    let solved = equilibrium.forward(&x, NoneTape).expect("it runs");
    let output = equilibrium.output(solved.z, &x).expect("it runs");
    to_host(&output).into_iter().map(f64::from).collect()
}

#[test]
fn state_dicts_of_the_original_code_load_by_table() {
    let folder = tempfile::tempdir().expect("a folder");
    for case in cases() {
        let (name, stem, _, _, _, array) = &case;
        let arrays = read(&golden().join(format!("zoo/{name}/{stem}.safetensors")));
        for weight_norm in [false, true] {
            let file = folder.path().join("state_dict.safetensors");
            std::fs::write(&file, state_dict(&arrays, weight_norm)).expect("written");
            let output = output(&arrays, &case, &file);
            let expected = &arrays[*array].1;
            assert_eq!(output.len(), expected.len(), "{name}, {stem}");
            let pairs = output.iter().zip(expected);
            let error = pairs.map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
            let error = error.fold(0.0, f64::max);
            // ε = 6e-8, times the condition of the equations.
            assert!(error < 1e-5, "{name}, {stem}: {error:e}");
        }
    }
}
