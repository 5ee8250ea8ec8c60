//! Contracts of all registered layers: a new layer is tested without an edit.

#[path = "every_layer/certificates.rs"]
mod certificates;
#[path = "every_layer/formed.rs"]
mod formed;
#[path = "every_layer/solvers.rs"]
mod solvers;
#[path = "every_layer/sparse.rs"]
mod sparse;

use std::path::Path;
use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::{to_host, AnyLayer, Equilibrium, StepOnly};
use equilibria_layers::{Initializer, LayerConfig, LayerRequest, Layers, Masked, Sizes};
use equilibria_testing::{
    check_row_map, check_tangent_gradients, perturb, random_matrix, relative_difference, OnRows,
};
use rayon::prelude::*;

/// State and input width; a multiple of the default number of groups, but not of the lanes of a vector register.
const WIDTH: usize = 12;

fn parsed(config: &Value) -> Box<dyn LayerConfig> {
    registry::make::<dyn LayerConfig>(config).expect("it parses")
}

/// A layer with no parameter left at a special value, of this width where it takes any.
fn layer<E: Scalar>(config: &Value, width: usize) -> AnyLayer<E, Cpu>
where
    Cpu: Backend<E>,
{
    let device = Cpu::default();
    let config = parsed(config);
    let sizes = config.sizes().unwrap_or(Sizes {
        state: width,
        inputs: vec![width],
    });
    let request = LayerRequest {
        state: sizes.state,
        inputs: &sizes.inputs,
        init: &mut Initializer::new(&device, 1),
    };
    let mut layer = <Cpu as Backend<E>>::build::<Layers>(&*config, request).expect("it builds");
    perturb(&mut layer, 0.3, 2).expect("memory");
    layer.project().expect("memory");
    layer
}

/// A random state and random inputs, above 0 where the layer needs them so.
fn arguments<E: Scalar>(
    config: &Value,
    layer: &AnyLayer<E, Cpu>,
    batch: usize,
) -> (Matrix<E, Cpu>, Vec<Matrix<E, Cpu>>)
where
    Cpu: Backend<E>,
{
    let positive = parsed(config).needs_positive();
    let matrix = |width: usize, seed: u64| {
        let matrix = random_matrix(&Cpu::default(), (batch, width), seed).expect("memory");
        match positive {
            true => matrix.abs(),
            false => matrix,
        }
    };
    let x = (4..).zip(layer.input_dims());
    let x = x.map(|(seed, width)| matrix(width, seed)).collect();
    (matrix(layer.state_dim(), 3), x)
}

/// Sizes of a batch and a width. Where groups of columns are normalized, widths fill one to eight registers, here or on other
/// processors, or none; where a layer has sizes of its own, the width is not looked at.
fn sizes(config: &Value, batches: &[usize], wide: &[usize]) -> Vec<(usize, usize)> {
    let batches = match parsed(config).sizes() {
        None => batches,
        Some(_) => &batches[..1],
    };
    let narrow = batches.iter().map(|&batch| (batch, WIDTH));
    let grouped = config.get("groups").is_some();
    let wide = wide.iter().filter(|_| grouped);
    narrow.chain(wide.map(|&width| (5, width))).collect()
}

/// All defaults, and options that change the map.
fn configurations() -> Vec<Value> {
    let plugins = registry::of_kind("layer").expect("layers are linked");
    let mut all: Vec<Value> = plugins.into_iter().map(|plugin| plugin.default).collect();
    all.push(json!({ "type": "residual-block", "skip": true }));
    all.push(json!({ "type": "residual-block", "groups": 1 }));
    all.push(json!({ "type": "mondeq", "alpha": 0.5 }));
    all.push(json!({ "type": "nemon", "alpha": 0.5, "activation": "softplus" }));
    all.push(json!({ "type": "positive-concave", "activation": "softsign" }));
    all.push(json!({ "type": "implicit-representation", "filter": "fourier", "blocks": 2 }));
    all.push(json!({ "type": "implicit-representation", "filter": "gabor" }));
    all.push(json!({ "type": "quadratic-program", "equalities": 0 }));
    all.push(json!({ "type": "ignn", "activation": "tanh", "normalize": false }));
    all.push(json!({ "type": "transformer", "causal": false, "positions": "learned" }));
    all.push(json!({ "type": "transformer", "memory": 2, "norm": "pre-normalized" }));
    all.push(json!({ "type": "mdeq", "image": 1 }));
    all
}

#[test]
fn every_map_in_rows_agrees_with_its_step() {
    configurations().into_par_iter().for_each(|config| {
        for (batch, width) in sizes(&config, &[7, 33], &[108, 32, 64, 128, 256]) {
            let layer = layer::<f64>(&config, width);
            let (z, x) = arguments(&config, &layer, batch);
            let difference = check_row_map(&layer, &z, &x).expect("both work");
            // Sums of at most 33 · 12 or 5 · 256 terms, ε = 2e-16 each, through three normalizations.
            assert!(
                difference.is_none_or(|d| d < 2e-12),
                "{config}, width {width}: {difference:?}"
            );
        }
    });
}

/// In f32, where factors may be rounded.
#[test]
fn a_linearization_leaves_the_value_to_the_last_bit() {
    for config in configurations() {
        for (batch, width) in sizes(&config, &[7], &[108, 128, 256]) {
            let layer = layer::<f32>(&config, width);
            let (z, x) = arguments(&config, &layer, batch);
            let Some(map) = layer.row_map() else {
                continue;
            };
            let (dim, z) = (layer.state_dim(), to_host(&z));
            let exact = OnRows::new(map.clone(), dim, &x);
            let rounded = OnRows::new(map, dim, &x).rounded();
            for mut map in std::iter::once(exact).chain(rounded) {
                let (value, linearized) = (map.apply(&z), map.linearize(&z));
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&value), bits(&linearized), "{config}, width {width}");
            }
        }
    }
}

#[test]
fn every_map_knows_the_gradients_of_its_jacobian_products() {
    for config in configurations() {
        for (batch, width) in sizes(&config, &[7], &[32, 108]) {
            let layer = layer::<f64>(&config, width);
            let (z, x) = arguments(&config, &layer, batch);
            let difference = check_tangent_gradients(&layer, &z, &x).expect("it works");
            // h² = 1e-12 times third derivatives, which groups of three numbers make large.
            assert!(
                difference.is_some_and(|d| d < 1e-7),
                "{config}, width {width}: {difference:?}"
            );
        }
    }
}

/// A layer that lost its map in rows, or a map that lost its product J v, would pass the test above.
#[test]
fn layers_of_this_crate_have_maps_with_jacobian_products() {
    for config in configurations() {
        let map = layer::<f64>(&config, WIDTH).row_map().expect("a map");
        assert!(map.tangents().is_some(), "{config}");
    }
}

/// A check that cannot see a mistake is no check: the map in rows of one layer, the step of another.
#[test]
fn the_check_of_maps_sees_small_mistakes() {
    #[derive(Clone)]
    struct Wrong(AnyLayer<f64, Cpu>, AnyLayer<f64, Cpu>);

    impl Parameters<f64, Cpu> for Wrong {
        fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {
            self.0.visit(path, visitor);
        }
        fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {
            self.0.visit_mut(path, visitor);
        }
    }

    // Only used in f64 on the CPU; `ImplicitLayer` fixes both here.
    impl ImplicitLayer<f64, Cpu> for Wrong {
        fn state_dim(&self) -> usize {
            self.0.state_dim()
        }
        fn input_dims(&self) -> Vec<usize> {
            self.0.input_dims()
        }
        fn step(
            &self,
            z: &equilibria_core::Value<f64, Cpu>,
            x: &[equilibria_core::Value<f64, Cpu>],
        ) -> Result<equilibria_core::Value<f64, Cpu>> {
            self.0.step(z, x)
        }
        fn row_map(&self) -> Option<Arc<dyn RowMap<f64>>> {
            self.1.row_map()
        }
    }

    let device = Cpu::default();
    let z = random_matrix(&device, (5, WIDTH), 3).expect("a state");
    let x = [random_matrix(&device, (5, WIDTH), 4).expect("inputs")];
    let right = layer::<f64>(&json!({ "type": "residual-block" }), WIDTH);
    let mut other = right.clone();
    perturb(&mut other, 1e-6, 5).expect("memory");
    let difference = check_row_map(&Wrong(right, other), &z, &x).expect("both work");
    assert!(difference.is_some_and(|d| d > 1e-7), "{difference:?}");
}

#[test]
fn single_precision_is_the_same_map() {
    for config in configurations() {
        let (double, single) = (layer::<f64>(&config, WIDTH), layer::<f32>(&config, WIDTH));
        let (z, x) = arguments(&config, &double, 5);
        let exact = to_host(&equilibria_core::apply(&double, z, &x).expect("a value"));
        let (z, x) = arguments(&config, &single, 5);
        let rounded = to_host(&equilibria_core::apply(&single, z, &x).expect("a value"));
        let rounded: Vec<f64> = rounded.into_iter().map(f64::from).collect();
        // ε = 1.2e-7, sums of 12 terms, three normalizations that divide by deviations of order 1.
        assert!(relative_difference(&rounded, &exact) < 1e-5, "{config}");
    }
}

#[test]
fn every_file_is_one_layer_of_its_name() {
    let plugins = registry::of_kind("layer").expect("linked");
    for plugin in &plugins {
        let stem = Path::new(plugin.file)
            .file_stem()
            .and_then(|stem| stem.to_str());
        assert_eq!(stem, Some(plugin.name.as_str()), "{}", plugin.file);
        let made = registry::make::<dyn LayerConfig>(&plugin.default).expect("it parses");
        let text = equilibria_core::serde_json::to_value(&made).expect("serializable");
        assert_eq!(text, plugin.default);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plugins");
    let files = std::fs::read_dir(folder).expect("the plugin folder");
    assert_eq!(plugins.len(), files.count());
}

#[test]
fn bad_requests_are_refused_by_name() {
    let device = Cpu::default();
    let refusal = |config: Value, state: usize, inputs: &[usize]| {
        let config = registry::make::<dyn LayerConfig>(&config).expect("it parses");
        let init = &mut Initializer::new(&device, 1);
        let request = LayerRequest {
            state,
            inputs,
            init,
        };
        let built = <Cpu as Backend<f64>>::build::<Layers>(&*config, request);
        built.err().expect("refused").to_string()
    };
    let residual = || json!({ "type": "residual-block" });
    assert_eq!(
        refusal(residual(), 8, &[4]),
        "`residual-block`: `inputs` must be one, as wide as the state, got [4]"
    );
    assert_eq!(
        refusal(residual(), 6, &[6]),
        "`group-norm`: `groups` must be a divisor of the width, with at least two features to a group, got 4 for width 6"
    );
    // A feature alone in its group is its own mean: every row would be the bias.
    for width in [4, 1] {
        let config = json!({ "type": "residual-block", "groups": width });
        let message = refusal(config, width, &[width]);
        assert!(
            message.ends_with(&format!(
                "two features to a group, got {width} for width {width}"
            )),
            "{message}"
        );
    }
    assert_eq!(
        refusal(
            json!({ "type": "residual-block", "deviation": 0.0 }),
            8,
            &[8]
        ),
        "`residual-block`: `deviation` must be finite and above 0, got 0"
    );
    assert_eq!(
        refusal(json!({ "type": "affine-tanh", "gain": -1.0 }), 8, &[8]),
        "`affine-tanh`: `gain` must be finite and above 0, got -1"
    );
    assert_eq!(
        refusal(json!({ "type": "affine-tanh" }), 8, &[8, 8]),
        "`affine-tanh`: `inputs` must be one injected input, got 2 inputs"
    );
}

#[test]
fn a_transformer_without_a_last_norm_is_refused_with_the_reason() {
    let config = parsed(&json!({ "type": "transformer", "norm": "pre" }));
    let message = config.validate().expect_err("refused").to_string();
    assert!(
        message.contains("I − J is singular everywhere"),
        "{message}"
    );
    let config = parsed(&json!({ "type": "transformer", "causal": false }));
    let message = config.validate().expect_err("refused").to_string();
    assert!(message.contains("`positions`"), "{message}");
}

/// A parameter that is not a number makes f so: in rows, by `step`, with masks, in both dtypes, also rounded.
#[test]
fn nan_inside_a_layer_is_never_a_converged_sample() {
    fn check<E: Scalar>(config: &Value, width: usize)
    where
        Cpu: Backend<E>,
    {
        let whole = layer::<E>(config, width);
        let (_, x) = arguments(config, &whole, 5);
        let ones: Matrix<E, Cpu> = Cpu::default().ones_like(&(5, whole.state_dim()));
        for (index, (name, _)) in whole.named().into_iter().enumerate() {
            let (mut spoiled, mut number) = (whole.clone(), 0);
            spoiled.visit_mut("", &mut |_, tensor| {
                if number == index {
                    let mut values = to_host(tensor);
                    values[0] = E::nan();
                    tensor.copy_from(&values);
                }
                number += 1;
            });
            let masked = [&x[..], std::slice::from_ref(&ones)].concat();
            for rounded in [false, true] {
                let all = [
                    statuses(spoiled.clone(), &x, rounded),
                    statuses(StepOnly(spoiled.clone()), &x, rounded),
                    statuses(Masked(spoiled.clone()), &masked, rounded),
                    statuses(StepOnly(Masked(spoiled.clone())), &masked, rounded),
                ];
                for statuses in all {
                    assert_eq!(statuses, [Status::NonFinite; 5], "{config}, {name}");
                }
            }
        }
    }
    configurations().into_par_iter().for_each(|config| {
        for (_, width) in sizes(&config, &[5], &[128]) {
            check::<f64>(&config, width);
            check::<f32>(&config, width);
        }
    });
}

fn statuses<E: Scalar, L: ImplicitLayer<E, Cpu>>(
    layer: L,
    x: &[Matrix<E, Cpu>],
    rounded: bool,
) -> Vec<Status>
where
    Cpu: Backend<E>,
{
    let solver = equilibria_solvers::solver("anderson").expect("registered");
    let backward = equilibria_solvers::backward("implicit").expect("registered");
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.stop.rounded = rounded;
    equilibrium.stop.on_unconverged = OnUnconverged::Accept;
    let solved = equilibrium.forward(x, NoneTape).expect("it runs");
    let samples = solved.report.samples.iter();
    samples.map(|sample| sample.status).collect()
}
