//! `equilibria check`: are the gradients of a configured model right?

use std::path::PathBuf;
use std::process::ExitCode;

use dfdx::prelude::Cpu;
use equilibria_fusion::data::MinMax;
use equilibria_fusion::train::tensors;
use equilibria_fusion::{Experiment, Model};
use serde_json::{json, Value};

use crate::config::{self, DataArgs};
use crate::error::Result;
use crate::gradient_check::{
    differentiate, solved_rows, Batch, Comparison, Differentiated, Gradients, Row,
};
use crate::terminal::{print, print_line};

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration, a TOML file
    config: PathBuf,
    #[command(flatten)]
    data: DataArgs,
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
    /// Largest error that passes, relative to the largest entry of a parameter's gradient
    #[arg(long, default_value_t = 1e-6)]
    tolerance: f64,
    /// Print the table as JSON on the last line
    #[arg(long)]
    json: bool,
}

/// Rows looked at for each row that is wanted.
const CANDIDATES: usize = 16;

/// A way to differentiate.
struct Way {
    name: String,
    gradients: Gradients,
}

/// Runs the command; exit status 1 if a gradient is wrong.
pub fn run(args: &Args) -> Result<ExitCode> {
    let origin = args.config.display().to_string();
    let mut experiment = config::read(&args.config, &args.overrides)?;
    let data = args.data.load(&mut experiment)?;
    let mut train = data.train.clone();
    MinMax::fit(&data.train).apply(&mut train)?;
    experiment.head.fit(&train.targets);
    let columns: Vec<usize> = train.modalities.iter().map(|table| table.columns).collect();
    let (device, classes) = (Cpu::default(), data.classes.len());
    let batch = |rows: &[usize]| -> Result<Batch> {
        let part = train.select(rows);
        Ok(Batch {
            x: tensors(&device, &part)?,
            targets: (experiment.head.scaled(&part.targets))
                .matrix(&device, experiment.head.outputs(classes))?,
        })
    };
    // Every way has the same parameters: they depend on the seed alone.
    let model = |config: &Value| -> Result<Model<f64, Cpu>> {
        let experiment = config::parse(config, &origin)?;
        Ok(experiment.model::<f64, Cpu>(&device, &columns, classes)?)
    };

    let configs = configurations(&experiment, args.unroll as usize);
    let wanted = usize::from(args.rows);
    let candidates: Vec<usize> = (0..train.len().min(CANDIDATES * wanted)).collect();
    let mut rows = solved_rows(&model(&configs[0].1)?, &batch(&candidates)?)?;
    if rows.len() < candidates.len() {
        print_line(format_args!(
            "{} of the first {} rows have equilibria that do not converge, and are left out",
            candidates.len() - rows.len(),
            candidates.len()
        ))?;
    }
    rows.truncate(wanted);
    if rows.is_empty() {
        print_line("no row is left to compare gradients on: try another seed")?;
        return Ok(ExitCode::from(1));
    }
    let batch = batch(&rows)?;
    let mut ways = Vec::new();
    for (name, config) in &configs {
        let unrolled = name == "unrolled";
        if unrolled && solved_rows(&model(&plain(config, args.unroll))?, &batch)?.len() < rows.len()
        {
            print_line(format_args!(
                "unrolled: not compared, {} plain iterations do not converge here",
                args.unroll
            ))?;
            continue;
        }
        let Differentiated { gradients, adjoint } = differentiate(&model(config)?, &batch)?;
        if let Some((_, worst)) = adjoint.worst_unconverged() {
            print_line(format_args!(
                "{name}: {} of {} adjoint solves do not converge, largest relative residual {:.1e}",
                adjoint.unconverged(),
                adjoint.samples.len(),
                worst.relative_residual
            ))?;
        }
        let name = name.clone();
        ways.push(Way { name, gradients });
    }
    let comparison = Comparison {
        batch: &batch,
        ways: &ways.iter().map(|way| &way.gradients).collect::<Vec<_>>(),
        entries: usize::from(args.entries),
        tolerance: args.tolerance,
        seed: experiment.seed,
    };
    let table = comparison.run(&mut model(&configs[0].1)?)?;
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

/// The configuration in f64 with accurate solves: differentiated implicitly, by unrolling, and as it says itself, if that
/// is a third way. A fusion without equilibria has one way.
fn configurations(experiment: &Experiment, unroll: usize) -> Vec<(String, Value)> {
    let accurate = json!({
        "tolerance": {"relative": 1e-13}, "max_evaluations": 1000, "patience": 100, "on_unconverged": "accept",
    });
    let mut base = json!(experiment);
    base["dtype"] = json!("f64");
    if base["fusion"].get("backward").is_none() {
        return vec![("gradient".to_owned(), base)];
    }
    base["fusion"]["stop"] = accurate.clone();
    let with = |backward: Value| {
        let mut config = base.clone();
        config["fusion"]["backward"] = backward;
        config
    };
    let mut own = base["fusion"]["backward"].clone();
    let name = own["type"].as_str().unwrap_or_default().to_owned();
    let mut implicit = json!({"type": "implicit", "stop": accurate});
    if own.get("stop").is_some() {
        own["stop"] = accurate.clone();
    }
    if name == "implicit" {
        implicit = own.clone();
    }
    let unrolled = json!({"type": "unrolled", "steps": unroll});
    let mut all = vec![
        ("implicit".to_owned(), with(implicit)),
        ("unrolled".to_owned(), with(unrolled)),
    ];
    if !["implicit", "unrolled"].contains(&name.as_str()) {
        all.push((name, with(own)));
    }
    all
}

/// The configuration with the solver that unrolling runs.
fn plain(config: &Value, steps: u32) -> Value {
    let mut config = config.clone();
    config["fusion"]["solver"] = json!({"type": "picard"});
    config["fusion"]["stop"] = json!({
        "tolerance": {"relative": 1e-9}, "max_evaluations": steps, "on_unconverged": "accept",
    });
    config
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
