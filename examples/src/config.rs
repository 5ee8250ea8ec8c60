//! Reads the configuration of a run: a TOML file, overrides from the command line, and checks that name the key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use equilibria_core::registry::{self, Plugin};
use equilibria_fusion::data::{select_modalities, DataSet, Part, Table};
use equilibria_fusion::sources::folder::Folder;
use equilibria_fusion::Experiment;
use serde_json::Value;

use crate::error::{Error, Result};

/// The option that takes the place of the configured data.
#[derive(clap::Args)]
pub struct DataArgs {
    /// Use this folder instead of the configured data
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl DataArgs {
    /// Reads the data, which must be what the head learns from; a folder from the command line enters the configuration.
    pub fn load(&self, experiment: &mut Experiment) -> Result<DataSet> {
        self.choose(experiment);
        let data = experiment.data.load()?;
        experiment.head.check(&data)?;
        Ok(match &experiment.modalities {
            Some(selection) => data.with_modalities(selection)?,
            None => data,
        })
    }

    /// [`load`](Self::load) of the modalities of one split, whose targets may be missing.
    pub fn features(&self, experiment: &mut Experiment, part: Part) -> Result<Vec<Table>> {
        self.choose(experiment);
        let tables = experiment.data.features(part)?;
        Ok(match &experiment.modalities {
            Some(selection) => select_modalities(tables, selection)?,
            None => tables,
        })
    }

    fn choose(&self, experiment: &mut Experiment) {
        if let Some(path) = &self.data {
            let path = path.display().to_string();
            experiment.data = Box::new(Folder { path });
        }
    }
}

/// Reads and checks a configuration; `overrides` are `key.path=value` with TOML values (bare words are strings).
pub fn read(path: &Path, overrides: &[String]) -> Result<Experiment> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let origin = path.display().to_string();
    let mut config: Value = toml::from_str(&text).map_err(|error| Error::Config {
        origin: origin.clone(),
        message: error.to_string(),
    })?;
    for argument in overrides {
        set(&mut config, argument)?;
    }
    parse(&config, &origin)
}

/// Checks and parses a configuration.
pub fn parse(config: &Value, origin: &str) -> Result<Experiment> {
    check_plugins(config, origin)?;
    // Names the key, which the message of serde alone does not.
    let experiment: Experiment =
        serde_path_to_error::deserialize(config).map_err(|error| Error::Config {
            origin: match error.path().to_string().as_str() {
                "." => origin.to_owned(),
                path => format!("{origin}: {path}"),
            },
            message: error.inner().to_string(),
        })?;
    experiment.validate().map_err(|error| Error::Config {
        origin: origin.to_owned(),
        message: error.to_string(),
    })?;
    Ok(experiment)
}

/// Changes one value of the configuration; tables on the way are made.
fn set(config: &mut Value, argument: &str) -> Result<()> {
    let bad = || Error::Set {
        argument: argument.to_owned(),
    };
    let (key, text) = argument.split_once('=').ok_or_else(bad)?;
    let value = toml::from_str::<Value>(&format!("value = {text}")).map_or_else(
        |_| Value::String(text.to_owned()),
        |mut table| table["value"].take(),
    );
    let mut place = config;
    for part in key.split('.') {
        if part.is_empty() {
            return Err(bad());
        }
        place = match part.parse::<usize>() {
            Ok(index) if place.is_array() => place.get_mut(index).ok_or_else(bad)?,
            _ => place
                .as_object_mut()
                .ok_or_else(bad)?
                .entry(part)
                .or_insert_with(empty_table),
        };
    }
    *place = value;
    Ok(())
}

fn empty_table() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Checks the name and the keys of every plugin, wherever it stands: serde alone could not tell which one is wrong.
fn check_plugins(config: &Value, origin: &str) -> Result<()> {
    let plugins = registry::plugins()?;
    let kinds: BTreeSet<&str> = plugins.keys().map(|(kind, _)| *kind).collect();
    check_table(config, &kinds, None, origin)
}

/// Checks what a table holds; `defaults` are those of the plugin that the table configures, if it does.
fn check_table(
    table: &Value,
    kinds: &BTreeSet<&str>,
    defaults: Option<&Value>,
    origin: &str,
) -> Result<()> {
    let Some(entries) = table.as_object() else {
        return Ok(());
    };
    for (key, value) in entries {
        let origin = format!("{origin}: {key}");
        let items = match value {
            Value::Array(items) => items.iter().collect(),
            other => vec![other],
        };
        // `solver`, or `solvers` for a list of them; a field of a plugin may bear such a name and hold something else.
        let default = defaults.and_then(|defaults| defaults.get(key));
        let holds_plugins = default.is_none_or(|value| value.is_object() || value.is_array());
        let kind = kinds.get(key.strip_suffix('s').unwrap_or(key));
        for item in items {
            let plugin = match kind {
                Some(kind) if holds_plugins => Some(check_plugin(kind, item, &origin)?),
                _ => None,
            };
            let defaults = plugin.as_ref().map(|plugin| &plugin.default);
            check_table(item, kinds, defaults, &origin)?;
        }
    }
    Ok(())
}

/// Checks name and keys of one plugin, and finds it.
fn check_plugin(kind: &str, config: &Value, origin: &str) -> Result<Plugin> {
    let explain = |message: String| Error::Config {
        origin: origin.to_owned(),
        message,
    };
    let table = config.as_object().ok_or_else(|| {
        explain(format!(
            "expected a table such as {{ type = \"...\" }}, got {config}"
        ))
    })?;
    let name = table.get("type").and_then(Value::as_str);
    let name = name.ok_or_else(|| explain("the key `type` is missing".to_owned()))?;
    let plugin = registry::find(kind, name).map_err(|error| explain(error.to_string()))?;
    let known: Vec<&str> = plugin.fields.iter().map(|(field, _)| *field).collect();
    for key in table.keys().filter(|key| *key != "type") {
        if !known.contains(&key.as_str()) {
            return Err(Error::UnknownKey {
                origin: format!("{origin} (`{name}`)"),
                key: key.clone(),
                nearest: registry::nearest(key, known.iter().copied()),
                known: known.into_iter().map(str::to_owned).collect(),
            });
        }
    }
    Ok(plugin)
}
