//! Reads the configuration of a run: a TOML file, overrides from the command line, and checks that name the key.

mod culprit;
mod numbers;
mod plugins;

use std::path::{Path, PathBuf};

use equilibria_core::{registry, Error as CoreError};
use equilibria_fusion::data::{Features, Rows, Samples, SplitName};
use equilibria_fusion::sources::folder::Folder;
use equilibria_fusion::Experiment;
use serde_json::{json, Value};

pub use self::numbers::require_finite;
use crate::error::{Error, Result};

/// The option that takes the place of the configured data.
#[derive(clap::Args)]
pub struct DataArgs {
    /// Use this folder instead of the configured data
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl DataArgs {
    /// Reads the data, which must be what the head learns from; a folder from the command line enters the configuration. Rows that are
    /// read batch by batch are kept near `place`, which is to be written.
    pub fn load(&self, experiment: &mut Experiment, place: &Path) -> Result<Samples> {
        self.choose(experiment);
        let data = match experiment.data.streams() {
            true => experiment.data.samples(near(place))?,
            false => {
                let data = experiment.data.load()?;
                // A source from outside may have forgotten to.
                data.validate()?;
                data.into()
            }
        };
        experiment.check_targets(&data, None)?;
        Ok(match &experiment.modalities {
            Some(selection) => data.with_modalities(selection)?,
            None => data,
        })
    }

    /// [`load`](Self::load) of the modalities of one split, whose targets may be missing.
    pub fn features(
        &self,
        experiment: &mut Experiment,
        part: SplitName,
        place: &Path,
    ) -> Result<Box<dyn Features>> {
        self.choose(experiment);
        let mut features = experiment.data.stored_features(part, near(place))?;
        if let Some(selection) = &experiment.modalities {
            features.choose(selection)?;
        }
        Ok(features)
    }

    /// [`load`](Self::load) of one split, with the classes of a trained model, not all of which it must have.
    pub fn split(
        &self,
        experiment: &mut Experiment,
        (part, classes): (SplitName, &[String]),
        place: &Path,
    ) -> Result<Box<dyn Rows>> {
        self.choose(experiment);
        let mut rows = experiment.data.stored_split(part, classes, near(place))?;
        if let Some(selection) = &experiment.modalities {
            rows.choose(selection)?;
        }
        let data = Samples {
            name: "the data".to_owned(),
            classes: classes.to_vec(),
            train: rows.select(&[]),
            test: rows,
        };
        experiment.check_targets(&data, Some(part))?;
        Ok(data.test)
    }

    /// Whether rows are asked for by name, and not those of the run.
    pub fn is_given(&self) -> bool {
        self.data.is_some()
    }

    fn choose(&self, experiment: &mut Experiment) {
        if let Some(path) = &self.data {
            let path = path.into();
            let stream = experiment.data.streams();
            experiment.data = Box::new(Folder { path, stream });
        }
    }
}

/// The nearest folder above a path that is there.
fn near(place: &Path) -> &Path {
    let above = place.ancestors().find(|folder| folder.is_dir());
    above.unwrap_or(Path::new("."))
}

/// Reads and checks a configuration; `overrides` are `key.path=value` with TOML values (bare words are strings).
///
/// A plugin stands as a table, or as its bare name for that plugin with its defaults.
pub fn read(path: &Path, overrides: &[String]) -> Result<Experiment> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let origin = path.display().to_string();
    let mut config: Value = toml::from_str(&text).map_err(|error| Error::at(&origin, "", error))?;
    override_values(&mut config, overrides)?;
    require_finite(&config, &origin)?;
    parse(&config, &origin)
}

/// Checks and parses a configuration.
pub fn parse(config: &Value, origin: &str) -> Result<Experiment> {
    let mut config = config.clone();
    plugins::resolve(&mut config, origin)?;
    let parse = |config: Value| registry::parse::<Experiment>(config);
    let experiment = parse(config.clone()).map_err(|error| match error {
        CoreError::Parse { what, message } => {
            let path = culprit::path(&config, &what, &message, &|config| parse(config).map(drop));
            Error::at(origin, &path, message)
        }
        other => other.into(),
    })?;
    experiment
        .validate()
        .map_err(|error| plugins::out_of_range(error, &config, origin))?;
    Ok(experiment)
}

/// What the framework refuses when it builds the model of a configuration, with the key at fault.
pub fn refused(error: Error, experiment: &Experiment, origin: &str) -> Error {
    match error {
        Error::Core(error @ CoreError::Config { .. }) => {
            plugins::out_of_range(error, &json!(experiment), origin)
        }
        Error::Core(error @ CoreError::Memory { .. }) => Error::at(origin, "", error),
        other => other,
    }
}

/// Changes one value after the other.
fn override_values(config: &mut Value, overrides: &[String]) -> Result<()> {
    for (index, argument) in overrides.iter().enumerate() {
        let Some(replaced) = set(config, argument)? else {
            continue;
        };
        let within = format!("{replaced}.");
        if let Some(earlier) = (overrides[..index].iter()).find(|set| set.starts_with(&within)) {
            return Err(Error::Undone {
                earlier: earlier.clone(),
                later: argument.clone(),
            });
        }
    }
    Ok(())
}

/// The value that is written as TOML, nothing behind it.
///
/// # Errors
/// The message of the parser, or one about what stands behind.
pub fn toml_value(text: &str) -> Result<Value, String> {
    let table = toml::from_str::<Value>(&format!("value = {text}"));
    let mut table = table.map_err(|error| error.message().to_owned())?;
    let mut keys = table.as_object().into_iter().flat_map(|table| table.keys());
    match keys.rfind(|key| *key != "value") {
        Some(key) => Err(format!(
            "expected one value, and `{key}` stands on a line behind it; give each key a `--set` of its own"
        )),
        None => Ok(table["value"].take()),
    }
}

/// Whether a text is an integer that TOML has no room for.
fn is_large_integer(text: &str) -> bool {
    let digits = text.trim().trim_start_matches(['+', '-']);
    let is_integer = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '_');
    is_integer && text.trim().replace('_', "").parse::<i64>().is_err()
}

/// Changes one value of the configuration; tables on the way are made. Returns the path of the table that is replaced as a
/// whole, if one is: a new `type` leaves nothing of the keys of the old one.
fn set<'a>(config: &mut Value, argument: &'a str) -> Result<Option<&'a str>> {
    let bad = || Error::Set {
        argument: argument.to_owned(),
    };
    let (key, text) = argument.split_once('=').ok_or_else(bad)?;
    let value = match toml_value(text) {
        Ok(value) => value,
        // `1e999` and `NaN` are no TOML, but no words either.
        Err(_) if text.parse::<f64>().is_ok_and(|number| !number.is_finite()) => Value::Null,
        Err(_) if is_large_integer(text) => {
            let message = format!("{text} does not fit in 64 bits");
            return Err(Error::at("--set", key, message));
        }
        // A word stands on one line.
        Err(message) if text.contains(['\n', '\r']) => {
            return Err(Error::at("--set", key, message))
        }
        Err(_) => Value::String(text.to_owned()),
    };
    if key.split('.').any(str::is_empty) {
        return Err(bad());
    }
    if let Some((table, "type")) = key.rsplit_once('.') {
        let place = find(config, table).ok_or_else(bad)?;
        if place.get("type") == Some(&value) {
            return Ok(None);
        }
        *place = json!({ "type": value });
        return Ok(Some(table));
    }
    *find(config, key).ok_or_else(bad)? = value;
    Ok(Some(key))
}

/// The value at a path. Tables on the way are made, of a plugin's bare name too; `None` if something else is in the way.
fn find<'c>(config: &'c mut Value, path: &str) -> Option<&'c mut Value> {
    path.split('.').try_fold(config, |place, part| {
        match place {
            Value::String(name) => *place = json!({ "type": name }),
            Value::Null => *place = json!({}),
            _ => {}
        }
        match place {
            Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
            Value::Object(entries) => Some(entries.entry(part).or_insert(Value::Null)),
            _ => None,
        }
    })
}
