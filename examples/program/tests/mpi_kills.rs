//! Jobs of MPI of which a rank, or `mpirun`, is killed at random moments, and which go on with other numbers of ranks: they end where an
//! uninterrupted process does, to the last bit.
#![cfg(target_os = "linux")]

#[path = "small/job.rs"]
mod job;
#[path = "small/runs.rs"]
mod runs;
mod small;

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use runs::Bench;

/// In f64, with a checkpoint after every epoch.
fn config() -> String {
    let config = small::CONFIG.replace("seed = 3", "seed = 3\ndtype = \"f64\"");
    config.replace("checkpoint = 5", "checkpoint = 1\nreproducible = true")
}

/// The processes that work in a folder: a job, and what is left of it.
fn processes(folder: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let here = |number: &u32| {
        let place = std::fs::read_link(format!("/proc/{number}/cwd"));
        place.is_ok_and(|place| place == folder)
    };
    numbers.filter(here).collect()
}

/// The process of a rank, by what Open MPI tells it.
fn process_of(folder: &Path, rank: usize) -> Option<u32> {
    let told = format!("OMPI_COMM_WORLD_RANK={rank}");
    let is_it = |number: &u32| {
        let all = std::fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
        all.split(|&byte| byte == 0)
            .any(|own| own == told.as_bytes())
    };
    processes(folder).into_iter().find(is_it)
}

/// Sends a signal to a rank or, without one or before it is there, to `mpirun`. Says what it did.
fn strike(job: &Child, folder: &Path, rank: Option<usize>, signal: &str) -> String {
    let found = rank.and_then(|rank| process_of(folder, rank));
    let (number, whom) = match (rank, found) {
        (Some(rank), Some(number)) => (number, format!("rank {rank}")),
        _ => (job.id(), "mpirun".to_owned()),
    };
    // It may have come to its end by itself.
    let sent = Command::new("kill")
        .args([signal, &number.to_string()])
        .output();
    sent.expect("kill");
    format!("{signal} to {whom}")
}

/// Waits until no process of a job is left.
fn wait_for_all(folder: &Path) {
    let start = Instant::now();
    while !processes(folder).is_empty() {
        let waited = start.elapsed() < Duration::from_secs(30);
        assert!(waited, "{:?} outlive their job", processes(folder));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn end_like_an_uninterrupted_one(kills: usize, seed: u64) {
    let bench = Bench::of(&config(), small::write_data);
    let folder = &bench.folder.path().canonicalize().expect("a folder");
    bench.whole("whole");
    let start = |size, run: &str| {
        let new = ["train", "config.toml", "--data", "data", "--out", run];
        let arguments: &[&str] = match bench.partial(run).join("checkpoint.safetensors").exists() {
            true => &["train", "--resume", run],
            false => &new,
        };
        job::ranks(folder, size, arguments)
    };
    let started = Instant::now();
    let output = start(2, "timed").output().expect("mpirun is installed");
    assert!(output.status.success(), "{}", runs::text(&output));
    assert!(
        bench.result("timed") == bench.result("whole"),
        "two ranks differ"
    );
    let duration = started.elapsed().as_secs_f64();
    let (mut rng, mut killed, mut unfinished) = (StdRng::seed_from_u64(seed), 0, 0);
    for number in 1.. {
        let run = format!("run-{number}");
        let mut size = 2;
        while killed < kills && !bench.at(&run).exists() {
            let mut job = start(size, &run).spawn().expect("it starts");
            let seconds = rng.gen_range(0.0..0.8 * duration);
            std::thread::sleep(Duration::from_secs_f64(seconds));
            let (rank, signal) = match rng.gen_range(0..4) {
                0 => (None, "-KILL"),
                1 => (None, "-TERM"),
                2 => (Some(0), "-KILL"),
                _ => (Some(size - 1), "-KILL"),
            };
            let told = strike(&job, folder, rank, signal);
            let status = job.wait().expect("a child");
            wait_for_all(folder);
            killed += usize::from(!status.success());
            let finished = bench.at(&run).exists();
            let saved = (bench.partial(&run).join("checkpoint.safetensors")).exists();
            unfinished += usize::from(saved && !finished);
            let state = match (finished, saved) {
                (true, _) => "complete",
                (false, true) => "with a checkpoint",
                (false, false) => "without a checkpoint",
            };
            println!(
                "kill {killed}: {run} on {size}, {told} after {seconds:.3} s, {status}, {state}"
            );
            size = rng.gen_range(1..=2);
        }
        if !bench.at(&run).exists() {
            let output = start(size, &run).output().expect("it starts");
            let told = runs::text(&output);
            assert!(output.status.success(), "{run}: {told}");
        }
        bench.require_alike(&run, "whole");
        if killed >= kills {
            println!("{number} runs, {killed} kills, {unfinished} of them left a checkpoint");
            break;
        }
    }
    assert!(
        3 * unfinished >= kills,
        "only {unfinished} of {kills} kills came in time"
    );
}

#[test]
fn killed_jobs_end_like_an_uninterrupted_process() {
    end_like_an_uninterrupted_one(3, 1);
}

#[test]
#[ignore = "minutes"]
fn twenty_kills_later_a_job_ends_like_an_uninterrupted_process() {
    end_like_an_uninterrupted_one(20, 2);
}
