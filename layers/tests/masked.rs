//! One dropout mask for a whole solve: map in rows and gradients.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, AnyLayer, Equilibrium};
use equilibria_layers::masked::Masked;
use equilibria_layers::modules::dropout_mask;
use equilibria_layers::solvers::backward::implicit::Implicit;
use equilibria_layers::solvers::solver;
use equilibria_layers::{Initializer, LayerConfig, LayerRequest, Layers};
use equilibria_testing::{check_equilibrium, check_row_map, perturb, random_matrix};

const WIDTH: usize = 6;

fn layer(config: &str) -> AnyLayer<f64, Cpu> {
    let config = equilibria_core::serde_json::from_str(config).expect("JSON");
    let config = registry::make::<dyn LayerConfig>(&config).expect("it parses");
    let request = LayerRequest {
        state: WIDTH,
        inputs: &[WIDTH],
        init: &mut Initializer::new(&Cpu::default(), 1),
    };
    let mut layer = <Cpu as Backend<f64>>::build::<Layers>(&*config, request).expect("it builds");
    perturb(&mut layer, 0.05, 2).expect("memory");
    layer
}

fn layers() -> [AnyLayer<f64, Cpu>; 2] {
    [
        layer(r#"{ "type": "affine-tanh" }"#),
        layer(r#"{ "type": "residual-block", "groups": 2, "deviation": 0.2 }"#),
    ]
}

fn inputs(batch: usize) -> [Matrix<f64, Cpu>; 2] {
    let device = Cpu::default();
    let x = random_matrix(&device, (batch, WIDTH), 5).expect("memory");
    [
        x,
        dropout_mask(&device, (batch, WIDTH), 0.4, 6).expect("a mask"),
    ]
}

fn exact<L>(layer: L) -> Equilibrium<L> {
    let stop = Stop {
        max_evaluations: 400,
        on_unconverged: OnUnconverged::Error,
        ..Stop::at(Tolerance::relative(1e-13))
    };
    let implicit = Implicit {
        stop: stop.clone(),
        ..Implicit::default()
    };
    let backward: Arc<dyn BackwardStrategy> = Arc::new(implicit);
    let mut equilibrium = Equilibrium::new(layer, solver("anderson").expect("one"), backward);
    equilibrium.stop = stop;
    equilibrium
}

#[test]
fn the_map_in_rows_agrees_with_the_step() {
    let z = random_matrix(&Cpu::default(), (9, WIDTH), 3).expect("memory");
    for layer in layers() {
        let (layer, inputs) = (Masked(layer), inputs(9));
        let map = layer.row_map().expect("a map");
        assert!(map.tangents().is_some(), "no product J v");
        let difference = check_row_map(&layer, &z, &inputs).expect("both work");
        // As for the layer inside: sums of some hundred terms, ε = 2e-16 each, through three normalizations.
        assert!(difference.is_some_and(|d| d < 1e-12), "{difference:?}");
    }
}

#[test]
fn gradients_are_exact_also_by_the_mask() {
    for layer in layers() {
        let error = check_equilibrium(&exact(Masked(layer)), &inputs(3), 2e-5).expect("solvable");
        // Solves good to 1e-13 and a step of 2e-5 leave 5e-9, times a few for ‖(I − J)⁻¹‖.
        assert!(error < 1e-7, "{error:e}");
    }
}

#[test]
fn the_equilibrium_is_that_of_the_masked_map() {
    for layer in layers() {
        let [x, mask] = inputs(3);
        let solved = exact(Masked(layer.clone()))
            .forward(&[x.clone(), mask.clone()], NoneTape)
            .expect("solvable");
        let again = equilibria_core::apply(&layer, solved.z.clone() * mask, &[x]).expect("a value");
        let gap = to_host(&(again - solved.z)).into_iter().map(f64::abs);
        // A relative residual of 1e-13 on states of order 1.
        assert!(gap.fold(0.0, f64::max) < 1e-12);
    }
}
