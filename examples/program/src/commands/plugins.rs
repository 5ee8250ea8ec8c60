//! `equilibria plugins`: what is registered.

use std::process::ExitCode;

use equilibria_core::registry;

use crate::error::Result;
use crate::terminal::print_line;

/// Arguments of `plugins`.
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON array instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let plugins = registry::plugins()?;
    if args.json {
        let list: Vec<_> = (plugins.values())
            .map(|p| serde_json::json!({"kind": p.kind, "name": p.name, "summary": p.summary}))
            .collect();
        print_line(serde_json::Value::Array(list))?;
    } else {
        let width = plugins.values().map(|p| p.name.len()).max().unwrap_or(0);
        for plugin in plugins.values() {
            print_line(format_args!(
                "{:<12} {:<width$} {}",
                plugin.kind, plugin.name, plugin.summary
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
