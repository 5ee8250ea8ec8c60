//! The program from outside: the README's table, a short run, and what bad input gets.

mod called;

use std::path::Path;
use std::process::Output;

use called::program;

fn config(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    folder.join(name).display().to_string()
}

fn last_line(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().expect("a last line");
    serde_json::from_str(line).expect("JSON on the last line")
}

/// Runs the program, which must refuse with status 2, and returns its message.
fn refusal(arguments: &[&str]) -> String {
    let output = program(".", arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What stands between the markers of a page.
fn generated(page: &str) -> &str {
    let start = "<!-- plugins -->\n";
    let (_, rest) = page.split_once(start).expect("the first marker");
    let (table, _) = rest
        .split_once("<!-- /plugins -->")
        .expect("the second marker");
    table.trim()
}

#[test]
fn the_plugin_tables_are_current() {
    let plugins = last_line(&program(".", &["plugins", "--json"]));
    let plugins = plugins.as_array().expect("a list");
    let cell = |plugin: &serde_json::Value, key: &str| {
        plugin[key].as_str().expect("text").replace('|', "\\|")
    };
    let mut kinds = std::collections::BTreeMap::<String, Vec<String>>::new();
    let mut summaries = String::from("| kind | name | what it is |\n|---|---|---|\n");
    for plugin in plugins {
        let [kind, name, summary] = ["kind", "name", "summary"].map(|key| cell(plugin, key));
        summaries += &format!("| {kind} | `{name}` | {summary} |\n");
        kinds.entry(kind).or_default().push(format!("`{name}`"));
    }
    let mut names = String::from("| kind | plugins |\n|---|---|\n");
    for (kind, plugins) in kinds {
        names += &format!("| {kind} | {} |\n", plugins.join(", "));
    }
    for (page, found, expected) in [
        (
            "README.md",
            generated(include_str!("../../../README.md")),
            names,
        ),
        (
            "docs/src/plugin-list.md",
            generated(include_str!("../../../docs/src/plugin-list.md")),
            summaries,
        ),
    ] {
        let expected = expected.trim();
        assert!(
            found == expected,
            "{page} is stale; replace its table by\n{expected}"
        );
    }
}

#[test]
fn a_saved_model_has_the_metrics_of_its_training_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run").display().to_string();
    let shorter = ["--set", "training.epochs=1", "--json"];
    let train = ["train", &config("digits.toml"), "--out", &run];
    let trained = last_line(&program(".", &[&train[..], &shorter[..]].concat()));
    let table = folder.path().join("solves.csv").display().to_string();
    let evaluated = program(".", &["evaluate", &run, "--json", "--report", &table]);
    let evaluated = last_line(&evaluated);
    let solves = std::fs::read_to_string(&table).expect("the table of solves");
    // A header, and one line for each of 600 rows in each of 7 equilibria.
    assert_eq!(solves.lines().count(), 1 + 7 * 600);
    assert!(solves.starts_with("equilibrium,sample,status,"));
    for key in ["accuracy", "weighted_f1", "macro_f1", "mean_solver_steps"] {
        assert_eq!(trained[key], evaluated[key], "{key}");
    }
    for file in [
        "config.toml",
        "model.safetensors",
        "history.csv",
        "metrics.json",
    ] {
        assert!(Path::new(&run).join(file).is_file(), "{file}");
    }

    // A slash behind the folder is nothing to it.
    let slashed = format!("{run}/");
    let forced = [
        "train",
        &config("digits.toml"),
        "--force",
        "--out",
        &slashed,
    ];
    let forced = program(".", &[&forced[..], &shorter[..]].concat());
    assert!(
        forced.status.success(),
        "{}",
        String::from_utf8_lossy(&forced.stderr)
    );
    assert_eq!(last_line(&forced)["accuracy"], trained["accuracy"]);
    let precious = folder.path().display().to_string();
    let other = [
        "train",
        &config("digits.toml"),
        "--force",
        "--out",
        &precious,
    ];
    let other = refusal(&[&other[..], &shorter[..]].concat());
    assert!(other.contains("is no run folder"), "{other}");

    let again = refusal(&[&train[..], &shorter[..]].concat());
    assert!(again.contains("already exists"), "{again}");

    let model = Path::new(&run).join("model.safetensors");
    let bytes = std::fs::read(&model).expect("the model");
    std::fs::write(&model, &bytes[..bytes.len() / 2]).expect("a truncated model");
    let truncated = refusal(&["evaluate", &run]);
    assert!(truncated.contains("model.safetensors"), "{truncated}");
    assert!(
        truncated.contains("not a complete safetensors file"),
        "{truncated}"
    );
}

/// A folder of two modalities with the given numbers of columns, two classes, and a config that trains on it.
fn small_data(columns: [usize; 2]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    for (split, rows) in [("tr", 12), ("te", 4)] {
        for (index, columns) in columns.into_iter().enumerate() {
            let cell = |row: usize, column: usize| ((7 * row + 3 * column) % 5).to_string();
            let row = |row| {
                (0..columns)
                    .map(|c| cell(row, c))
                    .collect::<Vec<_>>()
                    .join(",")
                    + "\n"
            };
            write(
                &format!("{}_{split}.csv", index + 1),
                (0..rows).map(row).collect(),
            );
        }
        let label = |row: usize| format!("{}\n", row % 2);
        write(
            &format!("labels_{split}.csv"),
            (0..rows).map(label).collect(),
        );
    }
    write(
        "config.toml",
        r#"
            data = { type = "folder" }
            backbone = { type = "encoder", hidden = 8 }
            fusion = { type = "deq" }
            training = { epochs = 1, batch = 4, optimizer = { type = "adam" } }
        "#
        .to_owned(),
    );
    folder
}

/// Trains on the folder; the run goes to `run` inside it.
fn train_on(data: &tempfile::TempDir, more: &[&str]) -> Vec<String> {
    let at = |name: &str| data.path().join(name).display().to_string();
    let folder = data.path().display().to_string();
    let mut arguments = vec!["train".to_owned(), at("config.toml")];
    arguments.extend(["--data".to_owned(), folder, "--out".to_owned(), at("run")]);
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    arguments
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn bad_data_is_refused_and_nothing_is_left() {
    let data = small_data([3, 2]);
    std::fs::remove_file(data.path().join("2_tr.csv")).expect("removed");
    let message = refusal(&borrowed(&train_on(&data, &[])));
    assert!(message.contains("2_tr.csv is missing"), "{message}");

    let data = small_data([3, 2]);
    std::fs::write(data.path().join("1_te.csv"), "1,2,3\n1,2,x\n").expect("written");
    let message = refusal(&borrowed(&train_on(&data, &[])));
    assert!(message.contains("1_te.csv, row 2, column 3"), "{message}");
    let left = std::fs::read_dir(data.path()).expect("a folder").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with("run")),
        "{left:?}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let data = small_data([3, 2]);
    // A folder below a file can be made by no one, not even by the superuser.
    let out = data.path().join("config.toml/run").display().to_string();
    let mut arguments = train_on(&data, &[]);
    arguments[5] = out.clone();
    let message = refusal(&borrowed(&arguments));
    assert!(message.contains(&out), "{message}");
}

#[test]
fn a_model_is_refused_data_of_another_shape() {
    let (data, other) = (small_data([3, 2]), small_data([3, 4]));
    let trained = program(".", &borrowed(&train_on(&data, &[])));
    assert!(
        trained.status.success(),
        "{}",
        String::from_utf8_lossy(&trained.stderr)
    );
    let run = data.path().join("run").display().to_string();
    let message = refusal(&[
        "evaluate",
        &run,
        "--data",
        &other.path().display().to_string(),
    ]);
    for part in ["model.safetensors", "features [3, 2]", "features [3, 4]"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_model_is_refused_classes_of_another_order() {
    let data = small_data([3, 2]);
    let write = |text: &str| {
        std::fs::write(data.path().join("classes.csv"), text).expect("written");
    };
    write("a\nb\n");
    let trained = program(".", &borrowed(&train_on(&data, &[])));
    assert!(
        trained.status.success(),
        "{}",
        String::from_utf8_lossy(&trained.stderr)
    );
    write("b\na\n");
    let run = data.path().join("run").display().to_string();
    let message = refusal(&[
        "evaluate",
        &run,
        "--data",
        &data.path().display().to_string(),
    ]);
    assert!(
        message.contains("the classes a, b, the data has"),
        "{message}"
    );
}

#[test]
fn unsolved_rows_are_counted() {
    let data = small_data([3, 2]);
    let arguments = train_on(&data, &["--set", "fusion.stop.max_evaluations=1"]);
    let accepted = program(".", &borrowed(&arguments));
    assert!(accepted.status.success());
    let metrics = data.path().join("run/metrics.json");
    let metrics = std::fs::read_to_string(metrics).expect("metrics");
    let metrics: serde_json::Value = serde_json::from_str(&metrics).expect("JSON");
    assert_eq!(metrics["unconverged_fraction"], 1.0);
}

#[test]
fn every_plugin_can_be_described() {
    let plugins = last_line(&program(".", &["plugins", "--json"]));
    for plugin in plugins.as_array().expect("a list") {
        let [kind, name] = ["kind", "name"].map(|key| plugin[key].as_str().expect("text"));
        let output = program(".", &["describe", kind, name]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{kind} {name}");
        let (_, config) = text
            .split_once("Default configuration:\n\n")
            .expect("a default");
        let config: toml::Value = toml::from_str(config).expect("TOML");
        assert_eq!(config[kind]["type"].as_str(), Some(name));
    }
}

/// What a state dict of the original code takes to be loaded.
#[test]
fn the_description_of_a_layer_has_the_names_of_the_original() {
    let output = program(".", &["describe", "layer", "mondeq"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("\n  a = A.weight\n"), "{text}");
    let output = program(".", &["describe", "layer", "identity"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("original code"), "{text}");
}

#[test]
fn a_kind_that_does_not_exist_is_named() {
    let message = refusal(&["describe", "solvr", "anderson"]);
    assert!(message.contains("did you mean `solver`?"), "{message}");
}

#[test]
fn bad_configuration_is_refused_by_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("run");
    let shown = out.display().to_string();
    for (change, parts) in [
        (
            "fusion.solver.type=\"andersen\"",
            ["digits.toml: fusion.solver:", "did you mean `anderson`?"],
        ),
        (
            "fusion.solver=broydn",
            ["digits.toml: fusion.solver:", "did you mean `broyden`?"],
        ),
        (
            "fusion.solver=3",
            [
                "digits.toml: fusion.solver:",
                "the name of a plugin, or a table",
            ],
        ),
        (
            "fusion.regularizer=jacobian",
            ["fusion.regularizer: expected a list", "jacobian"],
        ),
        (
            "fusion.solver.memory=many",
            ["digits.toml: fusion.solver.memory:", "\"many\""],
        ),
        (
            "fusion.backward.solver.mixing=0",
            ["fusion.backward.solver.mixing: must be in (0, 2]", "got 0"],
        ),
        (
            "fusion.backward.stop.max_evaluations=no",
            [
                "fusion.backward.stop.max_evaluations: invalid type",
                "\"no\"",
            ],
        ),
        (
            "fusion.regularizer.0.weight=heavy",
            ["fusion.regularizer.0.weight: invalid type", "\"heavy\""],
        ),
        (
            "fusion.stop.tolerance=1e-4",
            ["fusion.stop.tolerance: ", "`{ relative = 1e-4 }`"],
        ),
        (
            "training.optimizer=adam",
            ["training.optimizer", "`{ type = \"adam\", rate = 1e-3 }`"],
        ),
        (
            "fusion.schedule=parallel",
            ["fusion.schedule: unknown variant", "`sequential`"],
        ),
        (
            "fusion.solver.memroy=3",
            ["unknown key `memroy`", "did you mean `memory`?"],
        ),
        (
            "fusion.solver.mixing=0",
            ["fusion.solver.mixing: must be in (0, 2]", "got 0"],
        ),
        (
            "fusion.stop.tolerance.relative=-1",
            ["fusion.stop.tolerance.relative: must be", "got -1"],
        ),
        (
            "training.optimizer.rate=-1",
            ["training.optimizer.rate: must be", "got -1"],
        ),
        ("training.batch=1", ["training.batch: must be", "got 1"]),
        (
            "training.epoch=3",
            ["unknown field `epoch`", "did you mean `epochs`?"],
        ),
        (
            "training.epochs=-3",
            [
                "training.epochs: invalid value",
                "a whole number of at least 0",
            ],
        ),
        (
            "backbone.hidden=100000000",
            [
                "digits.toml: a parameter of 100000000 x",
                "choose smaller widths",
            ],
        ),
        (
            "training.optimizer.rat=1",
            ["training.optimizer", "unknown field `rat`"],
        ),
    ] {
        let message = refusal(&[
            "train",
            &config("digits.toml"),
            "--out",
            &shown,
            "--set",
            change,
        ]);
        for part in parts {
            assert!(message.contains(part), "{change}: {message}");
        }
        assert!(!out.exists(), "{change} left a folder behind");
    }
    let message = refusal(&[
        "train",
        &config("digits.toml"),
        "--data",
        &shown,
        "--out",
        &shown,
    ]);
    assert!(message.contains(&shown), "{message}");
}

#[test]
fn settings_that_solve_nothing_or_see_nothing_are_refused() {
    let data = small_data([3, 2]);
    let refused = |changes: &[&str]| {
        let sets: Vec<&str> = changes.iter().flat_map(|set| ["--set", set]).collect();
        let message = refusal(&borrowed(&train_on(&data, &sets)));
        assert!(!data.path().join("run").exists(), "{changes:?}");
        message
    };
    // The one of two tolerances whose value is meant.
    let backward = "fusion.backward=implicit";
    let other = "fusion.backward.stop.tolerance.relative=1e-4";
    for value in ["1", "1.5", "1e9"] {
        let change = format!("fusion.stop.tolerance.relative={value}");
        let message = refused(&[backward, other, &change]);
        let expected = "config.toml: fusion.stop.tolerance.relative: must be in [0, 1), got";
        assert!(message.contains(expected), "{message}");
    }
    let message = refused(&[backward, "fusion.backward.stop.tolerance.relative=1.0"]);
    let expected = "fusion.backward.stop.tolerance.relative: must be in [0, 1), got 1";
    assert!(message.contains(expected), "{message}");
    let layer = r#"fusion.layer={type="residual-block", groups=8}"#;
    for change in ["fusion.groups=8", layer] {
        let message = refused(&[change]);
        let expected = "two features to a group, got 8 for width 8";
        assert!(message.contains(expected), "{message}");
    }
}

/// Trains for an epoch with some changes; returns the complete configuration.
fn resolved(data: &tempfile::TempDir, changes: &[&str]) -> serde_json::Value {
    let sets: Vec<&str> = changes.iter().flat_map(|set| ["--set", set]).collect();
    let trained = program(
        ".",
        &borrowed(&train_on(data, &[&["--force"], &sets[..]].concat())),
    );
    let message = String::from_utf8_lossy(&trained.stderr).into_owned();
    assert!(trained.status.success(), "{changes:?}: {message}");
    let config = std::fs::read_to_string(data.path().join("run/config.toml"));
    toml::from_str(&config.expect("a configuration")).expect("TOML")
}

#[test]
fn a_plugin_is_chosen_by_its_bare_name() {
    let data = small_data([3, 2]);
    let file = data.path().join("config.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    let anderson = "fusion = { type = \"deq\", solver = { type = \"anderson\", memory = 3 } }";
    let text = text.replace("fusion = { type = \"deq\" }", anderson);
    assert!(text.contains(anderson));
    std::fs::write(&file, &text).expect("written");

    let default = |kind: &str, name: &str| {
        let output = program(".", &["describe", kind, name]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, config) = text.split_once("Default configuration:\n\n").expect("it");
        let config: serde_json::Value = toml::from_str(config).expect("TOML");
        config[kind].clone()
    };
    // Nothing of Anderson's table is left: Broyden has a `memory` as well.
    let broyden = default("solver", "broyden");
    for change in [
        "fusion.solver=broyden",
        "fusion.solver=\"broyden\"",
        "fusion.solver.type=broyden",
        "fusion.solver={type=\"broyden\"}",
    ] {
        let config = resolved(&data, &[change]);
        assert_eq!(config["fusion"]["solver"], broyden, "{change}");
    }
    // The same type changes nothing; a key of a bare name makes a table of it.
    let config = resolved(&data, &["fusion.solver.type=anderson"]);
    assert_eq!(config["fusion"]["solver"]["memory"], 3);
    let config = resolved(&data, &["fusion.solver=broyden", "fusion.solver.memory=7"]);
    assert_eq!(config["fusion"]["solver"]["type"], "broyden");
    assert_eq!(config["fusion"]["solver"]["memory"], 7);
    let config = resolved(&data, &["fusion.regularizer=[\"jacobian\"]"]);
    assert_eq!(
        config["fusion"]["regularizer"][0],
        default("regularizer", "jacobian")
    );

    let undone = ["fusion.solver.memory=7", "fusion.solver.type=broyden"];
    let undone: Vec<&str> = undone.iter().flat_map(|set| ["--set", set]).collect();
    let message = refusal(&borrowed(&train_on(&data, &undone)));
    assert!(
        message.contains("`fusion.solver.memory=7` is undone by `fusion.solver.type=broyden`"),
        "{message}"
    );

    // In the file, too.
    let text = text.replace("{ type = \"encoder\", hidden = 8 }", "\"encoder\"");
    let text = text.replace("{ type = \"folder\" }", "\"folder\"");
    let text = text.replace(anderson, "fusion = \"weighted-sum\"");
    std::fs::write(&file, text).expect("written");
    let config = resolved(&data, &[]);
    assert_eq!(config["backbone"], default("backbone", "encoder"));
    assert_eq!(config["fusion"]["type"], "weighted-sum");
}

/// A build without CUDA says how to get it; a name that is none is refused before that.
#[test]
#[cfg(not(feature = "cuda"))]
fn a_gpu_is_refused_with_what_to_do() {
    let config = config("digits.toml");
    let message = refusal(&["train", &config, "--device", "cuda:1"]);
    assert!(
        message.contains("built without CUDA and cannot use device `cuda:1`; build `equilibria-cuda` with `--features cuda`"),
        "{message}"
    );
    let in_config = refusal(&["check", &config, "--set", "device=cuda"]);
    assert!(in_config.contains("device `cuda`;"), "{in_config}");
    let misspelled = refusal(&["train", &config, "--device", "gpu"]);
    assert!(
        misspelled.contains("expected `cpu`, `cuda` or `cuda:N`, got `gpu`"),
        "{misspelled}"
    );
    let misspelled = refusal(&["train", &config, "--set", "device=gpu"]);
    assert!(
        misspelled.contains("expected `cpu`, `cuda` or `cuda:N`, got `gpu`"),
        "{misspelled}"
    );
}
