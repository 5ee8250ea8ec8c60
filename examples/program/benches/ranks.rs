//! Where the time of ranks goes: work, waiting for the slowest, and sums.
//!
//! `mpirun -n 2 ranks CONFIG.toml [--data DIR | --random ROWSxWIDTHxMODALITIES] [--epochs N] [--batch N] [--reproducible] [--plain]` trains without
//! validation and tells of the epochs after the first. A barrier before each exchange, which training does without, tells waiting from
//! sending; `--plain` leaves it out and takes the rate alone.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use dfdx::prelude::Cpu;
use equilibria_core::parallel::lock;
use equilibria_core::serde_json::{self, json, Value};
use equilibria_core::{Backend, Error, Result, Scalar};
use equilibria_digits as _;
use equilibria_fusion::data::{DataSet, MinMax, Split, Table, Targets};
use equilibria_fusion::progress::Progress;
use equilibria_fusion::ranks::Ranks;
use equilibria_fusion::train::Trainer;
use equilibria_fusion::{Dtype, Experiment, Model};
use equilibria_testing::random_values;

/// That of the program.
#[global_allocator]
static ALLOCATOR: equilibria_program::allocator::MiMalloc = equilibria_program::allocator::MiMalloc;

/// Seconds of a rank.
#[derive(Default, Clone)]
struct Seconds {
    /// Between the end of one exchange and the beginning of the next.
    work: Vec<f64>,
    waiting: f64,
    sending: f64,
    bytes: usize,
    exchanges: usize,
}

/// Takes the time of exchanges.
struct Timed<'r> {
    inner: &'r dyn Ranks,
    seconds: Mutex<(Instant, Seconds)>,
}

impl<'r> Timed<'r> {
    fn new(inner: &'r dyn Ranks) -> Self {
        Self {
            inner,
            seconds: Mutex::new((Instant::now(), Seconds::default())),
        }
    }

    /// What was measured since the last time.
    fn take(&self) -> Seconds {
        let mut seconds = lock(&self.seconds);
        seconds.0 = Instant::now();
        std::mem::take(&mut seconds.1)
    }

    fn timed<T>(&self, bytes: usize, exchange: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        self.inner.gather(&[])?;
        let ready = Instant::now();
        let result = exchange()?;
        let end = Instant::now();
        let (last, seconds) = &mut *lock(&self.seconds);
        seconds.work.push((start - *last).as_secs_f64());
        seconds.waiting += (ready - start).as_secs_f64();
        seconds.sending += (end - ready).as_secs_f64();
        seconds.bytes += bytes;
        seconds.exchanges += 1;
        *last = end;
        Ok(result)
    }
}

impl Ranks for Timed<'_> {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.timed(own.len(), || self.inner.gather(own))
    }

    fn sum_singles(&self, numbers: &mut [f32]) -> Result<()> {
        self.timed(size_of_val(numbers), || self.inner.sum_singles(numbers))
    }

    fn sum_doubles(&self, numbers: &mut [f64]) -> Result<()> {
        self.timed(size_of_val(numbers), || self.inner.sum_doubles(numbers))
    }
}

/// The arguments.
struct Bench {
    experiment: Experiment,
    data: DataSet,
    /// Whether the rate alone is wanted.
    plain: bool,
}

fn arguments() -> Bench {
    let (mut config, mut random, mut changes) = (None, None, json!({}));
    let (mut folder, mut plain) = (None::<PathBuf>, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match &*argument {
            // Cargo says so.
            "--bench" => {}
            "--data" => folder = Some(value().into()),
            "--random" => random = Some(value()),
            "--epochs" => changes["epochs"] = json!(value().parse::<usize>().expect("a number")),
            "--batch" => changes["batch"] = json!(value().parse::<usize>().expect("a number")),
            "--plain" => plain = true,
            "--reproducible" => changes["reproducible"] = json!(true),
            _ => config = Some(argument),
        }
    }
    let text = std::fs::read_to_string(config.expect("a configuration")).expect("a file");
    let mut config: Value = toml::from_str(&text).expect("TOML");
    for (key, value) in changes.as_object().into_iter().flatten() {
        config["training"][key] = value.clone();
    }
    config["training"]["validation"] = json!(0.0);
    if let Some(folder) = folder {
        config["data"] = json!({ "type": "folder", "path": folder });
    }
    let experiment: Experiment = serde_json::from_value(config).expect("a configuration");
    experiment.validate().expect("in range");
    let data = match random {
        Some(sizes) => random_data(&sizes),
        None => experiment.data.load().expect("sound"),
    };
    Bench {
        experiment,
        data,
        plain,
    }
}

/// Classes and normal numbers that have nothing to do with each other.
fn random_data(sizes: &str) -> DataSet {
    let sizes = sizes.split('x').map(|size| size.parse().expect("a number"));
    let [rows, columns, modalities] = sizes.collect::<Vec<usize>>()[..] else {
        panic!("--random ROWSxWIDTHxMODALITIES");
    };
    let table = |seed: u64| Table {
        name: seed.to_string(),
        columns,
        values: random_values(rows * columns, seed),
    };
    let train = Split {
        modalities: (1..=modalities as u64).map(table).collect(),
        targets: Targets::Classes((0..rows).map(|row| row % 10).collect()),
    };
    DataSet {
        name: "random".to_owned(),
        classes: (0..10).map(|class| class.to_string()).collect(),
        test: train.select(&[0]),
        train,
    }
}

fn train<E: Scalar>(bench: &Bench, ranks: &dyn Ranks) -> Result<()>
where
    Cpu: Backend<E>,
{
    let (experiment, device) = (&bench.experiment, Cpu::default());
    let mut rows = bench.data.train.clone();
    MinMax::fit(&rows).apply(&mut rows).expect("finite");
    let columns: Vec<usize> = rows.modalities.iter().map(|table| table.columns).collect();
    let mut model: Model<E, Cpu> = experiment.model(&device, &columns, bench.data.classes.len())?;
    let timed = Timed::new(ranks);
    let (mut start, mut epochs) = (Instant::now(), 0);
    let mut progress = Progress::new(&experiment.training)?;
    let mut trainer = Trainer {
        model: &mut model,
        device: &device,
        training: &experiment.training,
        seed: experiment.seed,
    };
    let mut steps = 0.0;
    let used = if bench.plain { ranks } else { &timed };
    trainer.run_on::<Error>(used, &rows, None, &mut progress, &mut |_, progress| {
        match progress.history.len() {
            1 => {
                timed.take();
                start = Instant::now();
            }
            _ => {
                epochs += 1;
                let last = progress.history.last();
                steps += last.map_or(0.0, |epoch| epoch.solver_steps + epoch.adjoint_steps);
            }
        }
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let own = timed.take();
    let work: f64 = own.work.iter().sum();
    // What each step would take if all ranks had the same to do.
    let (mut slowest, mut fair) = (0.0, 0.0);
    let bytes: Vec<u8> = own.work.iter().flat_map(|x| x.to_le_bytes()).collect();
    let all = ranks.gather(&bytes)?;
    for exchange in 0..own.work.len() {
        let of = |bytes: &Vec<u8>| f64::from_le_bytes(bytes.as_chunks().0[exchange]);
        slowest += all.iter().map(of).fold(0.0, f64::max);
        fair += all.iter().map(of).sum::<f64>() / all.len() as f64;
    }
    let percent = |part: f64| 100.0 * part / seconds;
    let line = format!(
        "rank {}: {} threads, work {:.1} %, waiting {:.1} %, sending {:.2} %",
        ranks.rank(),
        rayon::current_num_threads(),
        percent(work),
        percent(own.waiting),
        percent(own.sending),
    );
    for line in ranks.gather(line.as_bytes())? {
        if ranks.leads() {
            println!("{}", String::from_utf8_lossy(&line));
        }
    }
    if ranks.leads() {
        println!(
            "{} ranks: {:.1} rows/s, {:.2} ms an exchange, {} exchanges of {:.0} kB, {:.1} evaluations a row, slowest / mean work {:.3}",
            ranks.size(),
            (rows.len() * epochs) as f64 / seconds,
            1e3 * own.sending / own.exchanges.max(1) as f64,
            own.exchanges,
            own.bytes as f64 / own.exchanges.max(1) as f64 / 1e3,
            steps / f64::from(epochs.max(1) as u32),
            slowest / fair,
        );
    }
    Ok(())
}

fn main() {
    // SAFETY: the first thing the program does, with one thread.
    #[allow(unsafe_code)]
    unsafe {
        equilibria_program::allocator::keep_memory();
    }
    let bench = arguments();
    let work = |ranks: &dyn Ranks| match bench.experiment.dtype {
        Dtype::F32 => train::<f32>(&bench, ranks),
        Dtype::F64 => train::<f64>(&bench, ranks),
    };
    #[cfg(feature = "mpi")]
    {
        let job = equilibria_fusion::ranks::mpi::Job::begin().expect("MPI begins");
        let ranks: &dyn Ranks = job.world();
        rayon::scope(|_| work(ranks)).expect("it trains");
    }
    #[cfg(not(feature = "mpi"))]
    rayon::scope(|_| work(&equilibria_fusion::ranks::Alone)).expect("it trains");
}
