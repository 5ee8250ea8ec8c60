//! CUDA against the CPU, by a loop over every registry: a new plugin is tested without an edit.
//!
//! Runs on a GPU, or on the stand-in of `core/testing/cuda`.

#[path = "cuda/guards.rs"]
mod guards;
#[path = "cuda/solved.rs"]
mod solved;
#[path = "cuda/trained.rs"]
mod trained;

use dfdx::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::{cuda, registry, to_host, Backend, ImplicitLayer, Matrix, Scalar, Vectors};
use equilibria_fusion::layers::projection::ConvexSet;
use equilibria_testing::relative_difference;

/// Something that gives numbers on every device.
trait Work {
    fn on<E: Scalar, D: Backend<E>>(&self, device: &D) -> Numbers;
}

/// Numbers with names.
type Numbers = Vec<(String, Vec<f64>)>;

fn numbers<E: Scalar, D: Backend<E>>(tensor: &Matrix<E, D>) -> Vec<f64> {
    to_host(tensor).into_iter().map(E::wide).collect()
}

/// One device for all that a test does: each loads its kernels anew.
fn device() -> Cuda {
    thread_local! {
        static DEVICE: Cuda = cuda::open(0).expect("a device");
    }
    DEVICE.with(Cuda::clone)
}

/// What differs, with how much, among all that is computed in f64 and f32.
fn differences(what: &str, work: &impl Work, [double, single]: [f64; 2]) -> Vec<String> {
    let mut beyond = differences_in_double(what, work, double);
    let device = device();
    let in_single = pairs(
        work.on::<f32, _>(&device),
        work.on::<f32, _>(&Cpu::default()),
    );
    beyond.extend(too_large(&format!("{what}, f32"), in_single, single));
    beyond
}

/// What differs among all that is computed in f64.
fn differences_in_double(what: &str, work: &impl Work, allowed: f64) -> Vec<String> {
    let device = device();
    let in_double = pairs(
        work.on::<f64, _>(&device),
        work.on::<f64, _>(&Cpu::default()),
    );
    too_large(&format!("{what}, f64"), in_double, allowed)
}

fn too_large(what: &str, pairs: Vec<(String, f64)>, allowed: f64) -> Vec<String> {
    let beyond = |pair: &(String, f64)| pair.1.is_nan() || pair.1 > allowed;
    let beyond = pairs.into_iter().filter(beyond);
    let tell = |(name, difference)| format!("{what}, {name}: {difference:e}");
    beyond.map(tell).collect()
}

fn pairs(cuda: Numbers, cpu: Numbers) -> Vec<(String, f64)> {
    assert_eq!(cuda.len(), cpu.len());
    let pairs = cuda.into_iter().zip(cpu);
    pairs
        .map(|((name, cuda), (same, cpu))| {
            assert_eq!(name, same);
            (name, relative_difference(&cuda, &cpu))
        })
        .collect()
}

/// Sums of tens of terms, amplified by an inverse of I − J that is small: a few hundred ε in f64. In f32 solves end at 1e-6.
const ALLOWED: [f64; 2] = [1e-10, 1e-4];

/// The default configuration of every plugin of a kind.
fn defaults(kind: &str) -> Vec<Value> {
    let plugins = registry::of_kind(kind).expect("linked").into_iter();
    plugins.map(|plugin| plugin.default).collect()
}

fn none(beyond: Vec<String>) {
    assert!(beyond.is_empty(), "{}", beyond.join("\n"));
}

/// Every layer, and options that change the map.
fn layers() -> Vec<Value> {
    let mut layers = defaults("layer");
    // What f32 leaves unsolved is divided by this: with 0.1, both devices are 1e-4 away from the solution, each in its own way.
    let sparse = layers
        .iter_mut()
        .filter(|layer| layer["type"] == "sparse-coding");
    sparse.for_each(|layer| layer["ridge"] = json!(1.0));
    // Not in groups of three: what f32 leaves unsolved is not small there.
    layers.push(json!({ "type": "residual-block", "skip": true, "groups": 1 }));
    layers.push(json!({ "type": "residual-block", "groups": 1 }));
    layers
}

/// The layer with the first of some solvers that solves it: where samples do not converge, how they go on is a matter of rounding.
fn solved(layer: Value) -> solved::Solve {
    let solvers = ["picard", "anderson", "newton-gmres", "chain", "broyden"];
    let tried = solvers.into_iter().map(|solver| solved::Solve {
        layer: layer.clone(),
        solver: json!({ "type": solver }),
        backward: json!({ "type": "implicit", "solver": { "type": "gmres" } }),
        ..solved::Solve::default()
    });
    let found = tried.into_iter().find(solved::Solve::converges);
    let unsolved = UNSOLVED.iter().any(|name| layer["type"] == *name);
    match found {
        Some(found) => found,
        // A few plain steps there and back.
        None if unsolved => solved::Solve {
            layer,
            solver: json!({ "type": "picard" }),
            backward: json!({ "type": "neumann", "terms": 3 }),
            evaluations: 3,
            ..solved::Solve::default()
        },
        None => panic!("nothing solves {layer}"),
    }
}

/// Layers whose equations, with random parameters, no solver here solves.
const UNSOLVED: [&str; 1] = ["mdeq"];

#[test]
fn every_layer_solves_and_differentiates_alike() {
    let check = |layer: Value| differences(&layer.to_string(), &solved(layer), ALLOWED);
    none(layers().into_iter().flat_map(check).collect());
    // Groups of 125, which is no multiple of what threads come in.
    let wide = solved::Solve {
        layer: json!({ "type": "residual-block" }),
        width: 500,
        ..solved::Solve::default()
    };
    none(differences("width 500", &wide, ALLOWED));
}

#[test]
fn every_solver_solves_alike() {
    let check = |solver: Value| {
        // A smooth map, or for solvers of linear equations a linear one.
        let tried = ["affine-tanh", "eignn"].map(|layer| solved::Solve {
            layer: json!({ "type": layer }),
            solver: solver.clone(),
            ..solved::Solve::default()
        });
        let found = tried.into_iter().find(solved::Solve::converges);
        let work = found.unwrap_or_else(|| panic!("{solver} solves none"));
        differences(&solver.to_string(), &work, ALLOWED)
    };
    none(defaults("solver").into_iter().flat_map(check).collect());
}

#[test]
fn every_backward_strategy_differentiates_alike() {
    let check = |backward: Value| {
        let work = solved::Solve {
            // One that learns an inverse, which some strategies take over.
            solver: json!({ "type": "broyden" }),
            backward: backward.clone(),
            ..solved::Solve::default()
        };
        assert!(work.converges(), "{backward}");
        differences(&backward.to_string(), &work, ALLOWED)
    };
    none(defaults("backward").into_iter().flat_map(check).collect());
}

#[test]
fn every_regularizer_penalizes_alike() {
    let check = |regularizer: Value| {
        let work = solved::Solve {
            regularizer: Some(regularizer.clone()),
            ..solved::Solve::default()
        };
        differences(&regularizer.to_string(), &work, ALLOWED)
    };
    let regularizers = defaults("regularizer").into_iter();
    none(regularizers.flat_map(check).collect());
}

#[test]
fn projections_find_the_same_point() {
    let sets = [0.0, 0.25]
        .map(ConvexSet::AtLeast)
        .into_iter()
        .chain([0.5, 3.5, 340.0, 1e4].map(ConvexSet::RowsInL1Ball))
        .chain([0.75, 1.5, 16.0].map(ConvexSet::ColumnsInL2Ball));
    let check = |set| differences(&format!("{set:?}"), &trained::Projected(set), ALLOWED);
    none(sets.flat_map(check).collect());
}

#[test]
fn penalties_on_every_layer_are_differentiated_alike() {
    let check = |layer: Value| {
        let work = solved::Solve {
            regularizer: Some(json!({ "type": "jacobian" })),
            ..solved(layer.clone())
        };
        differences_in_double(&layer.to_string(), &work, ALLOWED[0])
    };
    none(layers().into_iter().flat_map(check).collect());
}

/// Off by the step squared, or rounding divided by it.
const BY_DIFFERENCES: f64 = 1e-5;

/// As a layer is with an operation of the user's own: differences take the place of tangents, also of the gradient of a penalty.
#[test]
fn layers_in_dfdx_operations_solve_and_differentiate_alike() {
    for name in ["residual-block", "transformer"] {
        let mut work = solved::Solve {
            step_only: true,
            ..solved(json!({ "type": name }))
        };
        none(differences_in_double(name, &work, ALLOWED[0]));
        work.regularizer = Some(json!({ "type": "jacobian" }));
        none(differences_in_double(name, &work, BY_DIFFERENCES));
    }
}

/// Every layer runs in kernels of our own: a product with the Jacobian is exact, and counts as one evaluation.
#[test]
fn every_layer_has_exact_tangents() {
    let device = device();
    for config in layers() {
        let work = solved::Solve {
            layer: config.clone(),
            ..solved::Solve::default()
        };
        let layer = work.layer::<f64, _>(&device);
        let (batch, dim) = (3, layer.state_dim());
        let inputs = layer.input_dims().into_iter();
        let inputs: Vec<_> = inputs
            .map(|width| device.ones_like(&(batch, width)))
            .collect();
        let space = <Cuda as Backend<f64>>::space(&layer, &device, &inputs, batch);
        let mut space = space.expect("a space");
        let z = space
            .adopt(device.zeros_like(&(batch, dim)))
            .expect("memory");
        space.linearize(z).expect("it runs");
        let out = space.alloc().expect("memory");
        assert_eq!(space.jvp(z, out).expect("it runs"), 1, "{config}");
    }
}

#[test]
fn every_stabilizer_stabilizes_alike() {
    let check = |stabilizer: Value| {
        let work = trained::Stabilized(stabilizer.clone());
        differences(&stabilizer.to_string(), &work, ALLOWED)
    };
    none(defaults("stabilizer").into_iter().flat_map(check).collect());
}

#[test]
fn every_optimizer_takes_the_same_steps() {
    let optimizers = [
        json!({ "type": "sgd", "momentum": 0.5, "weight_decay": 0.1 }),
        json!({ "type": "adam", "weight_decay": 0.1 }),
        json!({ "type": "adamw", "weight_decay": 0.1 }),
    ];
    let check = |optimizer: Value| {
        let work = trained::Optimized(optimizer.clone());
        differences(&optimizer.to_string(), &work, ALLOWED)
    };
    none(optimizers.into_iter().flat_map(check).collect());
}

#[test]
fn every_fusion_trains_alike() {
    let mut fusions = defaults("fusion");
    let deq = |key: &str, value: Value| json!({ "type": "deq", key: value });
    fusions.push(deq("schedule", json!("joint")));
    fusions.push(deq("dropout", json!(0.2)));
    fusions.push(deq("regularizer", json!([{ "type": "jacobian" }])));
    fusions.push(deq("start", json!("warm")));
    fusions.push(deq("start", json!("learned")));
    fusions.push(deq("stabilizer", json!([{ "type": "spectral-norm" }])));
    let check = |fusion: Value| {
        let work = trained::Train {
            fusion: fusion.clone(),
            ..trained::Train::default()
        };
        differences(&fusion.to_string(), &work, TRAINED)
    };
    none(fusions.into_iter().flat_map(check).collect());
}

/// After two epochs; Adam divides by roots of means that may be small.
const TRAINED: [f64; 2] = [1e-8, 1e-2];

#[test]
fn every_head_trains_alike() {
    let check = |head: Value| {
        let work = trained::Train {
            head: head.clone(),
            ..trained::Train::default()
        };
        differences(&head.to_string(), &work, TRAINED)
    };
    none(defaults("head").into_iter().flat_map(check).collect());
}
