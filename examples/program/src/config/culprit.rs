//! The key at fault within a table whose `type` picks what is in it: serde parses that out of sight, and tells the table alone.

use equilibria_core::{Error, Result};
use serde_json::{Map, Value};

use super::plugins::join;

/// The path of the key of `config` that parses with an error of this message, which serde has at the path `what`: that one, or that of
/// a key below it, joined by dots. A key is at fault if its table has the same error with no other keys in it.
pub fn path(
    config: &Value,
    what: &str,
    message: &str,
    parse: &dyn Fn(Value) -> Result<()>,
) -> String {
    // `a[0].b`, as serde has it.
    let mut path = what.replace('[', ".").replace(']', "");
    while let Some(key) = below(config, &path, message, parse) {
        path = join(&path, &key);
    }
    path
}

fn below(
    config: &Value,
    path: &str,
    message: &str,
    parse: &dyn Fn(Value) -> Result<()>,
) -> Option<String> {
    let pointer = match path {
        "" => String::new(),
        path => format!("/{}", path.replace('.', "/")),
    };
    let table = config.pointer(&pointer)?.as_object()?;
    let kind = table.get("type")?;
    let fails_with = |key: Option<&String>| {
        let mut alone = Map::from_iter([("type".to_owned(), kind.clone())]);
        alone.extend(key.map(|key| (key.clone(), table[key].clone())));
        let mut config = config.clone();
        if let Some(place) = config.pointer_mut(&pointer) {
            *place = Value::Object(alone);
        }
        matches!(parse(config), Err(Error::Parse { message: found, .. }) if found == message)
    };
    // The `type` itself, or a key that is missing.
    if fails_with(None) {
        return None;
    }
    let mut keys = table.keys().filter(|key| *key != "type");
    keys.find(|key| fails_with(Some(key))).cloned()
}
