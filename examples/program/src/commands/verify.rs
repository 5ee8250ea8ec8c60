//! `equilibria verify`: compares with the arrays of a reference implementation.

use std::path::PathBuf;
use std::process::ExitCode;

use equilibria_core::DeviceName;
use equilibria_reference::golden::{self, Comparison, Verdict};

use crate::device::DeviceArgs;
use crate::error::Result;
use crate::terminal::print_line;

/// Arguments of `verify`.
#[derive(clap::Args)]
pub struct Args {
    /// A folder with `metadata.json` and `golden.safetensors`
    folder: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
    /// Print all comparisons as one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// Runs the command; exit status 1 if an array fails.
pub fn run(args: &Args) -> Result<ExitCode> {
    let ledger = golden::verify(&args.folder, args.device.or(DeviceName::Cpu)?)?;
    for comparison in &ledger.comparisons {
        if comparison.outcome != Verdict::Input {
            print_line(line(comparison))?;
        }
    }
    print_line(format_args!(
        "{} arrays pass, {} fail, {} unknown, {} chaotic traces not compared, {} inputs",
        ledger.count(Verdict::Pass),
        ledger.count(Verdict::Fail),
        ledger.count(Verdict::Unknown),
        ledger.count(Verdict::Chaotic),
        ledger.count(Verdict::Input),
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
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::Input => "input",
        Verdict::Chaotic => "chaotic",
        Verdict::Unknown => "UNKNOWN",
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
