//! Times solves and training steps of maps that this crate writes in the vocabulary.
//!
//! `equilibria-maps FOLDER [SECONDS] [THREADS] [SOLVER]` reads `map_*.safetensors`, each with the parameters of one map under their names and its
//! inputs as `input.0`, `input.1`, …, and prints a JSON object a line. A file whose metadata says so is one of a registered layer.

mod maps;
mod registered;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dfdx::prelude::*;
use equilibria::prelude::*;
use equilibria::solvers::anderson::Anderson;
use equilibria::{backward, from_host, regularizer, solver};
use safetensors::SafeTensors;

use maps::{Make, Plain};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Layer = AnyLayer<f32, Cpu>;

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, options @ ..] = &arguments[..] else {
        return Err("usage: equilibria-maps FOLDER [SECONDS] [THREADS] [SOLVER]".into());
    };
    let seconds: f64 = options.first().map_or(Ok(0.2), |text| text.parse())?;
    let threads: usize = options.get(1).map_or(Ok(2), |text| text.parse())?;
    let solver: Arc<dyn FixedPointSolver> = match options.get(2) {
        Some(name) => solver(name)?,
        None => Arc::new(Anderson {
            memory: 4,
            ..Anderson::default()
        }),
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let mut files: Vec<_> = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    files.sort_by_key(std::fs::DirEntry::path);
    for file in files {
        time(&file.path(), &solver, seconds)?;
    }
    Ok(())
}

/// Times the map of one file, in the vocabulary and, where it is there, in plain dfdx operations.
fn time(path: &Path, solver: &Arc<dyn FixedPointSolver>, seconds: f64) -> Outcome<()> {
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
    if registered::time(name, &bytes, &inputs, seconds)? {
        return Ok(());
    }
    let width = inputs.first().map_or(0, |x| x.shape().1);
    for (path, plain) in [("program", false), ("dfdx", true)] {
        let Some(mut layer) = by_name(name, plain, width, &device)? else {
            continue;
        };
        load(&mut layer, &file, &device)?;
        measure(name, path, &equilibrium(layer, solver)?, &inputs, seconds)?;
    }
    Ok(())
}

/// Gives the parameters of a layer the values they have in a file.
fn load(
    layer: &mut impl Parameters<f32, Cpu>,
    file: &SafeTensors<'_>,
    device: &Cpu,
) -> Outcome<()> {
    let mut outcome = Ok(());
    layer.visit_mut("", &mut |path, parameter| {
        let read = file
            .tensor(path)
            .map_err(|error| format!("{path}: {error}").into());
        match read.and_then(|tensor| matrix(device, &tensor)) {
            Ok(values) if values.shape() == parameter.shape() => *parameter = values,
            Ok(values) => outcome = Err(format!("{path}: {:?}", values.shape()).into()),
            Err(error) => outcome = Err(error),
        }
    });
    outcome
}

/// The map that a file is named after, in the vocabulary or in plain dfdx operations; `None` if it is not written in those.
fn by_name(name: &str, plain: bool, width: usize, device: &Cpu) -> Outcome<Option<Layer>> {
    let init = &mut Initializer::new(device, 1);
    let kind = name.split('_').nth(1).unwrap_or_default();
    Ok(Some(match (kind, plain) {
        ("tanh", false) => AnyLayer::new(maps::Tanh::make(width, init)?),
        ("tanh", true) => AnyLayer::new(Plain(maps::Tanh::make(width, init)?)),
        ("residual", false) => AnyLayer::new(maps::Residual::make(width, init)?),
        ("residual", true) => AnyLayer::new(Plain(maps::Residual::make(width, init)?)),
        (_, true) => return Ok(None),
        ("masked", _) => AnyLayer::new(maps::Masked::make(width, init)?),
        ("fuse", _) => AnyLayer::new(maps::Fuse::make(width, init)?),
        ("joint", _) => AnyLayer::new(maps::Joint::make(width, init)?),
        ("identity", _) => AnyLayer::new(<maps::Identity as Make<f32, Cpu>>::make(width, init)?),
        ("gated", _) => AnyLayer::new(maps::Gated::make(width, init)?),
        ("mlp", _) => AnyLayer::new(maps::Mlp::make(width, init)?),
        ("attention", _) => AnyLayer::new(maps::Attention::make(width, init)?),
        _ => return Err(format!("no map is called {kind}").into()),
    }))
}

fn matrix(device: &Cpu, tensor: &safetensors::tensor::TensorView<'_>) -> Outcome<Matrix<f32, Cpu>> {
    let shape = match *tensor.shape() {
        [width] => (1, width),
        [rows, width] => (rows, width),
        _ => return Err("a vector or a matrix is wanted".into()),
    };
    let values = tensor.data().chunks_exact(4);
    let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    Ok(from_host(device, values.collect(), shape)?)
}

/// `implicit`, relative tolerance 1e-4 there and back.
fn equilibrium<L: ImplicitLayer<f32, Cpu>>(
    layer: L,
    solver: &Arc<dyn FixedPointSolver>,
) -> Result<Equilibrium<L>> {
    let mut equilibrium = Equilibrium::new(layer, solver.clone(), backward("implicit")?);
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
) -> Outcome<()> {
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
    let mut regularized = equilibrium.clone();
    regularized.regularizers.push(regularizer("jacobian")?);
    let penalty_ms = median(seconds, || train_regularized(&regularized, inputs))?;
    let line = equilibria::serde_json::json!({"map": name, "path": path, "solve_ms": solve_ms, "train_ms": train_ms,
        "penalty_ms": penalty_ms, "evaluations": evaluations});
    println!("{line}");
    Ok(())
}

/// A training step with the Jacobian penalty.
fn train_regularized<L: ImplicitLayer<f32, Cpu>>(
    equilibrium: &Equilibrium<L>,
    inputs: &[Matrix<f32, Cpu>],
) -> Result<()> {
    let (all, starts) = (
        std::slice::from_ref(equilibrium),
        vec![equilibrium.zero_start(inputs)?],
    );
    let mut solved =
        Equilibrium::forward_each(all, starts, &[inputs], OwnedTape::default(), Some(&[1]))?;
    let (z, penalty) = (
        solved.solved.swap_remove(0).z,
        solved.penalties.swap_remove(0),
    );
    let loss = z.put_tape(solved.tape).square().mean::<Rank0, _>();
    (loss + penalty.sum::<Rank0, _>()).backward();
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
