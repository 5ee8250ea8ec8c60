//! `equilibria check`: are the gradients of a configured model right?

mod subject;
mod ways;

use std::path::PathBuf;
use std::process::ExitCode;

use equilibria_core::Backend;
use equilibria_fusion::Model;
use serde_json::json;

use crate::commands::number;
use crate::config::DataArgs;
use crate::device::{DeviceArgs, WorkInDouble};
use crate::error::Result;
use crate::gradient_check::{differentiate, Batch, Comparison, Differentiated, Gradients, Row};
use crate::terminal::{print, print_line};
use subject::Subject;
use ways::configurations;

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration, a TOML file
    config: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Change one value of the configuration, e.g. `fusion.backward=phantom`
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
    /// Training rows to take the loss on
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..))]
    rows: u16,
    /// Entries of each parameter to take differences over
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    entries: u16,
    /// Steps of the unrolled gradient
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    unroll: u32,
    /// Largest error that passes, relative to the largest entry of a parameter's gradient; above 0, below 1
    #[arg(long, default_value_t = 1e-6, allow_negative_numbers = true, value_parser = number::tolerance)]
    tolerance: f64,
    /// Print the table as JSON on the last line
    #[arg(long)]
    json: bool,
}

/// A way to differentiate.
struct Way {
    name: String,
    gradients: Gradients,
}

/// Runs the command; exit status 1 if a gradient is wrong.
pub fn run(args: &Args) -> Result<ExitCode> {
    let subject = Subject::read(args)?;
    let checking = Checking {
        args,
        subject: &subject,
    };
    checking.run_on(subject.experiment.device)
}

/// A model to be checked.
struct Checking<'a> {
    args: &'a Args,
    subject: &'a Subject,
}

impl WorkInDouble for Checking<'_> {
    type Output = ExitCode;

    fn on<D: Backend<f64>>(self, device: &D) -> Result<ExitCode> {
        check(self.args, self.subject, device)
    }
}

fn check<D: Backend<f64>>(args: &Args, subject: &Subject, device: &D) -> Result<ExitCode> {
    let configs = configurations(&subject.experiment, args.unroll as usize);
    let (_, first) = &configs[0];
    let Some(batch) = subject.solved_batch(device, first, usize::from(args.rows))? else {
        print_line(
            "no row is left to compare gradients on: try another seed, or settings under which equilibria converge, such as a \
             stabilizer; `-v` shows the solves",
        )?;
        return Ok(ExitCode::from(1));
    };
    let mut ways = Vec::new();
    for (name, config) in &configs {
        if name == "unrolled" && !subject.unrolls(device, config, args.unroll, &batch)? {
            print_line(format_args!(
                "unrolled: not compared, {} plain iterations do not converge here",
                args.unroll
            ))?;
            continue;
        }
        ways.push(way(name, &subject.model(device, config)?, &batch)?);
    }
    let comparison = Comparison {
        batch: &batch,
        ways: &ways.iter().map(|way| &way.gradients).collect::<Vec<_>>(),
        entries: usize::from(args.entries),
        tolerance: args.tolerance,
        seed: subject.experiment.seed,
    };
    let table = comparison.run(&mut subject.model(device, first)?)?;
    let names: Vec<&str> = ways.iter().map(|way| way.name.as_str()).collect();
    let verdict = Verdict::of(&table, args.tolerance);
    print(table_text(&table, &names))?;
    print_line(verdict.text(&table, args.tolerance))?;
    if args.json {
        print_line(json!({"passed": verdict.passed(), "ways": names, "parameters": table}))?;
    }
    Ok(match verdict.passed() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

/// Differentiates one way, and says how many adjoint solves have failed.
fn way<D: Backend<f64>>(name: &str, model: &Model<f64, D>, batch: &Batch<D>) -> Result<Way> {
    let Differentiated { gradients, adjoint } = differentiate(model, batch)?;
    if let Some((_, worst)) = adjoint.worst_unconverged() {
        print_line(format_args!(
            "{name}: {} of {} adjoint solves do not converge, largest relative residual {:.1e}",
            adjoint.unconverged(),
            adjoint.samples.len(),
            worst.relative_residual
        ))?;
    }
    let name = name.to_owned();
    Ok(Way { name, gradients })
}

/// What the comparisons of all parameters come to.
struct Verdict {
    /// Entries compared, and looked at.
    compared: usize,
    entries: usize,
    unsolved: usize,
    /// Parameters with an error beyond the tolerance.
    failed: usize,
    /// Names of those of which no entry could be compared.
    unknown: Vec<String>,
}

impl Verdict {
    fn of(table: &[Row], tolerance: f64) -> Self {
        let sum = |count: fn(&Row) -> usize| table.iter().map(count).sum();
        // NaN does not pass.
        let passes = |row: &&Row| row.errors.iter().all(|&error| error <= tolerance);
        let unknown = table.iter().filter(|row| row.compared == 0);
        Self {
            compared: sum(|row| row.compared),
            entries: sum(|row| row.entries),
            unsolved: sum(|row| row.unsolved),
            failed: table.len() - table.iter().filter(passes).count(),
            unknown: unknown.map(|row| row.parameter.clone()).collect(),
        }
    }

    /// Where nothing could be compared, nothing is known to be right.
    fn passed(&self) -> bool {
        self.failed == 0 && self.compared > 0
    }

    fn text(&self, table: &[Row], tolerance: f64) -> String {
        let mut text = String::new();
        if self.compared < self.entries {
            text += &format!(
                "{} of {} entries not compared: beside {} an equilibrium is not found, beside the others differences of several \
                 steps disagree, as at a kink\n",
                self.entries - self.compared,
                self.entries,
                self.unsolved,
            );
        }
        if self.compared == 0 {
            return text + "nothing could be compared: try another seed, or more rows or entries";
        }
        if !self.unknown.is_empty() {
            text += &format!("no entry compared of {}\n", self.unknown.join(", "));
        }
        text + &format!(
            "{} of {} parameters beyond {tolerance:.0e} of central differences",
            self.failed,
            table.len(),
        )
    }
}

/// One line per parameter, and what the columns mean.
fn table_text(table: &[Row], ways: &[&str]) -> String {
    let names = table.iter().map(|row| row.parameter.len());
    let width = names.max().unwrap_or(0).max(9);
    let mut text = format!(
        "{:<width$} {:>10} {:>10}",
        "parameter", "largest", "compared"
    );
    ways.iter().for_each(|way| text += &format!(" {way:>14}"));
    text += "\n";
    for row in table {
        let largest = match row.largest == 0.0 {
            true => "–".to_owned(),
            false => format!("{:.1e}", row.largest),
        };
        let compared = format!("{} of {}", row.compared, row.entries);
        text += &format!("{:<width$} {largest:>10} {compared:>10}", row.parameter);
        for &error in &row.errors {
            // Nothing was compared, or 0 with 0.
            let nothing = row.compared == 0 || row.largest == 0.0 && error == 0.0;
            let error = match nothing {
                true => "–".to_owned(),
                false => format!("{error:.1e}"),
            };
            text += &format!(" {error:>14}");
        }
        text += "\n";
    }
    text + &legend(ways)
}

fn legend(ways: &[&str]) -> String {
    format!(
        "\nlargest: the largest entry of the gradient, – if all are 0\n\
         compared: entries compared with central differences, of those looked at\n\
         {}: the largest difference among them, relative to the largest entry, – if there is nothing to compare\n\n",
        ways.join(", ")
    )
}
