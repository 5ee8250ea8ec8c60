//! State dicts under the names of the original code load by the table of a layer, and give the outputs of the original.

use dfdx::prelude::*;
use equilibria_core::{
    from_host, registry, to_host, AnyLayer, Backend, Equilibrium, FixedPointSolver, Matrix,
    OnUnconverged, Renamed, Scalar, Stop, Tolerance,
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

/// The output of a layer with the parameters of a state dict, solved to a relative tolerance, for the inputs rounded to f32.
fn output<E: Scalar>(
    arrays: &Arrays,
    case: &Case,
    file: &std::path::Path,
    tolerance: f64,
) -> Vec<f64>
where
    Cpu: Backend<E>,
{
    let (_, _, config, state, inputs, _) = case;
    let device = Cpu::default();
    let config = registry::make::<dyn LayerConfig>(config).expect("it parses");
    let x: Vec<Matrix<E, Cpu>> = (inputs.iter())
        .map(|name| {
            let (shape, values) = &arrays[&format!("input.{name}")];
            let values = values.iter().map(|&value| E::of(f64::from(value as f32)));
            from_host(&device, values.collect(), (shape[0], shape[1])).expect("memory")
        })
        .collect();
    let widths: Vec<usize> = x.iter().map(|x| x.shape().1).collect();
    let request = LayerRequest {
        state: *state,
        inputs: &widths,
        init: &mut Initializer::new(&device, 7),
    };
    let layer: AnyLayer<E, Cpu> =
        <Cpu as Backend<E>>::build::<Layers>(&*config, request).expect("it builds");
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
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::relative(tolerance))
    };
    let solved = equilibrium.forward(&x, NoneTape).expect("it runs");
    let output = equilibrium.output(solved.z, &x).expect("it runs");
    to_host(&output).into_iter().map(E::wide).collect()
}

/// The largest difference, of entries above 1 relative to them.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    let differences = pairs.map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    differences.fold(0.0, f64::max)
}

/// What outputs in f32 may be off by, beside those of the original with the same parameters.
fn allowed(name: &str) -> f64 {
    match name {
        // No original either; steps along its slowest direction shrink by 0.974 each, so that rounding counts some 40 times.
        "sparse_coding" => 1e-5,
        // By 0.95, so that it counts some 20 times.
        "qp" => 2e-6,
        _ => 1e-6,
    }
}

#[test]
fn state_dicts_of_the_original_code_load_by_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    for case in cases() {
        let (name, stem, _, _, _, array) = &case;
        let arrays = read(&golden().join(format!("zoo/{name}/{stem}.safetensors")));
        for weight_norm in [false, true] {
            let file = folder.path().join("state_dict.safetensors");
            std::fs::write(&file, state_dict(&arrays, weight_norm)).expect("written");
            // What the original gives with the parameters of this file, to 16 digits; a solve in f32 can do no better than rounding.
            let exact = output::<f64>(&arrays, &case, &file, 1e-14);
            let error = difference(&output::<f32>(&arrays, &case, &file, 1e-8), &exact);
            // The parameters of the golden file are those of this file up to 6e-8, which the equation amplifies.
            let rounded = difference(&exact, &arrays[*array].1);
            let near = error < allowed(name) && rounded < allowed(name);
            if !near {
                wrong.push(format!("{name}, {stem}: {error:e}, {rounded:e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
