//! Numbers of a configuration that are not finite.

use serde_json::Value;

use super::plugins::join;
use crate::error::{Error, Result};

/// Refuses `nan` and `inf` in what was read as TOML, by the path of their key.
///
/// JSON has no such numbers, and null in their place; TOML has no null. Left there, an optional field would take it for a
/// field that is not set.
pub fn require_finite(config: &Value, origin: &str) -> Result<()> {
    match null(config, "") {
        Some(path) => Err(Error::at(
            origin,
            &path,
            "must be a finite number, got nan or inf",
        )),
        None => Ok(()),
    }
}

/// The path of the first null.
fn null(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Null => Some(path.to_owned()),
        Value::Array(items) => (items.iter().enumerate())
            .find_map(|(index, item)| null(item, &join(path, &index.to_string()))),
        Value::Object(table) => {
            (table.iter()).find_map(|(key, value)| null(value, &join(path, key)))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<()> {
        require_finite(&toml::from_str(text).expect("TOML"), "file")
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused_by_the_path_of_their_key() {
        for (text, path) in [
            ("a = nan", "a"),
            ("a = -inf", "a"),
            ("[t]\nb = [{ c = 1 }, { c = inf }]", "t.b.1.c"),
            ("[[t.u]]\nv.w = +nan", "t.u.0.v.w"),
        ] {
            let error = checked(text).expect_err(text).to_string();
            let expected = format!("file: {path}: must be a finite number, got nan or inf");
            assert_eq!(error, expected);
        }
        checked("a = 1e308\nb = \"nan\"\nc = -0.0").expect("all is finite");
    }
}
