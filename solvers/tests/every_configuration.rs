//! Configurations of all registered solvers, backward strategies and regularizers: a new plugin is tested without an
//! edit.

use std::path::Path;

use equilibria_core::prelude::*;
use equilibria_core::serde_json::{self, json, Value};
use equilibria_solvers::forward::anderson::Anderson;
use equilibria_solvers::forward::picard::Picard;
use equilibria_testing::misplaced;

fn names(kind: &str) -> Vec<String> {
    let plugins = registry::of_kind(kind).expect("plugins are linked");
    plugins.into_iter().map(|plugin| plugin.name).collect()
}

/// Default configurations validate and survive a round trip.
#[test]
fn every_default_is_valid_and_survives_serde() {
    fn round_trip<P: ?Sized + registry::Kind + serde::Serialize + std::fmt::Debug>(
        validate: impl Fn(&P) -> Result<()>,
    ) where
        Box<P>: serde::de::DeserializeOwned + serde::Serialize,
    {
        for plugin in registry::of_kind(P::NAME).expect("linked") {
            let made = registry::make::<P>(&plugin.default).expect("the default parses");
            validate(&made).expect("the default is valid");
            assert_eq!(
                serde_json::to_value(&made).expect("serializable"),
                plugin.default
            );
            assert!(!plugin.summary.is_empty(), "{}", plugin.name);
            let fields = plugin
                .default
                .as_object()
                .map_or(0, |fields| fields.len() - 1);
            assert_eq!(plugin.fields.len(), fields, "{}", plugin.name);
            for (field, docs) in &plugin.fields {
                assert!(!docs.is_empty(), "{}: {field}", plugin.name);
            }
            let mut odd = plugin.default.clone();
            odd["no-such-field"] = json!(1);
            let error = registry::make::<P>(&odd).expect_err("unknown field");
            let (name, text) = (&plugin.name, error.to_string());
            let start = format!("{} `{name}`, `no-such-field`: unknown field", P::NAME);
            assert!(text.starts_with(&start), "{text}");
        }
    }
    use equilibria_core::serde;
    round_trip::<dyn FixedPointSolver>(|plugin| plugin.validate());
    round_trip::<dyn BackwardStrategy>(|plugin| plugin.validate());
    round_trip::<dyn Regularizer>(|plugin| plugin.validate());
}

#[test]
fn every_file_is_one_plugin_of_its_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        ("solver", "forward"),
        ("backward", "backward"),
        ("regularizer", "regularizers"),
    ];
    for (kind, folder) in folders {
        let plugins = registry::of_kind(kind).expect("linked");
        let misplaced = misplaced(&plugins, &root.join("src").join(folder));
        assert_eq!(misplaced.expect("the plugin folder"), [""; 0], "{folder}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let refused = |solver: &dyn FixedPointSolver, message: &str| {
        let error = solver.validate().expect_err("out of range");
        assert_eq!(error.to_string(), message);
    };
    for (damping, got) in [(0.0, "0"), (-1.0, "-1"), (1.5, "1.5"), (f64::NAN, "NaN")] {
        let message = format!("`picard`: `damping` must be in (0, 1], got {got}");
        refused(
            &Picard {
                damping,
                compat: None,
            },
            &message,
        );
    }
    let good = Anderson::default;
    refused(
        &Anderson {
            memory: 0,
            ..good()
        },
        "`anderson`: `memory` must be at least 1, got 0",
    );
    // The Gram matrices take memory² numbers per sample.
    refused(
        &Anderson {
            memory: 101,
            ..good()
        },
        "`anderson`: `memory` must be at most 100, got 101",
    );
    for (mixing, got) in [(0.0, "0"), (-0.5, "-0.5"), (2.5, "2.5"), (f64::NAN, "NaN")] {
        let message = format!("`anderson`: `mixing` must be in (0, 2], got {got}");
        refused(&Anderson { mixing, ..good() }, &message);
    }
    for (regularization, got) in [
        (-1e-9, "-0.000000001"),
        (f64::INFINITY, "inf"),
        (f64::NAN, "NaN"),
    ] {
        let range = "must be finite and at least 0";
        let message = format!("`anderson`: `regularization` {range}, got {got}");
        refused(
            &Anderson {
                regularization,
                ..good()
            },
            &message,
        );
    }
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let error = equilibria_solvers::solver("andersen").expect_err("unknown");
    let text = error.to_string();
    let start = "no solver plugin is named `andersen` (did you mean `anderson`?); known: ";
    assert!(text.starts_with(start), "{text}");
    let known = names("solver").join(", ");
    let end = format!(
        "{known}; if it is one of your own, is its crate linked? Add `use its_crate as _;`"
    );
    assert!(text.ends_with(&end), "{text}");
    let error = equilibria_solvers::backward("implicid").expect_err("unknown");
    assert!(
        error.to_string().contains("did you mean `implicit`?"),
        "{error}"
    );
    let error = registry::make::<dyn FixedPointSolver>(&Value::Null).expect_err("no type");
    assert!(
        error
            .to_string()
            .starts_with("no solver plugin is named ``; known: "),
        "{error}"
    );
}

/// What a `type` picks is parsed without a path; the checks of a plugin know the key nevertheless.
#[test]
fn a_value_of_another_type_is_named_by_its_key() {
    let message = |config: Value| {
        let error = registry::make::<dyn BackwardStrategy>(&config).expect_err("a bad value");
        error.to_string()
    };
    let text = message(json!({"type": "implicit", "stop": {"max_evaluations": "many"}}));
    let start = "backward `implicit`, `stop.max_evaluations`: invalid type: string \"many\"";
    assert!(text.starts_with(start), "{text}");

    let plugin = registry::find("solver", "anderson").expect("registered");
    assert!(plugin.check(&plugin.default).is_ok());
    let check = |config: Value| plugin.check(&config).expect_err("refused");
    assert!(matches!(
        check(json!({"type": "anderson", "memory": -1})),
        Error::Parse { what, .. } if what == "memory"
    ));
    assert!(matches!(
        check(json!({"type": "anderson", "mixing": 0.0})),
        Error::Config {
            plugin: "anderson",
            field: "mixing",
            ..
        }
    ));
}
