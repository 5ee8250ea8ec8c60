//! Contracts of all registered stabilizers, and what each one promises.

use std::path::Path;
use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{self, json, Value};
use equilibria_core::{from_host, to_host, AnyLayer, Equilibrium};
use equilibria_layers::solvers::backward::implicit::Implicit;
use equilibria_layers::solvers::solver;
use equilibria_layers::stabilizer::Stabilizer;
use equilibria_layers::{
    stabilize, Initializer, LayerConfig, LayerRequest, Layers, StabilizerConfig, Stabilizers,
};
use equilibria_testing::{central_difference, perturb, random_matrix};

const WIDTH: usize = 6;

fn stabilizer(config: &Value) -> Box<dyn Stabilizer<f64, Cpu>> {
    let config = registry::make::<dyn StabilizerConfig>(config).expect("it parses");
    <Cpu as Backend<f64>>::build::<Stabilizers>(&*config, ()).expect("it builds")
}

/// W from V, without the way back.
fn effective(config: &Value, raw: &Matrix<f64, Cpu>) -> Vec<f64> {
    let traced = raw.clone().put_tape(OwnedTape::default());
    let (w, _) = stabilizer(config)
        .effective(traced)
        .expect("a matrix")
        .split_tape();
    to_host(&w)
}

fn layer(config: Value) -> AnyLayer<f64, Cpu> {
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

fn random(shape: (usize, usize), seed: u64) -> Matrix<f64, Cpu> {
    random_matrix(&Cpu::default(), shape, seed).expect("memory")
}

/// The largest singular value from the trace of (WᵀW)^p, p = 2⁴⁰, by squaring: σ ≤ tr^(1/2p) ≤ d^(1/2p) σ, and the
/// logarithm of the second factor is below 1e-11.
fn spectral_norm(w: &[f64], columns: usize) -> f64 {
    let rows = w.len() / columns;
    let gram = |i: usize, j: usize| {
        (0..rows)
            .map(|r| w[r * columns + i] * w[r * columns + j])
            .sum()
    };
    let mut power: Vec<f64> = (0..columns * columns)
        .map(|k| gram(k / columns, k % columns))
        .collect();
    let (mut logarithm, mut share) = (0.0, 0.5);
    for _ in 0..40 {
        let trace: f64 = (0..columns).map(|i| power[i * columns + i]).sum();
        logarithm += share * trace.ln();
        power.iter_mut().for_each(|p| *p /= trace);
        let entry = |i: usize, j: usize| {
            (0..columns)
                .map(|k| power[i * columns + k] * power[k * columns + j])
                .sum()
        };
        power = (0..columns * columns)
            .map(|k| entry(k / columns, k % columns))
            .collect();
        share /= 2.0;
    }
    logarithm.exp()
}

#[test]
fn spectral_norm_bounds_the_largest_singular_value() {
    for shape in [(6, 6), (9, 4), (3, 7)] {
        // Random matrices have no gap to speak of between their singular values: 20 power steps are too few.
        let config = json!({ "type": "spectral-norm", "bound": 0.9, "iterations": 400 });
        for seed in 0..5 {
            let raw = random(shape, seed);
            let sigma = spectral_norm(&effective(&config, &raw), shape.1);
            assert!(sigma <= 0.9 * (1.0 + 1e-6), "{shape:?}, {seed}: {sigma}");
            assert!(sigma >= 0.9 * (1.0 - 1e-6), "{shape:?}, {seed}: {sigma}");
        }
    }
    // With a gap of a third, (2/3)^80 = 1e-14 is left after the default 20 steps.
    let diagonal = vec![3.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, -1.0];
    let raw = from_host(&Cpu::default(), diagonal, (3, 3)).expect("memory");
    let sigma = spectral_norm(&effective(&json!({ "type": "spectral-norm" }), &raw), 3);
    assert!((sigma - 0.95).abs() < 1e-10, "{sigma}");
}

#[test]
fn clipping_leaves_small_matrices_alone() {
    let raw = random((4, 5), 1) * 0.01;
    for name in ["weight-norm", "spectral-norm"] {
        let clipped = effective(&json!({ "type": name }), &raw);
        let bits = |values: &[f64]| -> Vec<u64> { values.iter().map(|v| v.to_bits()).collect() };
        assert_eq!(bits(&clipped), bits(&to_host(&raw)), "{name}");
        let scaled = effective(&json!({ "type": name, "clip": false }), &raw);
        let (large, small) = (spectral_norm(&scaled, 5), spectral_norm(&to_host(&raw), 5));
        assert!(large > 10.0 * small, "{name}: {large} {small}");
    }
}

#[test]
fn weight_norm_makes_rows_of_the_given_length() {
    let mut values = to_host(&random((5, 7), 2));
    values[7..14].fill(0.0);
    let raw = from_host(&Cpu::default(), values.clone(), (5, 7)).expect("memory");
    let config = json!({ "type": "weight-norm", "target": 0.5, "clip": false });
    let w = effective(&config, &raw);
    for (index, (row, raw)) in w.chunks_exact(7).zip(values.chunks_exact(7)).enumerate() {
        let length = row.iter().map(|w| w * w).sum::<f64>().sqrt();
        let along: f64 = row.iter().zip(raw).map(|(w, v)| w * v).sum();
        match index {
            1 => assert!(row.iter().all(|w| w.to_bits() == 0)),
            // A sum of 7 squares, a root, a division and a product: some ten roundings of 1e-16.
            _ => assert!(
                (length - 0.5).abs() < 1e-14 && along > 0.0,
                "{index}: {length}"
            ),
        }
    }
}

#[test]
fn row_sum_bounds_the_sums_of_rows_and_leaves_small_ones() {
    let values = vec![0.5, -0.25, 0.0, 1.0, -2.0, 0.5];
    let raw = from_host(&Cpu::default(), values, (2, 3)).expect("memory");
    let w = effective(&json!({ "type": "row-sum", "bound": 0.875 }), &raw);
    // The second row, of sum 3.5, is scaled by 1/4.
    approx::assert_relative_eq!(
        w[..],
        [0.5, -0.25, 0.0, 0.25, -0.5, 0.125][..],
        epsilon = 1e-15
    );
}

#[test]
fn a_row_of_zeros_has_finite_gradients() {
    for config in [
        json!({ "type": "weight-norm", "clip": true }),
        json!({ "type": "weight-norm", "clip": false }),
        json!({ "type": "spectral-norm", "clip": true }),
        json!({ "type": "spectral-norm", "clip": false }),
        json!({ "type": "row-sum" }),
    ] {
        let raw = from_host(&Cpu::default(), vec![0.0; 6], (2, 3)).expect("memory");
        let made = stabilizer(&config);
        let w = made.effective(raw.clone().put_tape(OwnedTape::default()));
        let loss = (w.expect("a matrix") * random((2, 3), 1)).sum::<Rank0, _>();
        let gradient = loss.backward().get(&raw).as_vec();
        assert!(
            gradient.iter().all(|g| g.is_finite()),
            "{config}: {gradient:?}"
        );
    }
}

#[test]
fn gradients_through_a_stabilized_equilibrium_are_exact() {
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
    let mut plugins = Equilibrium::new((), solver("anderson").expect("one"), backward);
    plugins.stop = stop;
    let affine = || layer(json!({ "type": "affine-tanh", "gain": 0.9 }));
    let residual = || layer(json!({ "type": "residual-block", "groups": 2, "deviation": 0.3 }));
    for (what, layer, configs) in [
        (
            "weight norm",
            affine(),
            vec![json!({ "type": "weight-norm", "target": 0.5 })],
        ),
        (
            "scaled rows",
            residual(),
            vec![json!({ "type": "weight-norm", "target": 0.4, "clip": false })],
        ),
        (
            "spectral norm",
            affine(),
            vec![json!({ "type": "spectral-norm", "bound": 0.7, "iterations": 400 })],
        ),
        (
            "row sums",
            affine(),
            vec![json!({ "type": "row-sum", "bound": 0.7 })],
        ),
        (
            "one after the other, on different matrices",
            residual(),
            vec![
                json!({ "type": "spectral-norm", "parameters": ["hat.weight"], "bound": 0.4, "iterations": 400 }),
                json!({ "type": "weight-norm", "parameters": ["weight"], "target": 0.3 }),
            ],
        ),
    ] {
        let stabilizers: Vec<_> = configs.iter().map(stabilizer).collect();
        let (changed, _) = stabilize(&layer, &stabilizers, OwnedTape::default()).expect("a layer");
        let pairs = layer.named().into_iter().zip(changed.named());
        let same = pairs
            .filter(|(raw, new)| to_host(&raw.1) == to_host(&new.1))
            .count();
        assert!(same < layer.named().len(), "{what} changes nothing");

        let x = random((3, WIDTH), 5);
        let error = central_difference(&layer, &[x], 2e-5, |layer, x| {
            let (layer, tape) = stabilize(layer, &stabilizers, OwnedTape::default())?;
            let z = plugins.with_layer(layer).forward(x, tape)?.z;
            Ok((z * random((3, WIDTH), 6)).sum())
        });
        // Solves good to 1e-13 and a step of 2e-5 leave 5e-9, times a few for ‖(I − J)⁻¹‖.
        let error = error.expect("solvable");
        assert!(error < 1e-6, "{what}: {error:e}");
    }
}

#[test]
fn patterns_that_mean_no_matrix_are_refused_by_name() {
    let layer = layer(json!({ "type": "residual-block", "groups": 2 }));
    // `gn1.weight` exists, but is a vector; `at.weight` ends no component.
    for pattern in ["no-such", "gn1.weight", "at.weight", ""] {
        for name in ["weight-norm", "spectral-norm", "row-sum"] {
            let config = json!({ "type": name, "parameters": ["weight", pattern] });
            let error = stabilize(&layer, &[stabilizer(&config)], OwnedTape::default());
            let message = error.err().expect("refused").to_string();
            let expected = format!(
                "`{name}`: `parameters` must be ends of names of matrices, got `{pattern}`, where there are \
                 hat.weight, tilde.weight"
            );
            assert_eq!(message, expected);
        }
    }
}

#[test]
fn every_file_is_one_stabilizer_of_its_name() {
    let plugins = registry::of_kind("stabilizer").expect("linked");
    for plugin in &plugins {
        let stem = Path::new(plugin.file)
            .file_stem()
            .and_then(|stem| stem.to_str());
        assert_eq!(stem, Some(plugin.name.as_str()), "{}", plugin.file);
        let made = registry::make::<dyn StabilizerConfig>(&plugin.default).expect("it parses");
        made.validate().expect("defaults are allowed");
        assert_eq!(
            serde_json::to_value(&made).expect("serializable"),
            plugin.default
        );
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/stabilizers");
    assert_eq!(
        plugins.len(),
        std::fs::read_dir(folder).expect("the folder").count()
    );
}

#[test]
fn bad_fields_are_refused() {
    for (config, message) in [
        (
            json!({ "type": "weight-norm", "target": 0.0 }),
            "`weight-norm`: `target` must be finite and above 0, got 0",
        ),
        (
            json!({ "type": "spectral-norm", "bound": -1.0 }),
            "`spectral-norm`: `bound` must be finite and above 0, got -1",
        ),
        (
            json!({ "type": "row-sum", "bound": 0.0 }),
            "`row-sum`: `bound` must be finite and above 0, got 0",
        ),
        (
            json!({ "type": "spectral-norm", "iterations": 0 }),
            "`spectral-norm`: `iterations` must be at least 1, got 0",
        ),
    ] {
        let made = registry::make::<dyn StabilizerConfig>(&config).expect("it parses");
        assert_eq!(made.validate().expect_err("refused").to_string(), message);
    }
}
