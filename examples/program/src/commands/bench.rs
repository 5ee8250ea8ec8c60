//! `equilibria bench`: times DEQ fusion on workload files, in the words of the scripts that time other libraries on them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use equilibria_core::{Backend, DeviceName, FixedPointSolver};
use equilibria_reference::timing::{self, Timing};
use equilibria_reference::workload::{self, Workload};
use serde_json::json;

use crate::commands::{number, solve};
use crate::device::{DeviceArgs, WorkInSingle};
use crate::error::{Error, Result};
use crate::terminal::print_line;

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct Args {
    /// A folder of workloads, `fusion_*.safetensors`
    folder: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
    /// Threads of the processor
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Relative tolerance of every sample, forward and adjoint; 0 to take all steps
    #[arg(long, default_value_t = 1e-4, allow_negative_numbers = true, value_parser = number::tolerance_or_zero)]
    tol: f64,
    /// Evaluations allowed in each solve, per sample
    #[arg(long, alias = "max-steps", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    max_evaluations: u32,
    /// A solver, by name or as a table such as `{type="anderson", memory=3}`, forward and adjoint [default: anderson with memory 4]
    #[arg(long)]
    solver: Option<String>,
    /// Round no early evaluation to bf16, as it is done where that pays
    #[arg(long)]
    exact: bool,
    /// Only workloads with this in their name
    #[arg(long, default_value = "")]
    only: String,
    /// Only this job
    #[arg(long)]
    job: Option<Job>,
    /// Seconds to repeat each job for; the best run counts
    #[arg(long, default_value_t = 3.0, allow_negative_numbers = true, value_parser = number::seconds)]
    seconds: f64,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Job {
    /// One application of the joint map, at the equilibrium.
    Map,
    /// The solve from 0 to the tolerance.
    Solve,
    /// Solve, loss with Jacobian penalty, and all gradients.
    Train,
}

impl Job {
    fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Solve => "solve",
            Self::Train => "train",
        }
    }
}

impl From<timing::Job> for Job {
    fn from(job: timing::Job) -> Self {
        match job {
            timing::Job::Map => Self::Map,
            timing::Job::Solve => Self::Solve,
            timing::Job::Train => Self::Train,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let device = args.device.or(DeviceName::Cpu)?;
    let files = workload::files(&args.folder, &args.only)?;
    let solver = args.solver.as_deref().map(solve::solver).transpose()?;
    let threads = usize::from(args.threads);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let pool = pool.build().map_err(|error| Error::Threads {
        threads,
        source: error,
    })?;
    let peak = (device == DeviceName::Cpu).then(|| pool.install(|| timing::peak(threads)));
    for path in files {
        let timed = Timed {
            path: &path,
            args,
            solver: solver.clone(),
            peak,
            device,
        };
        pool.install(|| timed.run_on(device))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file to be timed.
struct Timed<'a> {
    path: &'a Path,
    args: &'a Args,
    /// None for that of the workloads.
    solver: Option<Box<dyn FixedPointSolver>>,
    /// Operations a second of the processor.
    peak: Option<f64>,
    device: DeviceName,
}

impl WorkInSingle for Timed<'_> {
    type Output = ();

    fn on<D: Backend<f32>>(mut self, device: &D) -> Result<()> {
        let (path, args) = (self.path, self.args);
        let most = args.max_evaluations as usize;
        let mut workload = Workload::read(device, path, args.tol, most)?;
        workload.rounded = !args.exact;
        if let Some(solver) = self.solver.take() {
            workload.solver = solver;
        }
        let wanted = |job: timing::Job| args.job.is_none_or(|only| only == job.into());
        let mut printed = Ok(());
        let mut tell = |job: timing::Job, timing: &Timing| {
            if printed.is_ok() {
                printed = self.print(&workload.name, job.into(), timing);
            }
        };
        timing::time(&workload, wanted, args.seconds, self.peak, &mut tell)?;
        printed
    }
}

impl Timed<'_> {
    fn print(&self, name: &str, job: Job, timing: &Timing) -> Result<()> {
        let (args, job) = (self.args, job.name());
        if args.json {
            let line = json!({
                "system": concat!("equilibria-", env!("CARGO_PKG_VERSION")), "workload": name, "job": job,
                "ms": timing.ms, "steps": timing.evaluations, "mean_steps": timing.mean_evaluations, "residual": timing.residual,
                "adjoint_residual": timing.adjoint_residual, "product_share": timing.product_share,
                "threads": args.threads, "device": self.device,
            });
            return print_line(line);
        }
        let share = timing.product_share.map_or_else(String::new, |share| {
            format!("  products {:.0} %", 100.0 * share)
        });
        print_line(format_args!(
            "{name:<28} {job:<6} {:>10.3} ms  {:>3} evaluations, mean {:.1}  residual {:.1e}  adjoint {:.1e}{share}",
            timing.ms, timing.evaluations, timing.mean_evaluations, timing.residual, timing.adjoint_residual
        ))
    }
}
