//! `equilibria train`: trains a model and writes a run folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use equilibria_fusion::checkpoint::Checkpoint;
use equilibria_fusion::data::Samples;
use equilibria_fusion::ranks::Ranks;
use equilibria_fusion::Experiment;

use crate::config::{self, DataArgs};
use crate::device::DeviceArgs;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::run_folder::{RunFolder, CHECKPOINT, RUNS};
use crate::saved_run::SavedRun;
use crate::terminal::{self, print_line, Verbosity};
use crate::training_run::TrainingRun;

/// Arguments of `train`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration, a TOML file
    #[arg(required_unless_present = "resume")]
    config: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// The run folder to write [default: a new one under runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the run folder if it exists
    #[arg(long)]
    force: bool,
    /// Go on with the unfinished run of this folder, as it was configured
    #[arg(long, value_name = "RUN_DIR", conflicts_with_all = ["config", "out", "force", "seed", "overrides"])]
    resume: Option<PathBuf>,
    /// Seed of initialization, validation rows, batches, dropout and probes
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Change one value of the configuration, e.g. `fusion.solver.memory=4`
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
    /// Print the metrics as one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, verbosity: Verbosity, ranks: &dyn Ranks) -> Result<ExitCode> {
    let start = match (&args.resume, &args.config) {
        (Some(run), _) => match Start::again(args, run, ranks)? {
            Some(start) => start,
            None => {
                let run = run.display();
                if ranks.leads() {
                    print_line(format_args!("{run}: complete, nothing to resume"))?;
                }
                return Ok(ExitCode::SUCCESS);
            }
        },
        (None, Some(config)) => Start::anew(args, config, ranks)?,
        (None, None) => unreachable!("clap asks for one of the two"),
    };
    interrupt::listen();
    let run = TrainingRun {
        experiment: &start.experiment,
        ranks,
        folder: start.folder,
        saved: start.saved,
        verbosity,
    };
    let (summary, place) = match run.complete(start.data) {
        Err(error @ Error::Interrupted { .. }) => {
            if ranks.leads() {
                terminal::say(&error.to_string());
            }
            return Ok(ExitCode::from(130));
        }
        outcome => {
            outcome.map_err(|error| config::refused(error, &start.experiment, &start.origin))?
        }
    };
    let Some(place) = place else {
        return Ok(ExitCode::SUCCESS);
    };
    print_line(format_args!(
        "test: {}; {:.1} s; run folder {}",
        summary.test,
        summary.seconds,
        place.display(),
    ))?;
    if args.json {
        print_line(serde_json::json!(summary))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a run starts from.
struct Start {
    experiment: Experiment,
    /// The file with the configuration.
    origin: String,
    data: Samples,
    /// Where it is written, by the first rank.
    folder: Option<RunFolder>,
    /// Where it was left, if it was.
    saved: Option<Checkpoint>,
}

impl Start {
    /// From a configuration.
    fn anew(args: &Args, config: &Path, ranks: &dyn Ranks) -> Result<Self> {
        let mut experiment = config::read(config, &args.overrides)?;
        experiment.seed = args.seed.unwrap_or(experiment.seed);
        args.device.choose(&mut experiment)?;
        let place = args.out.as_deref().unwrap_or(Path::new(RUNS));
        let data = args.data.load(&mut experiment, place)?;
        let name = config.file_stem().unwrap_or_default().to_string_lossy();
        let folder = (ranks.leads())
            .then(|| RunFolder::prepare(args.out.as_deref(), &name, args.force))
            .transpose()?;
        Ok(Self {
            folder,
            experiment,
            origin: config.display().to_string(),
            data,
            saved: None,
        })
    }

    /// From the checkpoint of an unfinished run, which the first rank reads for all; `None` if the run is complete.
    fn again(args: &Args, run: &Path, ranks: &dyn Ranks) -> Result<Option<Self>> {
        let found = ranks.leads().then(|| RunFolder::resume(run)).transpose()?;
        let folder = found.flatten();
        let (mut path, mut bytes) = (run.join(CHECKPOINT), Vec::new());
        if let Some(folder) = &folder {
            path = folder.path(CHECKPOINT);
            bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        }
        let bytes = ranks.of_leader(bytes)?;
        if bytes.is_empty() && folder.is_none() {
            return Ok(None);
        }
        let mut saved = SavedRun::of(Checkpoint::of_bytes(&path, bytes)?, &path)?;
        args.device.choose(&mut saved.experiment)?;
        let place = folder.as_ref().map_or(run, RunFolder::target);
        let data = args.data.load(&mut saved.experiment, place)?;
        saved.check(&data)?;
        saved.check_same(&data)?;
        Ok(Some(Self {
            origin: path.display().to_string(),
            experiment: saved.experiment,
            data,
            folder,
            saved: Some(saved.checkpoint),
        }))
    }
}
