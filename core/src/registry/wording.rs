//! The parser's messages in words of configurations: it names types of Rust, and suggests nothing.

use super::nearest;

/// What the parser calls a type, and what stands in a configuration.
const TYPES: [(&str, &str); 6] = [
    ("usize", "a whole number of at least 0"),
    ("u64", "a whole number of at least 0"),
    ("u32", "a whole number of at least 0"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
    ("a sequence", "a list"),
];

/// The message with types in words, and with the known name that is most like an unknown one.
pub fn reworded(message: &str) -> String {
    let (start, expected) = match message.rsplit_once("expected ") {
        Some(parts) => parts,
        None => return message.to_owned(),
    };
    if let Some((_, words)) = TYPES.iter().find(|(name, _)| *name == expected) {
        return format!("{start}expected {words}");
    }
    let quoted = |text: &str| {
        text.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let (unknown, known): (Vec<String>, Vec<String>) = (quoted(start), quoted(expected));
    let similar = match &unknown[..] {
        [name] if start.starts_with("unknown ") => nearest(name, known.iter().map(String::as_str)),
        _ => None,
    };
    match similar {
        Some(similar) => format!(
            "{} (did you mean `{similar}`?), expected {expected}",
            start.trim_end_matches(", ")
        ),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_speak_of_configurations() {
        for (message, expected) in [
            (
                "invalid value: integer `-3`, expected usize",
                "invalid value: integer `-3`, expected a whole number of at least 0",
            ),
            (
                "invalid type: string \"a\", expected f64",
                "invalid type: string \"a\", expected a number",
            ),
            (
                "unknown field `epoch`, expected one of `batch`, `epochs`",
                "unknown field `epoch` (did you mean `epochs`?), expected one of `batch`, `epochs`",
            ),
            (
                "unknown variant `sequentail`, expected `sequential` or `joint`",
                "unknown variant `sequentail` (did you mean `sequential`?), expected `sequential` or `joint`",
            ),
            // A key that is like no other, and all other messages of the parser, stay as they are.
            (
                "unknown field `qqq`, expected `epochs`",
                "unknown field `qqq`, expected `epochs`",
            ),
            ("missing field `data`", "missing field `data`"),
            (
                "invalid type: integer `1`, expected a table such as `{ mean = 0.0 }`",
                "invalid type: integer `1`, expected a table such as `{ mean = 0.0 }`",
            ),
        ] {
            assert_eq!(reworded(message), expected);
        }
    }
}
