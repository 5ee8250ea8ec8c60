//! Times solves and training steps of maps that this crate writes in the vocabulary.
//!
//! `equilibria-maps FOLDER [SECONDS] [THREADS]` reads `map_*.safetensors`, each with the parameters of one map under their names and its
//! inputs as `input.0`, `input.1`, …, and prints a JSON object a line.

mod maps;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dfdx::prelude::*;
use equilibria::prelude::*;
use equilibria::solvers::anderson::Anderson;
use equilibria::{backward, from_host, StepOnly};
use safetensors::SafeTensors;

use maps::Make;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Layer = AnyLayer<f32, Cpu>;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, options @ ..] = &arguments[..] else {
        return Err("usage: equilibria-maps FOLDER [SECONDS] [THREADS]".into());
    };
    let seconds: f64 = options.first().map_or(Ok(0.2), |text| text.parse())?;
    let threads: usize = options.get(1).map_or(Ok(2), |text| text.parse())?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let mut files: Vec<_> = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    files.sort_by_key(std::fs::DirEntry::path);
    for file in files {
        time(&file.path(), seconds)?;
    }
    Ok(())
}

/// Times the map of one file, as a program and in tensors.
fn time(path: &Path, seconds: f64) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let bytes = std::fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let name = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let device = Cpu::default();
    let mut inputs = Vec::new();
    while let Ok(tensor) = file.tensor(&format!("input.{}", inputs.len())) {
        inputs.push(matrix(&device, &tensor)?);
    }
    let width = inputs.first().map_or(0, |x| x.shape().1);
    let mut layer = by_name(name, width, &device)?;
    let mut failed = None;
    layer.visit_mut("", &mut |path, parameter| {
        let read = file.tensor(path).map_err(|error| error.to_string());
        match read.and_then(|tensor| matrix(&device, &tensor).map_err(|error| error.to_string())) {
            Ok(values) if values.shape() == parameter.shape() => *parameter = values,
            Ok(values) => failed = Some(format!("{path}: {:?}", values.shape())),
            Err(error) => failed = Some(format!("{path}: {error}")),
        }
    });
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    measure(
        name,
        "program",
        &equilibrium(layer.clone())?,
        &inputs,
        seconds,
    )?;
    measure(
        name,
        "tensors",
        &equilibrium(StepOnly(layer))?,
        &inputs,
        seconds,
    )
}

/// The map that a file is named after.
fn by_name(
    name: &str,
    width: usize,
    device: &Cpu,
) -> std::result::Result<Layer, Box<dyn std::error::Error>> {
    let init = &mut Initializer::new(device, 1);
    let kind = name.split('_').nth(1).unwrap_or_default();
    Ok(match kind {
        "tanh" => AnyLayer::new(maps::Tanh::make(width, init)?),
        "residual" => AnyLayer::new(maps::Residual::make(width, init)?),
        _ => return Err(format!("no map is called {kind}").into()),
    })
}

fn matrix(
    device: &Cpu,
    tensor: &safetensors::tensor::TensorView<'_>,
) -> std::result::Result<Matrix<f32, Cpu>, Box<dyn std::error::Error>> {
    let shape = match *tensor.shape() {
        [width] => (1, width),
        [rows, width] => (rows, width),
        _ => return Err("a vector or a matrix is wanted".into()),
    };
    let values = tensor.data().chunks_exact(4);
    let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    Ok(from_host(device, values.collect(), shape)?)
}

/// Anderson with four points, `implicit`, relative tolerance 1e-4 there and back.
fn equilibrium<L: ImplicitLayer<f32, Cpu>>(layer: L) -> Result<Equilibrium<L>> {
    let solver = Anderson {
        memory: 4,
        ..Anderson::default()
    };
    let mut equilibrium =
        Equilibrium::new(layer, Arc::new(solver) as Arc<_>, backward("implicit")?);
    equilibrium.stop = Stop {
        max_evaluations: 100,
        ..Stop::at(Tolerance::relative(1e-4))
    };
    Ok(equilibrium)
}

fn measure<L: ImplicitLayer<f32, Cpu> + Clone>(
    name: &str,
    path: &str,
    equilibrium: &Equilibrium<L>,
    inputs: &[Matrix<f32, Cpu>],
    seconds: f64,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut evaluations = 0;
    let solve = || -> Result<()> {
        let solved = equilibrium.forward(inputs, NoneTape)?;
        evaluations = solved.report.evaluations();
        Ok(())
    };
    let solve_ms = median(seconds, solve)?;
    let train_ms = median(seconds, || {
        let solved = equilibrium.forward(inputs, OwnedTape::default())?;
        solved.z.square().mean::<Rank0, _>().backward();
        Ok(())
    })?;
    let line = equilibria::serde_json::json!({"map": name, "path": path, "solve_ms": solve_ms, "train_ms": train_ms, "evaluations": evaluations});
    println!("{line}");
    Ok(())
}

/// The median of what `job` takes, in ms, repeated for some time.
fn median(seconds: f64, mut job: impl FnMut() -> Result<()>) -> Result<f64> {
    job()?;
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        let begin = Instant::now();
        job()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
