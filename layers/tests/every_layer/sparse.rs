//! Matrices of a row most of whose entries are 0, such as graphs with few edges.

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::{from_host, AnyLayer, Equilibrium, StepOnly};
use equilibria_testing::{check_row_map, check_tangent_gradients, random_values, OnRows};

use super::{arguments, layer};

const BATCH: usize = 5;

const NODES: usize = 11;

/// Graphs with few edges but the second one, which has all; the third one has none, and the fourth one edges from one node alone.
fn edges() -> Vec<f64> {
    let mut edges = random_values(BATCH * NODES * NODES, 9);
    let kept = random_values(edges.len(), 10);
    for (place, edge) in edges.iter_mut().enumerate() {
        let (graph, from) = (place / (NODES * NODES), place / NODES % NODES);
        let there = match graph {
            1 => true,
            2 => false,
            3 => from == 4,
            _ => kept[place] > 1.2,
        };
        *edge *= if there { 0.3 } else { 0.0 };
    }
    edges
}

fn layers() -> Vec<Value> {
    let ignn = |normalize: bool| json!({ "type": "ignn", "nodes": NODES, "activation": "tanh", "normalize": normalize });
    let eignn = json!({ "type": "eignn", "nodes": NODES, "width": 3, "normalize": false });
    vec![ignn(false), ignn(true), eignn]
}

/// As they are in tensors, which know no sparse matrices: values, products with J and Jᵀ, gradients, those of absent edges among them.
#[test]
fn graphs_with_few_edges_have_the_maps_and_gradients_of_dense_ones() {
    for config in layers() {
        let layer = layer::<f64>(&config, 0);
        let (z, mut x) = arguments(&config, &layer, BATCH);
        x[1] = from_host(&Cpu::default(), edges(), (BATCH, NODES * NODES)).expect("memory");
        let difference = check_row_map(&layer, &z, &x).expect("both work");
        assert!(
            difference.is_some_and(|d| d < 2e-12),
            "{config}: {difference:?}"
        );
        let difference = check_tangent_gradients(&layer, &z, &x).expect("it runs");
        assert!(
            difference.is_some_and(|d| d < 1e-5),
            "{config}: {difference:?}"
        );
    }
}

/// Gradients that nobody asks for are 0, in rows and in tensors, and leave the others as they are.
#[test]
fn edges_get_no_gradient_where_none_is_wanted() {
    for config in layers() {
        let gradients = |wanted: bool, in_tensors: bool| {
            let mut config = config.clone();
            config["edge_gradients"] = json!(wanted);
            let layer = layer::<f64>(&config, 0);
            let (_, mut x) = arguments(&config, &layer, BATCH);
            x[1] = from_host(&Cpu::default(), edges(), (BATCH, NODES * NODES)).expect("memory");
            let layer = match in_tensors {
                true => AnyLayer::new(StepOnly(layer)),
                false => layer,
            };
            let solver = equilibria_solvers::solver("newton-gmres").expect("registered");
            let backward = equilibria_solvers::backward("implicit").expect("registered");
            let mut equilibrium = Equilibrium::new(layer, solver, backward);
            equilibrium.stop = Stop::at(Tolerance::relative(1e-12));
            let solved = equilibrium
                .forward(&x, OwnedTape::default())
                .expect("it runs");
            let mut gradients = solved.z.square().sum::<Rank0, _>().backward();
            let mut of = |tensor: &Matrix<f64, Cpu>| {
                gradients.try_alloc_for(tensor).expect("memory");
                gradients.get(tensor).as_vec()
            };
            let parameters = equilibrium.named();
            let mut all: Vec<_> = parameters.iter().map(|(_, tensor)| of(tensor)).collect();
            all.push(of(&x[0]));
            (all, of(&x[1]))
        };
        for in_tensors in [false, true] {
            let ((others, of_edges), (same, none)) =
                (gradients(true, in_tensors), gradients(false, in_tensors));
            assert!(of_edges.iter().any(|entry| *entry != 0.0), "{config}");
            assert!(none.iter().all(|entry| *entry == 0.0), "{config}");
            assert_eq!(others, same, "{config}");
        }
    }
}

/// A state that is not finite meets no 0: where there is no edge nothing arrives, and where there is one it does.
#[test]
fn what_is_not_finite_goes_along_edges_alone() {
    let config = json!({ "type": "ignn", "nodes": NODES, "width": 1, "activation": "identity", "normalize": false });
    let layer = layer::<f64>(&config, 0);
    let (z, mut x) = arguments(&config, &layer, 1);
    let mut edges = vec![0.0; NODES * NODES];
    edges[2 * NODES + 5] = 1.0;
    x[1] = from_host(&Cpu::default(), edges, (1, NODES * NODES)).expect("memory");
    let mut z = z.as_vec();
    z[2] = f64::NAN;
    let map = layer.row_map().expect("it is recorded");
    let value = OnRows::new(map, NODES, &x).apply(&z);
    for (node, value) in value.iter().enumerate() {
        assert_eq!(value.is_nan(), node == 5, "{node}: {value}");
    }
}
