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
use crate::gradient_check::{compare, differentiate, solved_rows, Batch, Gradients, Row};

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
        println!(
            "{} of the first {} rows have equilibria that do not converge, and are left out",
            candidates.len() - rows.len(),
            candidates.len()
        );
    }
    rows.truncate(wanted);
    if rows.is_empty() {
        return Ok(ExitCode::from(1));
    }
    let batch = batch(&rows)?;
    let mut ways = Vec::new();
    for (name, config) in &configs {
        let unrolled = name == "unrolled";
        if unrolled && solved_rows(&model(&plain(config, args.unroll))?, &batch)?.len() < rows.len()
        {
            println!(
                "unrolled: not compared, {} plain iterations do not converge here",
                args.unroll
            );
            continue;
        }
        let (_, gradients) = differentiate(&model(config)?, &batch)?;
        let name = name.clone();
        ways.push(Way { name, gradients });
    }
    let gradients: Vec<Gradients> = ways.iter().map(|way| way.gradients.clone()).collect();
    let mut reference = model(&configs[0].1)?;
    let entries = usize::from(args.entries);
    let table = compare(&mut reference, &batch, &gradients, entries, experiment.seed)?;

    let names: Vec<&str> = ways.iter().map(|way| way.name.as_str()).collect();
    print(&table, &names);
    // NaN does not pass.
    let passes = |row: &Row| row.errors.iter().all(|&error| error <= args.tolerance);
    let failed = table.iter().filter(|row| !passes(row)).count();
    println!(
        "{failed} of {} parameters beyond {:.0e} of central differences",
        table.len(),
        args.tolerance
    );
    if args.json {
        println!(
            "{}",
            json!({"passed": failed == 0, "ways": names, "parameters": table})
        );
    }
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    })
}

/// The configuration in f64 with accurate solves: differentiated implicitly, by unrolling, and as it says itself, if that
/// is a third way. A fusion without equilibria has one way.
fn configurations(experiment: &Experiment, unroll: usize) -> Vec<(String, Value)> {
    let accurate = json!({
        "tolerance": {"relative": 1e-13}, "max_steps": 1000, "patience": 100, "on_unconverged": "accept",
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
        "tolerance": {"relative": 1e-9}, "max_steps": steps, "on_unconverged": "accept",
    });
    config
}

fn print(table: &[Row], ways: &[&str]) {
    let width = table
        .iter()
        .map(|row| row.parameter.len())
        .max()
        .unwrap_or(0)
        .max(9);
    print!("{:<width$} {:>10}", "parameter", "largest");
    ways.iter().for_each(|way| print!(" {way:>14}"));
    println!();
    for row in table {
        print!("{:<width$} {:>10.1e}", row.parameter, row.largest);
        row.errors
            .iter()
            .for_each(|error| print!(" {error:>14.1e}"));
        println!();
    }
}
