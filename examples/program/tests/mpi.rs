//! The program as the ranks of an MPI job, on this machine; `mpirun` is that of Open MPI or MPICH.
#![cfg(unix)]

mod called;
#[path = "small/job.rs"]
mod job;
mod small;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use equilibria_testing::relative_difference;
use job::{mpirun, ranks, PROGRAM};
use safetensors::SafeTensors;

fn done(mut command: Command) -> Output {
    let output = command.output().expect("mpirun is installed");
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let all = ["train", "config.toml", "--data", "data", "--out", out];
    [&all[..], more].concat()
}

fn bytes(folder: &Path, file: &str) -> Vec<u8> {
    std::fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// All parameters.
fn parameters(folder: &Path, run: &str) -> Vec<f64> {
    let bytes = bytes(folder, &format!("{run}/model.safetensors"));
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut arrays: Vec<_> = file.iter().collect();
    arrays.sort_by_key(|(name, _)| name.to_string());
    let numbers = arrays.into_iter().flat_map(|(_, view)| {
        let numbers = view.data().as_chunks().0.iter().copied();
        numbers.map(f64::from_le_bytes).collect::<Vec<_>>()
    });
    numbers.collect()
}

/// The first numbers of every epoch in the history, without empty ones.
fn history(folder: &Path, run: &str) -> Vec<f64> {
    let text = String::from_utf8(bytes(folder, &format!("{run}/history.csv"))).expect("text");
    let cells = text.lines().skip(1).flat_map(|line| line.split(','));
    cells.filter_map(|cell| cell.parse().ok()).collect()
}

/// An equilibrium that is always found: a solve that ends without one makes of a rounding error what it likes.
const DOUBLE: [&str; 6] = [
    "--set",
    "dtype=f64",
    "--set",
    "training.epochs=3",
    "--set",
    r#"fusion={type="equilibrium", state=8, layer="mondeq", solver="newton-gmres", backward={type="implicit", solver="gmres"}}"#,
];

#[test]
fn several_ranks_train_what_one_does_into_one_folder() {
    let folder = small::folder();
    let folder = folder.path();
    done(ranks(folder, 1, &train("one", &DOUBLE)));
    let alone = called::program(folder, &train("alone", &DOUBLE));
    assert!(alone.status.success(), "{alone:?}");
    for file in ["model.safetensors", "history.csv"] {
        let (one, alone) = (format!("one/{file}"), format!("alone/{file}"));
        assert_eq!(bytes(folder, &one), bytes(folder, &alone), "{file}");
    }
    for size in [2, 4] {
        let out = format!("ranks-{size}");
        let output = done(ranks(folder, size, &train(&out, &DOUBLE)));
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(told.matches("test:").count(), 1, "{told}");
        for read in [parameters, history] {
            let difference = relative_difference(&read(folder, &out), &read(folder, "one"));
            assert!(difference < 1e-9, "{size} ranks: {difference:e}");
        }
        for file in ["config.toml", "metrics.json", "report.html"] {
            assert!(folder.join(&out).join(file).is_file(), "{file}");
        }
    }
}

#[test]
fn reproducible_runs_predict_the_same_bits_and_go_on_after_a_kill() {
    let folder = small::folder();
    let folder = folder.path();
    let set = [
        "--set",
        "training.reproducible=true",
        "--set",
        "training.epochs=20",
    ];
    let alone = called::program(folder, &train("alone", &set));
    assert!(alone.status.success(), "{alone:?}");
    let all = |run: &str| {
        let files = ["model.safetensors", "history.csv"];
        files.map(|file| bytes(folder, &format!("{run}/{file}")))
    };
    for size in [2, 3] {
        let out = format!("ranks-{size}");
        done(ranks(folder, size, &train(&out, &set)));
        assert!(all(&out) == all("alone"), "{size} ranks");
    }
    // With few rows an epoch is quick: many of them, and the job is killed after its first checkpoint.
    let long = [
        "--set",
        "training.reproducible=true",
        "--set",
        "training.epochs=300",
    ];
    let alone = called::program(folder, &train("long", &long));
    assert!(alone.status.success(), "{alone:?}");
    let mut job = ranks(folder, 2, &train("killed", &long));
    let mut job = job.spawn().expect("mpirun is installed");
    let checkpoint = folder.join("killed.partial/checkpoint.safetensors");
    let modified = || {
        std::fs::metadata(&checkpoint)
            .and_then(|m| m.modified())
            .ok()
    };
    let start = Instant::now();
    let mut first = None;
    while first.is_none() || modified() == first {
        first = first.or_else(modified);
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
    let terminated = Command::new("kill").arg(job.id().to_string()).status();
    assert!(terminated.expect("it runs").success());
    let status = job.wait().expect("it ends");
    assert!(!status.success(), "it was to be killed before its end");
    done(ranks(folder, 3, &["train", "--resume", "killed"]));
    assert!(all("killed") == all("long"));
    let predict = |size, run, out| {
        done(ranks(
            folder,
            size,
            &["predict", run, "--data", "data", "--out", out],
        ));
        bytes(folder, out)
    };
    let one = predict(1, "alone", "one.csv");
    assert!(predict(3, "alone", "three.csv") == one);
    // Tables that are read batch by batch: each rank reads its rows.
    let streamed = [&set[..], &["--set", "data.stream=true"]].concat();
    done(ranks(folder, 2, &train("streamed", &streamed)));
    assert!(all("streamed")[1] == all("alone")[1]);
    assert!(predict(3, "streamed", "streamed.csv") == one);
    let evaluate = |size| {
        done(ranks(
            folder,
            size,
            &["evaluate", "alone", "--data", "data"],
        ))
        .stdout
    };
    assert_eq!(
        String::from_utf8_lossy(&evaluate(2)),
        String::from_utf8_lossy(&evaluate(1))
    );
}

const PLAN: &str = r#"
title = "A small study"
config = "config.toml"
seeds = [1, 2, 3]
convergence = 4
[[variant]]
name = "deq"
[[variant]]
name = "sum"
set = ['fusion={type="weighted-sum"}']
"#;

#[test]
fn a_study_spreads_its_runs_over_ranks() {
    let folder = small::folder();
    let folder = folder.path();
    std::fs::write(folder.join("plan.toml"), PLAN).expect("a file");
    let study = |out| {
        let all = ["study", "plan.toml", "--data", "data", "--out", out];
        [&all[..], &["--set", "training.epochs=2"]].concat()
    };
    done(ranks(folder, 1, &study("one")));
    let output = done(ranks(folder, 4, &study("four")));
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told.matches("A small study").count(), 1, "{told}");
    for file in ["convergence.csv", "deq/seed-3/model.safetensors"] {
        let (one, four) = (format!("one/{file}"), format!("four/{file}"));
        assert!(bytes(folder, &one) == bytes(folder, &four), "{file}");
    }
    // All but the seconds.
    let runs = |out: &str| {
        let text = String::from_utf8(bytes(folder, &format!("{out}/runs.csv"))).expect("text");
        let lines = text
            .lines()
            .map(|line| line.rsplit_once(',').map(|(rest, _)| rest.to_owned()));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(runs("four"), runs("one"));
    assert_eq!(runs("four").len(), 1 + 6);
}

/// Every rank with arguments of its own.
fn unlike(folder: &Path, first: &[&str], second: &[&str]) -> Output {
    let one = ["-n", "1", PROGRAM];
    let all = [&one, first, &[":"], &one, second].concat();
    let start = Instant::now();
    let output = mpirun(folder, &all).output().expect("mpirun is installed");
    assert!(start.elapsed() < Duration::from_secs(30), "it hangs");
    output
}

#[test]
fn a_rank_that_fails_ends_all_with_its_message_and_code() {
    let folder = small::folder();
    let folder = folder.path();
    std::fs::create_dir(folder.join("empty")).expect("a folder");
    let other = ["train", "config.toml", "--data", "empty", "--out", "run"];
    let output = unlike(folder, &train("run", &[]), &other);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("rank 1: error: empty"), "{told}");
    assert!(!folder.join("run").exists());
    // Ranks that would train something else each.
    let more = ["--set", "training.batch=8"];
    let output = unlike(folder, &train("run", &[]), &train("run", &more));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("rank 1 differs from rank 0 in its configuration"),
        "{told}"
    );
    // Studies that would compare the runs of two plans as those of one.
    std::fs::write(folder.join("plan.toml"), PLAN).expect("a file");
    let study = ["study", "plan.toml", "--data", "data", "--out", "study"];
    let change = |more: &[&'static str]| [&study[..], more].concat();
    for (more, what) in [
        (["--seeds", "1,2,4"], "its plan"),
        (["--set", "training.batch=8"], "its configuration"),
    ] {
        let output = unlike(folder, &study, &change(&more));
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        let expected = format!("rank 1 differs from rank 0 in {what}");
        assert!(told.contains(&expected), "{told}");
        assert!(!folder.join("study").exists());
    }
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let folder = small::folder();
    let folder = folder.path();
    let refusal = |arguments: &[&str]| {
        let output = ranks(folder, 2, arguments).output();
        let output = output.expect("mpirun is installed");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = refusal(&["plugins"]);
    assert!(told.contains("a command that takes one"), "{told}");
    let normalized = ["--set", "backbone={type=\"mm-imdb\", hidden=[8], width=8}"];
    let told = refusal(&train("run", &normalized));
    assert!(
        told.contains("backbone") && told.contains("train this one on one rank"),
        "{told}"
    );
    assert!(!folder.join("run").exists() && !folder.join("run.partial").exists());
}
