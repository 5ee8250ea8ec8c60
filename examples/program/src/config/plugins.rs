//! The plugins of a configuration: their short form, and checks that name the key.

use std::collections::BTreeSet;

use equilibria_core::registry::{self, Plugin};
use equilibria_core::Error as CoreError;
use serde_json::{json, Value};

use super::culprit;
use crate::error::{Error, Result};

/// Replaces every plugin that is given by its bare name by a table of that `type`, and checks names, keys, types and ranges
/// of all plugins: serde alone could not tell which one is wrong.
pub fn resolve(config: &mut Value, origin: &str) -> Result<()> {
    let plugins = registry::plugins()?;
    let kinds: BTreeSet<&str> = plugins.keys().map(|(kind, _)| *kind).collect();
    let top = Place {
        origin,
        path: String::new(),
    };
    resolve_table(config, &kinds, None, &top)
}

/// Where a value stands.
struct Place<'a> {
    origin: &'a str,
    /// Keys and list positions, joined by dots as `--set` takes them.
    path: String,
}

impl Place<'_> {
    fn below(&self, key: &str) -> Self {
        Self {
            origin: self.origin,
            path: join(&self.path, key),
        }
    }

    fn error(&self, message: impl ToString) -> Error {
        Error::at(self.origin, &self.path, message)
    }
}

/// The path of a key below `path`; either may be empty.
pub fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", key) => key.to_owned(),
        (path, "") => path.to_owned(),
        (path, key) => format!("{path}.{key}"),
    }
}

/// Goes through what a table holds; `defaults` are those of the plugin that the table configures, if it does.
fn resolve_table(
    table: &mut Value,
    kinds: &BTreeSet<&str>,
    defaults: Option<&Value>,
    at: &Place<'_>,
) -> Result<()> {
    let Some(entries) = table.as_object_mut() else {
        return Ok(());
    };
    for (key, value) in entries {
        let at = at.below(key);
        // `solver`, or `solvers` for a list of them; a field of a plugin may bear such a name and hold something else.
        let default = defaults.and_then(|defaults| defaults.get(key));
        let holds_plugins = default.is_none_or(|value| value.is_object() || value.is_array());
        let kind = kinds.get(key.strip_suffix('s').unwrap_or(key));
        let kind = kind.copied().filter(|_| holds_plugins);
        if kind.is_some() && default.is_some_and(Value::is_array) && !value.is_array() {
            return Err(at.error(format!("expected a list of plugins, got {value}")));
        }
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    resolve_item(item, kinds, kind, &at.below(&index.to_string()))?;
                }
            }
            other => resolve_item(other, kinds, kind, &at)?,
        }
    }
    Ok(())
}

/// Goes through a value that is a plugin of the given kind, if there is one.
fn resolve_item(
    item: &mut Value,
    kinds: &BTreeSet<&str>,
    kind: Option<&str>,
    at: &Place<'_>,
) -> Result<()> {
    let Some(kind) = kind else {
        return resolve_table(item, kinds, None, at);
    };
    if let Value::String(name) = item {
        *item = json!({ "type": name });
    }
    let plugin = find(kind, item, at)?;
    resolve_table(item, kinds, Some(&plugin.default), at)?;
    // The plugins inside are in order by now: what is wrong is in the fields of this one.
    plugin
        .check(item)
        .map_err(|error| explain(error, &plugin, item, at))
}

/// Finds a plugin, and checks that its keys are known.
fn find(kind: &str, config: &Value, at: &Place<'_>) -> Result<Plugin> {
    let table = config.as_object().ok_or_else(|| {
        at.error(format!(
            "expected the name of a plugin, or a table such as {{ type = \"...\" }}, got {config}"
        ))
    })?;
    let name = match table.get("type") {
        Some(Value::String(name)) => name,
        Some(other) => {
            let message = format!("must be the name of a plugin, got {other}");
            return Err(at.below("type").error(message));
        }
        None => return Err(at.error("the key `type` is missing")),
    };
    let plugin = registry::find(kind, name).map_err(|error| at.error(error))?;
    let known: Vec<&str> = plugin.fields.iter().map(|(field, _)| *field).collect();
    for key in table.keys().filter(|key| *key != "type") {
        if !known.contains(&key.as_str()) {
            return Err(Error::UnknownKey {
                origin: format!("{}: {} (`{name}`)", at.origin, at.path),
                key: key.clone(),
                nearest: registry::nearest(key, known.iter().copied()),
                known: known.into_iter().map(str::to_owned).collect(),
            });
        }
    }
    Ok(plugin)
}

/// The error of a plugin's own check, with the path of the key.
fn explain(error: CoreError, plugin: &Plugin, config: &Value, at: &Place<'_>) -> Error {
    match error {
        CoreError::Parse { what, message } => {
            let path = culprit::path(config, &what, &message, &|config| plugin.check(&config));
            at.below(&path).error(message)
        }
        CoreError::Config { plugin: of, .. } if of == plugin.name => located(error, config, at),
        error => located_within(error, config, at),
    }
}

/// A value out of range, in `table` itself.
fn located(error: CoreError, table: &Value, at: &Place<'_>) -> Error {
    match error {
        CoreError::Config {
            field,
            expected,
            got,
            ..
        } if table.get(field).is_some() => at
            .below(field)
            .error(format!("must be {expected}, got {got}")),
        error => at.error(error),
    }
}

/// A value out of range, in a table somewhere below `config` that bears the name in the error as key or `type`. Of several that
/// do, the one with the value in the error is meant; where that does not tell, the error has to speak for itself.
fn located_within(error: CoreError, config: &Value, at: &Place<'_>) -> Error {
    let CoreError::Config {
        plugin, field, got, ..
    } = &error
    else {
        return at.error(error);
    };
    let mut found = Vec::new();
    search(config, "", plugin, field, &mut found);
    if found.len() > 1 {
        let number = |table: &Value| table.get(field)?.as_f64();
        found.retain(|(_, table)| number(table).is_some_and(|number| number.to_string() == *got));
    }
    match &found[..] {
        [(path, table)] => located(error, table, &at.below(path)),
        _ => at.error(error),
    }
}

fn search<'c>(
    config: &'c Value,
    path: &str,
    name: &str,
    field: &str,
    found: &mut Vec<(String, &'c Value)>,
) {
    for (key, value) in config.as_object().into_iter().flatten() {
        let path = join(path, key);
        let named = key == name || value.get("type").is_some_and(|of| of == name);
        if named && value.get(field).is_some() {
            found.push((path.clone(), value));
        }
        search(value, &path, name, field, found);
    }
}

/// The error of the checks that come after those of the plugins.
pub fn out_of_range(error: CoreError, config: &Value, origin: &str) -> Error {
    let top = Place {
        origin,
        path: String::new(),
    };
    located_within(error, config, &top)
}
