//! `equilibria bench`: times DEQ fusion on workload files, in the words of the scripts that time other libraries on them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use equilibria_core::kernel::Kernel;
use equilibria_core::ImplicitLayer;
use rayon::prelude::*;
use serde_json::json;

use crate::error::{Error, Result};
use crate::workload::Workload;

/// Arguments of `bench`.
#[derive(clap::Args)]
pub struct Args {
    /// A folder of workloads, `fusion_*.safetensors`
    folder: PathBuf,
    /// Threads
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Relative tolerance of every sample, forward and adjoint
    #[arg(long, default_value_t = 1e-4)]
    tol: f64,
    /// Only workloads with this in their name
    #[arg(long, default_value = "")]
    only: String,
    /// Seconds to repeat each job for; the best run counts
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
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
    for path in files {
        let workload = Workload::read(&path, args.tol)?;
        pool.install(|| time(&workload, args))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows one thread applies the map to at a time.
const BLOCK: usize = 32;

fn time(workload: &Workload, args: &Args) -> Result<()> {
    let fusion = workload.fusion();
    let (states, steps) = workload.solve(&fusion)?;
    let residual = workload.residual(&states)?;
    let adjoint = workload.adjoint_residual(&states)?;

    let ms = best(args.seconds, || map(workload))?;
    report(workload, args, ("map", ms, 1), (0.0, 0.0));
    let ms = best(args.seconds, || {
        workload.solve(&fusion).map(|_| Duration::ZERO)
    })?;
    report(workload, args, ("solve", ms, steps), (residual, 0.0));
    let ms = best(args.seconds, || {
        workload.train(&fusion).map(|_| Duration::ZERO)
    })?;
    report(workload, args, ("train", ms, steps), (residual, adjoint));
    Ok(())
}

/// One application of the joint map from 0, with the weights at hand; returns what it took to get them there, which does
/// not count.
fn map(workload: &Workload) -> Result<Duration> {
    let started = Instant::now();
    let (layer, inputs) = (workload.parts.joint(), workload.parts.joint_inputs()?);
    let Some(kernel) = layer.kernel(&inputs) else {
        return Ok(Duration::ZERO);
    };
    let (batch, dim) = (workload.parts.sizes.batch, workload.parts.sizes.joint_dim());
    let blocks: Vec<_> = (0..batch.div_ceil(BLOCK))
        .map(|block| block * BLOCK..((block + 1) * BLOCK).min(batch))
        .collect();
    let mut rooms: Vec<_> = (blocks.iter())
        .map(|rows| (vec![0.0; rows.len() * dim], vec![0.0; rows.len() * dim]))
        .collect();
    let kernel: &dyn Kernel<f32> = &*kernel;
    let spent = started.elapsed();
    apply(kernel, &blocks, &mut rooms);
    Ok(spent)
}

fn apply(
    kernel: &dyn Kernel<f32>,
    blocks: &[std::ops::Range<usize>],
    rooms: &mut [(Vec<f32>, Vec<f32>)],
) {
    let run = |rows: &std::ops::Range<usize>, (z, out): &mut (Vec<f32>, Vec<f32>)| {
        kernel.block(rows.clone()).apply(z, out);
    };
    match (blocks, rooms) {
        ([rows], [room]) => run(rows, room),
        (blocks, rooms) => blocks
            .par_iter()
            .zip(rooms)
            .for_each(|(rows, room)| run(rows, room)),
    }
}

/// Milliseconds of the fastest of at least three runs; `job` returns what is to be left out of its own time.
fn best(seconds: f64, job: impl Fn() -> Result<Duration>) -> Result<f64> {
    job()?;
    let (started, mut fastest, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 3 || started.elapsed().as_secs_f64() < seconds {
        let run = Instant::now();
        let preparation = job()?;
        let took = run.elapsed().saturating_sub(preparation);
        fastest = fastest.min(took.as_secs_f64() * 1e3);
        runs += 1;
    }
    Ok(fastest)
}

fn report(
    workload: &Workload,
    args: &Args,
    (job, ms, steps): (&str, f64, usize),
    (residual, adjoint_residual): (f64, f64),
) {
    let name = &workload.name;
    if args.json {
        let line = json!({
            "system": concat!("equilibria-", env!("CARGO_PKG_VERSION")), "workload": name, "job": job, "ms": ms,
            "steps": steps, "residual": residual, "adjoint_residual": adjoint_residual, "threads": args.threads,
        });
        println!("{line}");
    } else {
        println!(
            "{name:<28} {job:<6} {ms:>10.3} ms  {steps:>3} evaluations  residual {residual:.1e}  adjoint {adjoint_residual:.1e}"
        );
    }
}
