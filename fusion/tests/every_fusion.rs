//! Contracts of all registered fusions: a new one is tested without an edit.

mod building;

use std::collections::BTreeSet;
use std::path::Path;

use building::{Array, Case};
use dfdx::prelude::*;
use equilibria_core::registry::{self, Plugin};
use equilibria_core::serde_json::{self, json, Value};
use equilibria_core::{
    from_host, to_host, Backend, Error, OnUnconverged, Result, Status, Stop, Tolerance,
};
use equilibria_fusion::{FusionConfig, Pass};
use equilibria_testing::{misplaced, random_matrix, random_values, relative_difference, worse};

/// Four groups of three: what normalizes by default has four groups, and the values of a group of two are ±1 whatever
/// they come from.
const WIDTH: usize = 12;

const BATCH: usize = 3;

/// Tolerance of all solves.
const TIGHT: f64 = 1e-13;

fn plugins() -> Vec<Plugin> {
    registry::of_kind("fusion").expect("fusions are linked")
}

/// The defaults, but for tight solves where there are any.
fn fusions() -> Vec<(String, Box<dyn FusionConfig>)> {
    let make = |plugin: Plugin| {
        let mut config = plugin.default;
        tighten(&mut config);
        let made = registry::make::<dyn FusionConfig>(&config);
        (plugin.name, made.expect("it parses"))
    };
    plugins().into_iter().map(make).collect()
}

fn tighten(config: &mut Value) {
    for (key, field) in config.as_object_mut().into_iter().flatten() {
        if key == "stop" {
            *field = json!(Stop {
                max_evaluations: 400,
                on_unconverged: OnUnconverged::Error,
                ..Stop::at(Tolerance::relative(TIGHT))
            });
        } else {
            tighten(field);
        }
    }
}

#[test]
fn every_file_is_one_plugin_of_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fusions");
    let misplaced = misplaced(&plugins(), &folder).expect("the plugin folder");
    assert_eq!(misplaced, [""; 0]);
}

#[test]
fn every_default_is_valid_documented_and_survives_serde() {
    for plugin in plugins() {
        let made = registry::make::<dyn FusionConfig>(&plugin.default).expect("it parses");
        made.validate().expect("the default is valid");
        let written = serde_json::to_value(&made).expect("serializable");
        assert_eq!(written, plugin.default);
        assert!(!plugin.summary.is_empty(), "{}", plugin.name);
        assert!(plugin.docs.contains("Reference: "), "{}", plugin.name);
        let fields = plugin.default.as_object().expect("a table").len() - 1;
        assert_eq!(plugin.fields.len(), fields, "{}", plugin.name);
        for (field, docs) in &plugin.fields {
            assert!(!docs.is_empty(), "{}: {field}", plugin.name);
        }
    }
}

#[test]
fn counts_out_of_range_are_refused_by_key() {
    for plugin in plugins() {
        let fields = plugin.default.as_object().expect("a table");
        let counts = fields.iter().filter(|(_, value)| value.is_u64());
        for (key, _) in counts {
            for count in [0, u64::MAX] {
                let mut config = plugin.default.clone();
                config[key] = json!(count);
                let config = registry::make::<dyn FusionConfig>(&config).expect("it parses");
                let case = Case {
                    config: &*config,
                    modalities: 2,
                    width: WIDTH,
                };
                let error = case.build().err();
                let error = error.unwrap_or_else(|| panic!("{}: {key} = {count}", plugin.name));
                assert!(
                    matches!(error, Error::Config { field, .. } if field == key),
                    "{}: {key} = {count}: {error}",
                    plugin.name
                );
            }
        }
    }
}

/// By where they stand in a configuration, not by the module that refuses them.
#[test]
fn groups_that_do_not_divide_the_width_are_refused_by_key() {
    let with_groups: Vec<Plugin> = plugins()
        .into_iter()
        .filter(|plugin| plugin.default.get("groups").is_some())
        .collect();
    assert!(with_groups.len() >= 2, "deq and weight-tied");
    for plugin in with_groups {
        for (table, groups, groups_of_layer) in [("fusion", 5, 4), ("fusion.layer", 4, 5)] {
            let mut config = plugin.default.clone();
            config["groups"] = json!(groups);
            config["layer"]["groups"] = json!(groups_of_layer);
            let config = registry::make::<dyn FusionConfig>(&config).expect("it parses");
            let case = Case {
                config: &*config,
                modalities: 2,
                width: WIDTH,
            };
            let error = case.build().err().expect("5 does not divide 12");
            let expected = format!(
                "`{table}`: `groups` must be a divisor of the width, with at least two features to a group, got 5 for width {WIDTH}"
            );
            assert_eq!(error.to_string(), expected, "{}", plugin.name);
        }
    }
}

#[test]
fn every_fusion_takes_any_number_of_modalities() -> Result<()> {
    for (name, config) in fusions() {
        for modalities in [1, 2, 3, 6] {
            let case = Case {
                config: &*config,
                modalities,
                width: WIDTH,
            };
            let fusion = case.with(&case.parameters()?)?;
            let fused = fusion.fuse(&case.features(BATCH)?, &mut Pass::evaluation())?;
            assert_eq!(*fused.shape(), (BATCH, fusion.output_dim()), "{name}");
            let fused = to_host(&fused);
            assert!(fused.iter().all(|v| v.is_finite()), "{name}, {modalities}");
            // Samples that differ are told apart.
            let (first, others) = fused.split_at(fusion.output_dim());
            assert!(relative_difference(first, &others[..first.len()]) > 1e-3);

            let named = fusion.named();
            let names: BTreeSet<_> = named.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), named.len(), "{name}: a name stands twice");
        }
    }
    Ok(())
}

#[test]
fn every_gradient_agrees_with_central_differences() -> Result<()> {
    for (name, config) in fusions() {
        for modalities in [1, 2, 3] {
            let case = Case {
                config: &*config,
                modalities,
                width: WIDTH,
            };
            // A solve is good to 1e-13, which a step of 2e-5 makes 5e-9, times a few for ‖(I − J)⁻¹‖. Rounding leaves
            // 1e-11, and the truncated third derivative 4e-10 / 6 times its size.
            let error = gradient_error(&case, 2e-5)?;
            assert!(error < 1e-7, "{name}, {modalities} modalities: {error:e}");
        }
    }
    Ok(())
}

/// The largest error of the derivative of ⟨c, fused⟩ along a random direction of one parameter or input, relative to the
/// largest derivative. A random direction has a share of every entry, and none is needed per entry: there are thousands.
fn gradient_error(case: &Case, step: f64) -> Result<f64> {
    let parameters = case.parameters()?;
    let count = parameters.len();
    let all = [parameters, case.features(BATCH)?].concat();
    let product = |all: &[Array]| {
        let mut pass = Pass::noiseless();
        let fusion = case.with(&all[..count])?;
        let fused = fusion.fuse(&all[count..], &mut pass)?;
        let weights: Array = random_matrix(&Cpu::default(), *fused.shape(), 7)?;
        let product = pass.run(&fused, |fused| {
            let product = (fused * weights).sum::<Rank0, Axes2<0, 1>>();
            product.reshape_like(&(1, 1))
        });
        pass.backward(&product)
    };
    let mut gradients = product(&all)?.gradients;
    let (mut error, mut largest) = (0.0, 0.0);
    for (index, tensor) in all.iter().enumerate() {
        let entries = to_host(tensor).len();
        let direction = random_values(entries, 90 + index as u64);
        let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
        let shifted = |shift: f64| -> Result<f64> {
            let moved = to_host(tensor).into_iter().zip(&direction);
            let moved = moved.map(|(value, d)| value + shift * d / length).collect();
            let mut all = all.clone();
            all[index] = from_host(&Cpu::default(), moved, *tensor.shape())?;
            Ok(product(&all)?.loss)
        };
        let difference = (shifted(step)? - shifted(-step)?) / (2.0 * step);
        let exact = Cpu::with_gradient(&mut gradients, tensor, |gradient| {
            let terms = gradient.iter().zip(&direction);
            terms.map(|(g, d)| g * d / length).sum::<f64>()
        })?;
        error = worse(error, (exact - difference).abs());
        largest = worse(largest, exact.abs());
    }
    Ok(error / largest)
}

#[test]
fn a_sample_is_fused_alone_as_in_a_batch() -> Result<()> {
    for (name, config) in fusions() {
        let case = Case {
            config: &*config,
            modalities: 3,
            width: WIDTH,
        };
        let (fusion, x) = (case.with(&case.parameters()?)?, case.features(BATCH)?);
        let together = to_host(&fusion.fuse(&x, &mut Pass::evaluation())?);
        for (row, expected) in together.chunks_exact(fusion.output_dim()).enumerate() {
            let alone: Vec<Array> = x
                .iter()
                .map(|x| x.clone().slice((row..row + 1, ..)).realize())
                .collect();
            let alone = to_host(&fusion.fuse(&alone, &mut Pass::evaluation())?);
            // Solves are good to 1e-13 times ‖(I − J)⁻¹‖.
            let difference = relative_difference(&alone, expected);
            assert!(difference < 1e-11, "{name}, row {row}: {difference:e}");
        }
    }
    Ok(())
}

/// Whatever parameter is not a number, the result is not, or a solve says so.
#[test]
fn nan_inside_a_fusion_is_not_hidden() -> Result<()> {
    let mut configs = fusions();
    let joint = json!({ "type": "deq", "schedule": "joint" });
    configs.push(("joint deq".to_owned(), registry::make(&joint)?));
    for (name, config) in configs {
        let case = Case {
            config: &*config,
            modalities: 2,
            width: WIDTH,
        };
        let x = case.features(BATCH)?;
        let names = case.build()?.named();
        for (index, (parameter, _)) in names.iter().enumerate() {
            let mut parameters = case.parameters()?;
            let mut values = to_host(&parameters[index]);
            values[0] = f64::NAN;
            parameters[index].copy_from(&values);
            let mut pass = Pass::evaluation();
            let solved = case.with(&parameters)?.fuse(&x, &mut pass);
            let seen = match solved {
                Ok(y) => to_host(&y).iter().any(|value| value.is_nan()),
                Err(error) => matches!(
                    error,
                    Error::NonFinite { .. } | Error::Unconverged { .. } | Error::Equilibrium { .. }
                ),
            };
            let solves = pass.solves.iter();
            let failed = solves.flat_map(|solve| &solve.report.samples);
            let failed = failed
                .filter(|sample| sample.status == Status::NonFinite)
                .count();
            assert!(seen || failed > 0, "{name}: {parameter}");
        }
    }
    Ok(())
}
