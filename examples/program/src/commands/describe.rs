//! `equilibria describe KIND NAME`: documentation and default configuration.

use std::process::ExitCode;

use equilibria_core::registry;
use equilibria_fusion::layers::LayerConfig;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::terminal::print_line;

/// Arguments of `describe`.
#[derive(clap::Args)]
pub struct Args {
    /// Kind of plugin, e.g. `solver`; see `equilibria plugins`
    kind: String,
    /// Name of the plugin, e.g. `anderson`
    name: String,
}

/// TOML has no null: what is not set is not written.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let set = entries.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                set.map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// What parameters are called here and in the original code.
fn print_names(names: &[(String, String)]) -> Result<()> {
    if !names.is_empty() {
        print_line("\nParameters here, and in the state dict of the original code:\n")?;
    }
    for (ours, theirs) in names {
        print_line(format_args!("  {ours} = {theirs}"))?;
    }
    Ok(())
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let plugin = registry::find(&args.kind, &args.name)?;
    print_line(format_args!("{}\n", plugin.docs))?;
    for (field, docs) in &plugin.fields {
        print_line(format_args!("  {field}: {}", docs.replace('\n', " ")))?;
    }
    if plugin.kind == "layer" {
        let layer = registry::make::<dyn LayerConfig>(&plugin.default)?;
        print_names(&layer.original_names())?;
    }
    let config = serde_json::json!({ plugin.kind: without_nulls(plugin.default) });
    let config = toml::to_string(&config).map_err(|error| Error::Config {
        origin: format!("{} `{}`", plugin.kind, plugin.name),
        message: error.to_string(),
    })?;
    print_line(format_args!("\nDefault configuration:\n\n{config}"))?;
    Ok(ExitCode::SUCCESS)
}
