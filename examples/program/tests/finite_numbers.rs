//! Numbers of a configuration that are not finite: refused by their key, wherever they come from.

mod called;

mod small;

use called::refusal;
use equilibria_core::registry::{self, Kind};
use equilibria_core::{BackwardStrategy, FixedPointSolver, Regularizer, Stop, Tolerance};
use equilibria_fusion::layers::{LayerConfig, StabilizerConfig};
use equilibria_fusion::{BackboneConfig, DataSource, Experiment, FusionConfig, Head};
use serde::de::DeserializeOwned;
use serde_json::Value;

const NUMBERS: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

/// A folder with the small data set and a configuration.
fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.toml"), config).expect("a file");
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    small::write_data(&folder.path().join("data"));
    folder
}

const TRAIN: [&str; 6] = ["train", "config.toml", "--data", "data", "--out", "run"];

#[test]
fn a_file_or_a_change_with_one_is_refused_by_its_key() {
    for key in [
        "training.clip",
        "training.average",
        "training.validation",
        "training.optimizer.rate",
        "training.decay.factor",
        "backbone.dropout",
        "fusion.deviation",
        "fusion.stop.tolerance.relative",
        "fusion.solver.mixing",
        "fusion.backward.stop.divergence",
        "fusion.regularizer.0.weight",
        "fusion.layer.deviation",
    ] {
        for number in ["nan", "inf", "-inf", "1e999", "NaN"] {
            let folder = folder(small::CONFIG);
            let change = format!("{key}={number}");
            let arguments = [&TRAIN[..], &["--set", &change]].concat();
            let message = refusal(folder.path(), &arguments);
            let expected = format!("config.toml: {key}: must be a finite number");
            assert!(message.contains(&expected), "{change}: {message}");
            assert!(!folder.path().join("run").exists(), "{change}");
        }
    }
    let changed = small::CONFIG.replace("average = 0.9", "average = 0.9\nclip = nan");
    let message = refusal(folder(&changed).path(), &TRAIN);
    assert!(
        message.contains("config.toml: training.clip: must be"),
        "{message}"
    );
    let changed = small::CONFIG.replace("average = 0.9", "average = 1e999");
    let message = refusal(folder(&changed).path(), &TRAIN);
    assert!(
        message.contains("average = 1e999") && message.contains("overflow"),
        "{message}"
    );
    let inside = "fusion.solver={type=\"anderson\", growth=inf}";
    let arguments = [&TRAIN[..], &["--set", inside]].concat();
    let message = refusal(folder(small::CONFIG).path(), &arguments);
    assert!(
        message.contains("fusion.solver.growth: must be"),
        "{message}"
    );
}

#[test]
fn a_plan_with_one_is_refused_by_variant_and_key() {
    for (change, expected) in [
        (
            "set = ['training.clip=nan']",
            "variant `a` of config.toml: training.clip: must be a finite number",
        ),
        (
            "set = ['training.average=inf']",
            "training.average: must be",
        ),
        ("set = []\n[extra]\nx = 1", "extra"),
    ] {
        let folder = folder(small::CONFIG);
        let plan = format!(
            "title = \"t\"\nconfig = \"config.toml\"\nseeds = [1]\n[[variant]]\nname = \"a\"\n{change}\n"
        );
        std::fs::write(folder.path().join("plan.toml"), plan).expect("a file");
        let study = ["study", "plan.toml", "--data", "data", "--out", "out"];
        let message = refusal(folder.path(), &study);
        assert!(message.contains(expected), "{change}: {message}");
        assert!(!folder.path().join("out").exists(), "{change}");
    }
    let seeds =
        "title = \"t\"\nconfig = \"config.toml\"\nseeds = [nan]\n[[variant]]\nname = \"a\"\n";
    let folder = folder(small::CONFIG);
    std::fs::write(folder.path().join("plan.toml"), seeds).expect("a file");
    let message = refusal(folder.path(), &["study", "plan.toml", "--data", "data"]);
    assert!(
        message.contains("plan.toml") && message.contains("seeds"),
        "{message}"
    );
}

#[test]
fn a_solver_of_the_command_line_with_one_is_refused() {
    let folder = folder(small::CONFIG);
    let solver = "{type=\"anderson\", mixing=nan}";
    let message = refusal(folder.path(), &["solve", "linear-90", "--solver", solver]);
    assert!(
        message.contains("mixing: must be a finite number"),
        "{message}"
    );
    let (finite, below) = ("finite and at least 0", "in [0, 1)");
    for (tolerance, allowed) in [
        ("nan", finite),
        ("inf", finite),
        ("1", below),
        ("2.5", below),
    ] {
        let message = refusal(
            folder.path(),
            &["solve", "linear-90", "--tolerance", tolerance],
        );
        assert!(
            message.contains(&format!("`relative` must be {allowed}")),
            "{message}"
        );
    }
}

/// TOML has no null.
fn without_nulls(mut value: Value) -> Value {
    match &mut value {
        Value::Object(table) => {
            table.retain(|_, value| !value.is_null());
            let values = table.values_mut();
            values.for_each(|value| *value = without_nulls(value.take()));
        }
        Value::Array(items) => {
            let items = items.iter_mut();
            items.for_each(|item| *item = without_nulls(item.take()));
        }
        _ => {}
    }
    value
}

/// Every number of the default configuration of every plugin of a kind in turn; returns how many there are. TOML carries to
/// the field what JSON cannot.
fn refused<P: ?Sized + Kind>() -> usize
where
    Box<P>: DeserializeOwned,
{
    let mut count = 0;
    for plugin in registry::of_kind(P::NAME).expect("plugins are linked") {
        let default = without_nulls(plugin.default.clone());
        let config = toml::Table::try_from(&default).expect("TOML");
        let is_number = |field: &(&String, &Value)| field.1.is_f64();
        for (field, _) in default.as_object().into_iter().flatten().filter(is_number) {
            for number in NUMBERS {
                let mut config = config.clone();
                config.insert(field.clone(), number.into());
                let plugin_of = config.try_into::<Box<P>>().expect("the field is a number");
                let outcome = plugin_of.check_ranges();
                assert!(
                    outcome.is_err(),
                    "{} {}: {field} = {number}",
                    P::NAME,
                    plugin.name
                );
            }
            count += 1;
        }
    }
    count
}

#[test]
fn no_plugin_built_in_code_accepts_one() {
    let counts = [
        refused::<dyn FixedPointSolver>(),
        refused::<dyn BackwardStrategy>(),
        refused::<dyn Regularizer>(),
        refused::<dyn LayerConfig>(),
        refused::<dyn StabilizerConfig>(),
        refused::<dyn BackboneConfig>(),
        refused::<dyn FusionConfig>(),
        refused::<dyn Head>(),
    ];
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    assert_eq!(refused::<dyn DataSource>(), 0);
}

#[test]
fn no_settings_built_in_code_accept_one() {
    let text = small::CONFIG.replace(
        "average = 0.9",
        "average = 0.9\nclip = 1.0\ndecay = { every = 1, factor = 0.5 }",
    );
    let experiment: Experiment = toml::from_str(&text).expect("a configuration");
    experiment.validate().expect("it is valid");
    for number in NUMBERS {
        let with = |change: fn(&mut Experiment, f64)| {
            let mut odd = experiment.clone();
            change(&mut odd, number);
            odd.validate().expect_err("out of range").to_string()
        };
        let messages = [
            with(|odd, number| odd.training.clip = Some(number)),
            with(|odd, number| odd.training.average = Some(number)),
            with(|odd, number| odd.training.validation = number),
            with(|odd, number| odd.training.decay.as_mut().expect("one").factor = number),
        ];
        for (message, key) in messages
            .iter()
            .zip(["clip", "average", "validation", "factor"])
        {
            assert!(message.contains(&format!("`{key}` must be")), "{message}");
        }
        let stops = [
            Stop::at(Tolerance::relative(number)),
            Stop::at(Tolerance::absolute(number)),
            Stop {
                divergence: number,
                ..Stop::default()
            },
        ];
        assert!(
            stops.iter().all(|stop| stop.validate().is_err()),
            "{number}"
        );
        for rule in ["adam", "adamw", "sgd"] {
            let rates = format!("type = \"{rule}\"\nrate = {number}");
            let rule: equilibria_fusion::layers::optimizer::OptimizerConfig =
                toml::from_str(&rates.replace("NaN", "nan")).expect("a rule");
            assert!(rule.validate().is_err(), "{number}");
        }
    }
}
