//! `equilibria verify`: compares with the arrays of a reference implementation.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::Result;
use crate::golden::{self, Comparison, Outcome};
use crate::terminal::print_line;

/// Arguments of `verify`.
#[derive(clap::Args)]
pub struct Args {
    /// A folder with `metadata.json` and `golden.safetensors`
    folder: PathBuf,
    /// Print all comparisons as one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// Runs the command; exit status 1 if an array fails.
pub fn run(args: &Args) -> Result<ExitCode> {
    let ledger = golden::verify(&args.folder)?;
    for comparison in &ledger.comparisons {
        if comparison.outcome != Outcome::Input {
            print_line(line(comparison))?;
        }
    }
    print_line(format_args!(
        "{} arrays pass, {} fail, {} unknown, {} chaotic traces not compared, {} inputs",
        ledger.count(Outcome::Pass),
        ledger.count(Outcome::Fail),
        ledger.count(Outcome::Unknown),
        ledger.count(Outcome::Chaotic),
        ledger.count(Outcome::Input),
    ))?;
    if args.json {
        let all = serde_json::json!({"passed": ledger.passed(), "arrays": ledger.comparisons});
        print_line(&all)?;
    }
    Ok(match ledger.passed() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

fn line(comparison: &Comparison) -> String {
    let Comparison { file, array, .. } = comparison;
    let verdict = match comparison.outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "FAIL",
        Outcome::Input => "input",
        Outcome::Chaotic => "chaotic",
        Outcome::Unknown => "UNKNOWN",
    };
    match (comparison.error, comparison.tolerance) {
        (Some(error), Some(tolerance)) => {
            format!(
                "{verdict:<8} {file:<24} {array:<40} error {error:.1e}  tolerance {tolerance:.0e}"
            )
        }
        _ => format!("{verdict:<8} {file:<24} {array:<40} not compared"),
    }
}
