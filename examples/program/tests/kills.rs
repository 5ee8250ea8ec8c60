//! Runs that are killed at random moments, again and again, and go on: they end where an uninterrupted one does, to the last bit.
#![cfg(unix)]

#[path = "small/runs.rs"]
mod runs;
mod small;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use runs::{text, Bench};

/// In f64, with a checkpoint after every epoch: many kills come while one is written.
fn config() -> String {
    let config = small::CONFIG.replace("seed = 3", "seed = 3\ndtype = \"f64\"");
    config.replace("checkpoint = 5", "checkpoint = 1")
}

/// Ten epochs of the digits in f64.
fn digits() -> String {
    let config = include_str!("../../configs/digits.toml");
    let mut config: toml::Table = config.parse().expect("a configuration");
    config.insert("dtype".to_owned(), "f64".into());
    let training = config["training"].as_table_mut().expect("a table");
    training.insert("epochs".to_owned(), 10.into());
    training.insert("checkpoint".to_owned(), 1.into());
    config.to_string()
}

/// Kills a process at a random moment within the given seconds; whether it was still there.
fn kill(mut child: Child, within: f64, rng: &mut StdRng) -> (bool, f64) {
    let seconds = rng.gen_range(0.0..within);
    std::thread::sleep(Duration::from_secs_f64(seconds));
    child.kill().expect("a child");
    let status = child.wait().expect("a child");
    (!status.success(), seconds)
}

/// Kills so many times: a run until it comes to its end, then another one. Each must end like an uninterrupted one.
fn end_like_an_uninterrupted_one(bench: &Bench, kills: usize, seed: u64) {
    let started = Instant::now();
    bench.whole("whole");
    let duration = started.elapsed().as_secs_f64();
    let (mut rng, mut killed, mut unfinished) = (StdRng::seed_from_u64(seed), 0, 0);
    for number in 1.. {
        let run = format!("run-{number}");
        let checkpoint = bench.partial(&run).join("checkpoint.safetensors");
        let mut next = bench.train(&run);
        while killed < kills {
            let child = next.spawn().expect("it starts");
            let (was_there, seconds) = kill(child, 0.7 * duration, &mut rng);
            killed += usize::from(was_there);
            let state = match (was_there, checkpoint.exists()) {
                (false, _) => "at its end",
                (true, false) => "without a checkpoint",
                (true, true) => "with a checkpoint",
            };
            println!("seed {seed}, kill {killed}: {run} after {seconds:.3} s, {state}");
            unfinished += usize::from(checkpoint.exists());
            if bench.at(&run).exists() {
                break;
            }
            next = match checkpoint.exists() {
                true => bench.resuming(&run),
                false => bench.train(&run),
            };
        }
        if !bench.at(&run).exists() {
            let output = next.output().expect("it starts");
            assert!(output.status.success(), "{run}: {}", text(&output));
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
fn killed_runs_end_like_uninterrupted_ones() {
    end_like_an_uninterrupted_one(&Bench::of(&config(), small::write_data), 6, 1);
}

#[test]
#[ignore = "half a minute"]
fn twenty_kills_later_a_run_ends_like_an_uninterrupted_one() {
    end_like_an_uninterrupted_one(&Bench::of(&config(), small::write_data), 20, 2);
}

#[test]
#[ignore = "minutes"]
fn twenty_kills_later_the_digits_are_learned_like_without() {
    end_like_an_uninterrupted_one(&Bench::generated(&digits()), 20, 3);
}

/// The same command goes on with a study, whatever it was doing.
#[test]
fn a_killed_study_ends_like_an_uninterrupted_one() {
    let bench = Bench::of(&config(), small::write_data);
    let plan = "title = \"A study\"\nconfig = \"config.toml\"\nseeds = [1, 2]\n\
        [[variant]]\nname = \"deq\"\n\
        [[variant]]\nname = \"sum\"\nset = ['fusion={type=\"weighted-sum\"}']\n";
    std::fs::write(bench.at("plan.toml"), plan).expect("a file");
    let study = |out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
        command.current_dir(bench.folder.path());
        command.args(["study", "plan.toml", "--data", "data", "--out", out]);
        command.args(["--set", "training.epochs=20"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let started = Instant::now();
    assert!(study("whole").output().expect("it starts").status.success());
    let duration = started.elapsed().as_secs_f64();
    let mut rng = StdRng::seed_from_u64(4);
    let mut killed = 0;
    for _ in 0..3 {
        let child = study("killed").spawn().expect("it starts");
        let (was_there, _) = kill(child, 0.5 * duration, &mut rng);
        killed += usize::from(was_there);
    }
    assert!(killed > 0, "it was always at its end");
    // Runs that were complete by then are not made again.
    let runs = ["deq/seed-1", "deq/seed-2", "sum/seed-1", "sum/seed-2"];
    let made = |run: &&str| {
        let model = bench.at(&format!("killed/{run}/model.safetensors"));
        std::fs::metadata(model).ok()?.modified().ok()
    };
    let before: Vec<_> = runs.iter().map(made).collect();
    let output = study("killed").output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    for (run, before) in runs.iter().zip(before) {
        assert!(
            before.is_none() || made(run) == before,
            "{run} is made again"
        );
        let [whole, killed] = ["whole", "killed"].map(|out| bench.result(&format!("{out}/{run}")));
        assert!(whole == killed, "{run} differs");
    }
}
