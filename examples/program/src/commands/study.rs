//! `equilibria study`: trains every variant of a plan with every seed, and compares them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use equilibria_core::DeviceName;
use equilibria_fusion::data::Samples;
use equilibria_fusion::ranks::parcel::{Parcel, Unpacked};
use equilibria_fusion::ranks::{Alone, Ranks};
use equilibria_fusion::Experiment;

use crate::config::{self, DataArgs};
use crate::device::DeviceArgs;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::report::study_page;
use crate::run_folder::{self, write_whole, RunFolder, CHECKPOINT};
use crate::saved_run::SavedRun;
use crate::study::{require_distinct, Columns, Convergence, Plan, Row, Table, Variant};
use crate::terminal::{self, print_line, Verbosity};
use crate::training_run::{require_same, TrainingRun};

/// Arguments of `study`.
#[derive(clap::Args)]
pub struct Args {
    /// The plan, a TOML file
    plan: PathBuf,
    /// The configuration to vary instead of the plan's
    #[arg(long, value_name = "CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// The folder of all runs; those it has already are not made again [default: studies/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seeds instead of the plan's, e.g. `1,2,3`
    #[arg(long, value_delimiter = ',')]
    seeds: Option<Vec<u64>>,
    /// Change one value of every variant, e.g. `training.epochs=4`
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args, verbosity: Verbosity, ranks: &dyn Ranks) -> Result<ExitCode> {
    let plan = Plan::read(&args.plan)?;
    require_distinct(args.seeds.as_deref().unwrap_or(&[])).map_err(|message| Error::Config {
        origin: "--seeds".to_owned(),
        message,
    })?;
    let name = args.plan.file_stem().unwrap_or_default();
    let out = (args.out.clone()).unwrap_or_else(|| Path::new("studies").join(name));
    interrupt::listen();
    match study(args, &plan, &out, verbosity, ranks) {
        Err(error @ Error::Interrupted { .. }) => {
            terminal::say(&format!("{error}; so does the same study"));
            Ok(ExitCode::from(130))
        }
        outcome => outcome,
    }
}

fn study(
    args: &Args,
    plan: &Plan,
    out: &Path,
    verbosity: Verbosity,
    ranks: &dyn Ranks,
) -> Result<ExitCode> {
    let seeds = args.seeds.as_ref().unwrap_or(&plan.seeds);
    // A mistake in the last variant is found before the first is trained.
    let variants = (plan.variant.iter())
        .map(|variant| Ok((variant, configure(args, (plan, variant), out)?)))
        .collect::<Result<Vec<_>>>()?;
    let names: Vec<&str> = plan.variant.iter().map(|own| &own.name[..]).collect();
    let told = serde_json::json!([names, seeds, plan.convergence]).to_string();
    let remedy = "give every rank the same file and the same options";
    ranks.require_same(told.as_bytes(), "its plan", remedy)?;
    // The digest of tables takes a whole reading of them.
    if ranks.are_several() {
        for (_, (experiment, data)) in &variants {
            require_same(ranks, experiment, &data.digest()?)?;
        }
    }
    let heads = variants
        .iter()
        .map(|(_, (experiment, _))| &*experiment.head);
    let columns = Columns::new(heads);
    let each = variants
        .iter()
        .flat_map(|(variant, setup)| seeds.iter().map(move |&seed| (*variant, setup, seed)));
    let own = each.enumerate();
    let own = own.filter(|(number, _)| number % ranks.size() == ranks.rank());
    let own = own.map(|(number, (variant, (experiment, data), seed))| {
        let experiment = &Experiment {
            seed,
            ..experiment.clone()
        };
        let folder = out.join(&variant.name).join(format!("seed-{seed}"));
        train(experiment, data, &folder, verbosity)?;
        let numbers = columns.read(&folder, &*experiment.head)?;
        let run = (&*folder, experiment.device);
        let curve = (plan.convergence).map(|steps| Convergence::measure(run, data, steps));
        let curve = curve.transpose()?.flatten();
        Ok((number, Outcome { numbers, curve }))
    });
    let mut outcomes = match of_all(own.collect(), ranks)? {
        Some(outcomes) => outcomes.into_iter(),
        None => return Ok(ExitCode::from(130)),
    };
    if !ranks.leads() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table {
        columns,
        rows: Vec::new(),
    };
    let mut convergence = Convergence::default();
    for (variant, _) in &variants {
        let mut runs = Vec::with_capacity(seeds.len());
        for (&seed, outcome) in seeds.iter().zip(&mut outcomes) {
            runs.push((seed, outcome.numbers));
            convergence.add(&variant.name, outcome.curve);
        }
        table.rows.push(Row {
            variant: variant.name.clone(),
            runs,
        });
    }
    write_results(plan, out, &table, &convergence)?;
    Ok(ExitCode::SUCCESS)
}

/// What is compared of a run.
struct Outcome {
    /// Its numbers in the table.
    numbers: Vec<f64>,
    /// How it settles, if that is asked for and it iterates.
    curve: Option<Vec<f64>>,
}

/// The outcomes of the runs of all ranks, in the order of runs; `None` where another rank was interrupted.
fn of_all(own: Result<Vec<(usize, Outcome)>>, ranks: &dyn Ranks) -> Result<Option<Vec<Outcome>>> {
    let interrupted = matches!(own, Err(Error::Interrupted { .. }));
    if own.is_err() && !interrupted {
        return own.map(|_| None);
    }
    // Who is interrupted does not leave the others waiting.
    let stopped = ranks.any(interrupted)?;
    let own = own?;
    if stopped {
        return Ok(None);
    }
    let mut parcel = Parcel::default();
    parcel.count(own.len());
    for (number, Outcome { numbers, curve }) in own {
        parcel.count(number);
        parcel.numbers(&numbers);
        parcel.count(usize::from(curve.is_some()));
        parcel.numbers(&curve.unwrap_or_default());
    }
    let mut all = BTreeMap::new();
    for bytes in ranks.gather(&parcel.into_bytes())? {
        let mut unpacked = Unpacked::new(&bytes);
        for _ in 0..unpacked.count()? {
            let number = unpacked.count()?;
            let numbers = unpacked.numbers()?;
            let has_curve = unpacked.count()? > 0;
            let curve = Some(unpacked.numbers()?).filter(|_| has_curve);
            all.insert(number, Outcome { numbers, curve });
        }
    }
    Ok(Some(all.into_values().collect()))
}

/// Writes and prints what is compared.
fn write_results(plan: &Plan, out: &Path, table: &Table, convergence: &Convergence) -> Result<()> {
    write_whole(&out.join("runs.csv"), table.to_csv())?;
    let page = study_page(
        &plan.title,
        &table.columns.names(),
        &table.page_rows(),
        &convergence.bands(),
    );
    write_whole(&out.join("report.html"), page)?;
    print_line(format_args!("{}\n\n{}", plan.title, table.to_text()))?;
    if !convergence.is_empty() {
        write_whole(&out.join("convergence.csv"), convergence.to_csv())?;
        print_line(format_args!(
            "\nrelative difference norm\n{}",
            convergence.to_text()
        ))?;
    }
    print_line(format_args!("\nall runs are in {}", out.display()))
}

/// The configuration of a variant, and its data.
fn configure(
    args: &Args,
    (plan, variant): (&Plan, &Variant),
    out: &Path,
) -> Result<(Experiment, Samples)> {
    let changes = [&variant.set[..], &args.overrides].concat();
    let base = args.config.as_ref().unwrap_or(&plan.config);
    let mut experiment = config::read(base, &changes).map_err(|error| match error {
        Error::Config { origin, message } => Error::Config {
            origin: format!("variant `{}` of {origin}", variant.name),
            message,
        },
        other => other,
    })?;
    args.device.choose(&mut experiment)?;
    let data = args.data.load(&mut experiment, out)?;
    Ok((experiment, data))
}

/// Makes a run unless it is there; goes on with one that was left.
fn train(
    experiment: &Experiment,
    data: &Samples,
    folder: &Path,
    verbosity: Verbosity,
) -> Result<()> {
    if verbosity.shows_progress() {
        terminal::say(&folder.display().to_string());
    }
    // A run is the same wherever it was made.
    let settings = |experiment: &Experiment| {
        let device = DeviceName::default();
        serde_json::json!(Experiment {
            device,
            ..experiment.clone()
        })
    };
    let same = |saved: &SavedRun| match settings(&saved.experiment) == settings(experiment) {
        true => saved.check_same(data),
        false => Err(Error::OtherConfiguration {
            path: folder.to_owned(),
        }),
    };
    let (folder, saved) = match RunFolder::resume(folder) {
        Ok(None) => return same(&SavedRun::read(&run_folder::model(folder)?)?),
        Ok(Some(unfinished)) => {
            let saved = SavedRun::read(&unfinished.path(CHECKPOINT))?;
            same(&saved)?;
            (unfinished, Some(saved.checkpoint))
        }
        Err(Error::NoRun { .. }) => (RunFolder::prepare(Some(folder), "", false)?, None),
        Err(error) => return Err(error),
    };
    let run = TrainingRun {
        experiment,
        ranks: &Alone,
        folder: Some(folder),
        saved,
        verbosity,
    };
    run.complete(data.clone()).map(drop)
}
