//! `equilibria bench`: times DEQ fusion on workload files, in the words of the scripts that time other libraries on them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use equilibria_core::kernel::KernelBlock;
use equilibria_core::simd::{whole_tiles, Packed, TILE};
use equilibria_core::{ImplicitLayer, Report};
use rayon::prelude::*;
use serde_json::json;

use crate::error::{Error, Result};
use crate::terminal::print_line;
use crate::workload::Workload;

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct Args {
    /// A folder of workloads, `fusion_*.safetensors`
    folder: PathBuf,
    /// Threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Relative tolerance of every sample, forward and adjoint; 0 to take all steps
    #[arg(long, default_value_t = 1e-4)]
    tol: f64,
    /// Steps allowed in each solve
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    max_steps: u32,
    /// Only workloads with this in their name
    #[arg(long, default_value = "")]
    only: String,
    /// Only this job
    #[arg(long)]
    job: Option<Job>,
    /// Seconds to repeat each job for; the best run counts
    #[arg(long, default_value_t = 3.0)]
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

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let list = std::fs::read_dir(&args.folder).map_err(Error::io(&args.folder))?;
    let mut files: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("fusion_") && name.ends_with(".safetensors") && name.contains(&args.only)
    });
    files.sort();
    if files.is_empty() {
        return Err(Error::Workload {
            path: args.folder.clone(),
            message: format!("holds no fusion_*{}*.safetensors", args.only),
        });
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::from(args.threads));
    let pool = pool.build().map_err(|error| Error::Workload {
        path: args.folder.clone(),
        message: format!("{} threads: {error}", args.threads),
    })?;
    let peak = pool.install(|| peak(usize::from(args.threads)));
    for path in files {
        let workload = Workload::read(&path, args.tol, args.max_steps as usize)?;
        pool.install(|| time(&workload, args, peak))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Multiplications and additions a second of one large product on every thread at the same time.
fn peak(threads: usize) -> f64 {
    const ROWS: usize = 240;
    const WIDTH: usize = 512;
    let ones = vec![1.0_f32; WIDTH * WIDTH];
    let (x, weight) = (&ones[..ROWS * WIDTH], Packed::new(&ones, WIDTH, WIDTH));
    let mut rooms = vec![vec![0.0; ROWS * WIDTH]; threads];
    let ms = best(0.1, || {
        rooms.par_iter_mut().for_each(|y| weight.multiply(x, y));
        Ok(())
    });
    let operations = 2.0 * (threads * ROWS * WIDTH * WIDTH) as f64;
    operations / ms.map_or(f64::INFINITY, |ms| ms * 1e-3)
}

/// One line of the output.
#[derive(Default)]
struct Line {
    ms: f64,
    steps: usize,
    /// Evaluations per sample, mean over equilibria.
    mean_steps: f64,
    residual: f64,
    adjoint_residual: f64,
    /// The share of the time that the products would take at the peak rate.
    product_share: Option<f64>,
}

fn time(workload: &Workload, args: &Args, peak: f64) -> Result<()> {
    let fusion = workload.fusion();
    let wanted = |job| args.job.is_none_or(|only| only == job);
    let (states, reports) = workload.solve(&fusion)?;
    let share = |operations: f64, ms: f64| Some(operations / peak / (ms * 1e-3));
    if wanted(Job::Map) {
        let ms = map(workload, &workload.joint_state(&states), args.seconds)?;
        let line = Line {
            ms,
            steps: 1,
            mean_steps: 1.0,
            product_share: share(workload.map_operations(), ms),
            ..Line::default()
        };
        print(workload, args, Job::Map, &line)?;
    }
    let mut line = Line {
        steps: (reports.iter().map(Report::max_evaluations).max()).unwrap_or(0),
        mean_steps: reports.iter().map(Report::mean_evaluations).sum::<f64>()
            / reports.len() as f64,
        residual: workload.residual(&states)?,
        ..Line::default()
    };
    if wanted(Job::Solve) {
        line.ms = best(args.seconds, || workload.solve(&fusion).map(drop))?;
        line.product_share = share(workload.solve_operations(&reports), line.ms);
        print(workload, args, Job::Solve, &line)?;
    }
    if wanted(Job::Train) {
        line.ms = best(args.seconds, || workload.train(&fusion).map(drop))?;
        line.product_share = None;
        line.adjoint_residual = workload.adjoint_residual(&states)?;
        print(workload, args, Job::Train, &line)?;
    }
    Ok(())
}

/// Rows one thread applies the map to at a time, at most: few stay in cache; many share the reading of weights that do not.
const ROWS: [usize; 2] = [30, 174];

/// Bytes of the second-level cache.
const CACHE: usize = 1 << 20;

/// Some rows of the map, its argument and its result.
type Rows<'a> = (Box<dyn KernelBlock<f32>>, &'a [f32], &'a mut [f32]);

/// Milliseconds of one application of the joint map at `z`. Not at 0, where the products of all rows are the same.
fn map(workload: &Workload, z: &[f32], seconds: f64) -> Result<f64> {
    let (layer, inputs) = (workload.parts.joint(), workload.parts.joint_inputs()?);
    let Some(kernel) = layer.kernel(&inputs) else {
        return Ok(f64::NAN);
    };
    let (batch, dim) = (workload.parts.sizes.batch, workload.parts.sizes.joint_dim());
    let weight = workload.parts.sizes.width.pow(2) * size_of::<f32>();
    let most = ROWS[usize::from(weight > CACHE)];
    let count = batch
        .div_ceil(most)
        .next_multiple_of(rayon::current_num_threads());
    let count = count.min(batch.div_ceil(TILE));
    let mut out = vec![0.0; z.len()];
    let (mut blocks, mut rest): (Vec<Rows<'_>>, _) = (Vec::new(), &mut out[..]);
    for index in 0..count {
        let rows = whole_tiles(batch, index, count);
        let (out, next) = std::mem::take(&mut rest).split_at_mut(rows.len() * dim);
        let z = &z[rows.start * dim..rows.end * dim];
        blocks.push((kernel.clone().block(rows), z, out));
        rest = next;
    }
    best(seconds, || {
        match &mut blocks[..] {
            [(block, z, out)] => block.apply(z, out),
            blocks => (blocks.par_iter_mut()).for_each(|(block, z, out)| block.apply(z, out)),
        }
        Ok(())
    })
}

/// Milliseconds of the fastest of at least three runs.
fn best(seconds: f64, mut job: impl FnMut() -> Result<()>) -> Result<f64> {
    job()?;
    let (started, mut fastest, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 3 || started.elapsed().as_secs_f64() < seconds {
        let run = Instant::now();
        job()?;
        fastest = run.elapsed().as_secs_f64().min(fastest);
        runs += 1;
    }
    Ok(fastest * 1e3)
}

fn print(workload: &Workload, args: &Args, job: Job, line: &Line) -> Result<()> {
    let (name, job) = (&workload.name, job.name());
    if args.json {
        let line = json!({
            "system": concat!("equilibria-", env!("CARGO_PKG_VERSION")), "workload": name, "job": job,
            "ms": line.ms, "steps": line.steps, "mean_steps": line.mean_steps, "residual": line.residual,
            "adjoint_residual": line.adjoint_residual, "product_share": line.product_share,
            "threads": args.threads,
        });
        return print_line(line);
    }
    let share = line.product_share.map_or_else(String::new, |share| {
        format!("  products {:.0} %", 100.0 * share)
    });
    print_line(format_args!(
        "{name:<28} {job:<6} {:>10.3} ms  {:>3} evaluations, mean {:.1}  residual {:.1e}  adjoint {:.1e}{share}",
        line.ms, line.steps, line.mean_steps, line.residual, line.adjoint_residual
    ))
}
