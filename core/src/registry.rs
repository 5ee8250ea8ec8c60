//! The registry: every plugin that is linked into the program, by kind and name.
//!
//! A plugin registers itself where it is declared, through [`plugin!`](crate::plugin). There is no list to edit.

mod wording;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Error, Result};

/// A kind of plugin; [`kind!`](crate::kind) implements it for the trait object, e.g. `dyn FixedPointSolver`.
pub trait Kind {
    /// Name of the kind, which is also the configuration key plugins of this kind stand under.
    const NAME: &'static str;

    /// Checks the ranges of all fields. Default: everything is allowed.
    fn check_ranges(&self) -> Result<()> {
        Ok(())
    }
}

/// Makes a trait a kind of plugins: its trait object, which can then be cloned in a box, is a [`Kind`] of this name. The last
/// argument is the method of the trait that checks the ranges of all fields; without it, everything is allowed.
///
/// ```
/// # use equilibria_core as equilibria;
/// use equilibria::prelude::*;
///
/// trait Shape: equilibria::dyn_clone::DynClone {
///     fn validate(&self) -> Result<()>;
/// }
///
/// equilibria::kind!(dyn Shape, "shape", validate);
///
/// assert_eq!(<dyn Shape as registry::Kind>::NAME, "shape");
/// ```
#[macro_export]
macro_rules! kind {
    (dyn $plugin:ident, $name:literal $(, $validate:ident)?) => {
        $crate::dyn_clone::clone_trait_object!($plugin);

        impl $crate::registry::Kind for dyn $plugin {
            const NAME: &'static str = $name;

            $(
                fn check_ranges(&self) -> $crate::Result<()> {
                    self.$validate()
                }
            )?
        }
    };
}

/// What [`plugin!`](crate::plugin) submits.
pub struct Registration {
    /// See [`Kind::NAME`].
    pub kind: &'static str,
    /// The file that registers it.
    pub file: &'static str,
    /// Documentation, line by line.
    pub docs: &'static [&'static str],
    /// Documentation of each field, line by line.
    pub fields: &'static [(&'static str, &'static [&'static str])],
    /// The default configuration, with its `type`.
    pub default: fn() -> serde_json::Result<Value>,
    /// Parses a configuration without its `type`: [`parse`].
    pub parse: fn(Value) -> Result<()>,
    /// Parses likewise, and checks the ranges.
    pub check: fn(Value) -> Result<()>,
}

inventory::collect!(Registration);

/// One registered plugin.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Plugin {
    /// Kind, e.g. `solver`.
    pub kind: &'static str,
    /// Name in a configuration; equals the file name.
    pub name: String,
    /// First sentence of its documentation.
    pub summary: String,
    /// Its documentation, in Markdown.
    pub docs: String,
    /// Name and documentation of every field.
    pub fields: Vec<(&'static str, String)>,
    /// Default configuration, with its `type`.
    pub default: Value,
    /// The file that registers it.
    #[serde(skip)]
    pub file: &'static str,
    #[serde(skip)]
    parse: fn(Value) -> Result<()>,
    #[serde(skip)]
    check: fn(Value) -> Result<()>,
}

impl Plugin {
    /// Checks a configuration of this plugin: types first, then ranges. Whether its keys are known, too.
    ///
    /// # Errors
    /// [`Error::Parse`] for a value of another type, where `what` is the path of its key within the table, e.g. `memory`,
    /// and empty for the table itself; [`Error::Config`] for a value out of range.
    pub fn check(&self, config: &Value) -> Result<()> {
        (self.check)(without_type(config))
    }

    fn new(entry: &'static Registration) -> Result<Self> {
        let parse = |message: String| Error::Parse {
            what: format!("default configuration in {}", entry.file),
            message,
        };
        let default = (entry.default)().map_err(|error| parse(error.to_string()))?;
        let name = default["type"].as_str().map(str::to_owned);
        let docs = join_lines(entry.docs);
        let fields = entry.fields.iter();
        Ok(Self {
            kind: entry.kind,
            name: name.ok_or_else(|| parse("no `type`".to_owned()))?,
            summary: docs.split("\n\n").next().unwrap_or("").replace('\n', " "),
            fields: fields
                .map(|(name, docs)| (name.trim_start_matches("r#"), join_lines(docs)))
                .collect(),
            docs,
            default,
            file: entry.file,
            parse: entry.parse,
            check: entry.check,
        })
    }
}

fn join_lines(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines
        .iter()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    lines.join("\n").trim().to_owned()
}

/// All plugins, by kind and name.
///
/// # Errors
/// [`Error::DuplicatePlugin`] if two files register the same name.
pub fn plugins() -> Result<BTreeMap<(&'static str, String), Plugin>> {
    collect(inventory::iter::<Registration>.into_iter())
}

fn collect(
    entries: impl Iterator<Item = &'static Registration>,
) -> Result<BTreeMap<(&'static str, String), Plugin>> {
    let mut plugins: BTreeMap<_, Plugin> = BTreeMap::new();
    for entry in entries {
        let plugin = Plugin::new(entry)?;
        let key = (plugin.kind, plugin.name.clone());
        if let Some(first) = plugins.get(&key) {
            return Err(Error::DuplicatePlugin {
                kind: plugin.kind.to_owned(),
                name: plugin.name,
                first: first.file,
                second: plugin.file,
            });
        }
        plugins.insert(key, plugin);
    }
    Ok(plugins)
}

/// All plugins of one kind, by name.
///
/// # Errors
/// [`Error::UnknownKind`] if there is none, which lists the known kinds; [`Error::EmptyRegistry`] if no crate with plugins is linked
/// at all.
pub fn of_kind(kind: &str) -> Result<Vec<Plugin>> {
    let mut plugins: Vec<Plugin> = plugins()?.into_values().collect();
    plugins.retain(|plugin| plugin.kind == kind);
    if plugins.is_empty() {
        let mut known: Vec<String> = self::plugins()?
            .into_keys()
            .map(|(kind, _)| kind.to_owned())
            .collect();
        known.dedup();
        return Err(match known.is_empty() {
            true => Error::EmptyRegistry {
                kind: kind.to_owned(),
            },
            false => Error::UnknownKind {
                name: kind.to_owned(),
                nearest: nearest(kind, known.iter().map(String::as_str)),
                known,
            },
        });
    }
    Ok(plugins)
}

/// One plugin.
///
/// # Errors
/// [`Error::UnknownPlugin`], which lists the known names and the nearest one, and reminds of crates that are not linked; and those of
/// [`of_kind`].
pub fn find(kind: &str, name: &str) -> Result<Plugin> {
    let mut plugins = of_kind(kind)?;
    match plugins.iter().position(|plugin| plugin.name == name) {
        Some(index) => Ok(plugins.swap_remove(index)),
        None => {
            let known: Vec<String> = plugins.into_iter().map(|plugin| plugin.name).collect();
            Err(Error::UnknownPlugin {
                kind: kind.to_owned(),
                name: name.to_owned(),
                nearest: nearest(name, known.iter().map(String::as_str)),
                known,
            })
        }
    }
}

/// The candidate most like `name`, if any is alike at all.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    /// Below this Jaro-Winkler similarity a suggestion would puzzle more than it helps.
    const ALIKE: f64 = 0.7;
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}

/// Makes a plugin from its configuration: a table with a `type` and any of its fields.
///
/// # Errors
/// [`Error::UnknownPlugin`], or [`Error::Parse`] for a bad field, which it names.
pub fn make<P: ?Sized + Kind>(config: &Value) -> Result<Box<P>>
where
    Box<P>: serde::de::DeserializeOwned,
{
    let name = config["type"].as_str().unwrap_or("");
    let plugin = find(P::NAME, name)?;
    let explain = |key: &str, message: String| Error::Parse {
        what: match key {
            "" => format!("{} `{name}`", P::NAME),
            key => format!("{} `{name}`, `{key}`", P::NAME),
        },
        message,
    };
    (plugin.parse)(without_type(config)).map_err(|error| match error {
        Error::Parse { what, message } => explain(&what, message),
        other => other,
    })?;
    serde_json::from_value(config.clone()).map_err(|error| explain("", error.to_string()))
}

fn without_type(config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(table) = config.as_object_mut() {
        table.remove("type");
    }
    config
}

/// Parses what a plugin is configured by, its `type` left out.
///
/// # Errors
/// [`Error::Parse`], where `what` is the path of the key at fault; what a `type` picks is parsed out of sight, so the path
/// ends at the innermost table that has one.
pub fn parse<C: serde::de::DeserializeOwned>(config: Value) -> Result<C> {
    serde_path_to_error::deserialize(config).map_err(|error| Error::Parse {
        what: match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        },
        message: wording::reworded(&error.inner().to_string()),
    })
}

/// Makes a plugin with its default configuration.
///
/// # Errors
/// [`Error::UnknownPlugin`].
pub fn default<P: ?Sized + Kind>(name: &str) -> Result<Box<P>>
where
    Box<P>: serde::de::DeserializeOwned,
{
    make(&serde_json::json!({ "type": name }))
}

/// Declares a plugin: its configuration struct with documented fields and defaults, and its registration.
///
/// ```
/// # use equilibria_core as equilibria;
/// use equilibria::prelude::*;
///
/// plugin! {
///     /// The constant solver: proposes `f(z)` each time.
///     pub struct Plain: FixedPointSolver {
///         /// A number nobody uses, at least 0.
///         pub number: f64 = 1.5,
///     }
/// }
///
/// #[typetag::serde(name = "plain")]
/// impl FixedPointSolver for Plain {
///     fn start(&self, _: &mut dyn Map, _: Tolerance) -> Result<Box<dyn Iteration>> {
///         unimplemented!()
///     }
/// }
///
/// let plugin = registry::find("solver", "plain").unwrap();
/// assert_eq!(plugin.summary, "The constant solver: proposes `f(z)` each time.");
/// ```
///
/// A field that has been renamed is read under its earlier name as well, with `#[serde(alias = "earlier_name")]` behind its documentation.
#[macro_export]
macro_rules! plugin {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident: $kind:path {
            $(
                $(#[doc = $field_doc:literal])*
                $(#[serde(alias = $alias:literal)])?
                $field_vis:vis $field:ident: $type:ty = $default:expr
            ),* $(,)?
        }
    ) => {
        // serde takes the path of its crate as text, in which `$crate` is not replaced: a name in scope stands in for it. Imported by
        // glob, it may be imported once per plugin of a module.
        #[allow(unused_imports)]
        use $crate::for_plugins::*;

        $(#[doc = $doc])*
        #[derive(Debug, Clone, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "equilibria_serde", default, deny_unknown_fields)]
        $vis struct $name {
            $($(#[doc = $field_doc])* $(#[serde(alias = $alias)])? $field_vis $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        $crate::inventory::submit! {
            $crate::registry::Registration {
                kind: <dyn $kind as $crate::registry::Kind>::NAME,
                file: file!(),
                docs: &[$($doc),*],
                fields: &[$((stringify!($field), &[$($field_doc),*])),*],
                default: || {
                    let plugin: Box<dyn $kind> = Box::new($name::default());
                    $crate::serde_json::to_value(&plugin)
                },
                parse: |config| $crate::registry::parse::<$name>(config).map(drop),
                check: |config| {
                    let plugin: $name = $crate::registry::parse(config)?;
                    <dyn $kind as $crate::registry::Kind>::check_ranges(&plugin)
                },
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn entry(name: fn() -> serde_json::Result<Value>, file: &'static str) -> Registration {
        Registration {
            kind: "solver",
            file,
            docs: &[" Title.", "", " More."],
            fields: &[],
            default: name,
            parse: |_| Ok(()),
            check: |_| Ok(()),
        }
    }

    static FIRST: Registration = entry(|| Ok(serde_json::json!({"type": "a"})), "first.rs");
    static SECOND: Registration = entry(|| Ok(serde_json::json!({"type": "a"})), "second.rs");

    #[test]
    fn a_duplicate_name_is_reported_with_both_files() {
        let error = collect([&FIRST, &SECOND].into_iter()).expect_err("same name");
        assert_eq!(
            error.to_string(),
            "two solver plugins are named `a`: first.rs and second.rs; rename one"
        );
        assert_eq!(collect([&FIRST].into_iter()).expect("one").len(), 1);
    }

    #[test]
    fn an_empty_registry_says_what_to_link() {
        let error = of_kind("nothing-of-the-kind").expect_err("none of this kind");
        assert!(error.to_string().contains("use equilibria as _;"));
    }

    #[test]
    fn the_nearest_name_is_suggested_only_if_it_is_near() {
        let known = || ["anderson", "picard"].into_iter();
        assert_eq!(nearest("andersen", known()).as_deref(), Some("anderson"));
        assert_eq!(nearest("xyz", known()), None);
    }
}
