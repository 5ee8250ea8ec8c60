//! What the program shows beside its results: traces, warnings, progress; in a pipe and on a narrow terminal.

mod small;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), small::CONFIG).expect("a file");
        std::fs::create_dir(folder.path().join("data")).expect("a folder");
        small::write_data(&folder.path().join("data"));
        Self { folder }
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
        command.current_dir(self.folder.path());
        command.env_remove("RUST_LOG");
        command
    }

    /// Trains for two epochs.
    fn train(&self, more: &[&str]) -> Command {
        let mut command = self.program();
        command.args(TRAIN).args(more);
        command
    }
}

const TRAIN: [&str; 9] = [
    "train",
    "config.toml",
    "--data",
    "data",
    "--out",
    "run",
    "--force",
    "--set",
    "training.epochs=2",
];

fn run(command: &mut Command) -> (String, String) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    (text(&output.stdout), text(&output.stderr))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Forces steps that are not enough.
const UNSOLVED: [&str; 4] = [
    "--set",
    "fusion.stop.max_evaluations=2",
    "--set",
    "fusion.backward={type=\"implicit\",stop={max_evaluations=1}}",
];

#[test]
fn once_verbose_shows_solves_and_twice_steps() {
    let bench = Bench::new();
    let (plain_out, plain) = run(&mut bench.train(&["--json"]));
    let (out, once) = run(&mut bench.train(&["--json", "-v"]));
    let (_, twice) = run(&mut bench.train(&["-vv"]));

    for name in ["theta.1", "theta.2", "fuse"] {
        for solve in [
            "forward solve by anderson",
            "adjoint solve by implicit with anderson",
        ] {
            let start = format!("{name}: {solve}: ");
            assert!(!plain.contains(&start), "{plain}");
            let line = once.lines().find(|line| line.starts_with(&start));
            let line = line.unwrap_or_else(|| panic!("no `{start}` in {once}"));
            let numbers = [
                " samples, ",
                " evaluations, ",
                "largest relative residual",
                " unconverged",
            ];
            assert!(numbers.iter().all(|part| line.contains(part)), "{line}");
            assert!(!once.contains(&format!("{start}step 1, ")), "{once}");
            assert!(
                twice.contains(&format!("{start}step 1, 1 evaluations, ")),
                "{twice}"
            );
        }
    }
    // An epoch's line has the adjoint solves as well.
    assert!(once.contains("epoch 2/2: loss ") && once.contains(", adjoint unconverged "));
    assert!(
        plain.contains("epoch 2/2: loss ") && !plain.contains("adjoint"),
        "{plain}"
    );

    // Standard output has the results, and they are the same.
    let metrics = |out: &str| {
        assert_eq!(out.lines().count(), 2, "{out}");
        let mut metrics: Value =
            serde_json::from_str(out.lines().last().expect("a line")).expect("JSON");
        metrics["seconds"] = Value::Null;
        metrics
    };
    assert_eq!(metrics(&out), metrics(&plain_out));
    let (plugins, _) = run(bench.program().args(["plugins", "--json", "-vv"]));
    assert!(serde_json::from_str::<Value>(&plugins)
        .expect("JSON")
        .is_array());
    let (solved, traced) = run(bench
        .program()
        .args(["solve", "linear-half", "--json", "-v"]));
    let (setup, traced) = traced.split_once('\n').expect("lines");
    assert!(
        setup.starts_with("instruction set: ") && setup.contains("; rounded products: "),
        "{setup}"
    );
    assert!(
        traced.starts_with("linear-half: forward solve by anderson: 3 samples, "),
        "{traced}"
    );
    assert!(!solved.contains("forward solve by"), "{solved}");
}

#[test]
fn warnings_are_shown_and_counted() {
    let bench = Bench::new();
    let (_, shown) = run(&mut bench.train(&UNSOLVED));
    let warnings: Vec<&str> = (shown.lines())
        .filter(|line| line.starts_with("warning: "))
        .collect();
    let forward: Vec<&&str> = (warnings.iter())
        .filter(|line| line.contains("forward solve: "))
        .collect();
    // Samples may stall or run out of steps: a few kinds for each of three equilibria, each with one line and its count, of
    // some 30 warnings.
    assert!((6..=18).contains(&forward.len()), "{shown}");
    for name in ["theta.1", "theta.2", "fuse"] {
        for solve in ["forward", "adjoint"] {
            let start = format!("warning: {name}: {solve} solve: ");
            let first = warnings.iter().filter(|line| line.starts_with(&start));
            assert!(first.count() >= 1, "no `{start}` in {shown}");
        }
    }
    assert!(forward[0].contains("samples unsolved (sample "), "{shown}");
    let more = |line: &str| {
        line.strip_prefix("warning: ")?
            .split(' ')
            .next()?
            .parse::<usize>()
            .ok()
    };
    let repeated: usize = warnings.iter().filter_map(|line| more(line)).sum();
    assert!(repeated > 10, "{shown}");

    // By module, each of them.
    let mut each = bench.train(&UNSOLVED);
    let (_, each) = run(each.env("RUST_LOG", "equilibria_core=warn"));
    let count = each
        .lines()
        .filter(|line| line.contains("forward solve: "))
        .count();
    assert!(
        count > forward.len() + 5 && !each.contains("epoch 2/2"),
        "{each}"
    );

    let (_, quiet) = run(&mut bench.train(&[&UNSOLVED[..], &["--quiet"]].concat()));
    assert_eq!(quiet, "");
    let accepted = ["--set", "fusion.stop.on_unconverged=accept"];
    let (_, accepted) = run(&mut bench.train(&[&UNSOLVED[..], &accepted].concat()));
    assert!(!accepted.contains("forward solve: "), "{accepted}");
}

#[test]
fn verbose_and_quiet_exclude_each_other() {
    let bench = Bench::new();
    for arguments in [
        &["train", "config.toml", "-v", "--quiet"][..],
        &["-q", "train", "config.toml", "-vv"],
        &["-v", "plugins", "--quiet"],
    ] {
        let output: Output = bench.program().args(arguments).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let message = text(&output.stderr);
        assert!(
            message.contains("--verbose and --quiet exclude each other"),
            "{message}"
        );
    }
}

#[test]
fn a_pipe_gets_plain_lines() {
    let bench = Bench::new();
    let (_, shown) = run(&mut bench.train(&[]));
    assert!(
        shown.chars().all(|c| c == '\n' || !c.is_control()),
        "{shown:?}"
    );
    let epochs = shown.lines().filter(|line| line.starts_with("epoch "));
    assert_eq!(epochs.count(), 2, "{shown}");
}

/// Every state of every line fits, or the terminal would break it and the bar would leave its pieces behind.
#[cfg(target_os = "linux")]
#[test]
fn a_narrow_terminal_gets_whole_lines() {
    const COLUMNS: usize = 40;
    let bench = Bench::new();
    let program = Path::new(env!("CARGO_BIN_EXE_equilibria-program"));
    // The result on standard output may be of any length.
    let line = format!(
        "stty cols {COLUMNS} rows 24; {} {} > out",
        program.display(),
        TRAIN.join(" ")
    );
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm");
    let script = script
        .current_dir(bench.folder.path())
        .env_remove("RUST_LOG")
        .output();
    let Ok(output) = script else {
        eprintln!("no `script` here: not tested");
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let shown = text(&output.stdout);
    let mut states = 0;
    for state in shown.split(['\r', '\n']) {
        let state = without_sequences(state);
        // Lines of text may be long, but begin where a line begins.
        if !state.starts_with("warning: ") {
            assert!(
                state.chars().count() <= COLUMNS && !state.contains("warning: "),
                "{state:?} in {shown:?}"
            );
        }
        states += usize::from(state.contains("2/2 ") && state.contains("loss "));
    }
    assert!(states > 0, "no bar: {shown:?}");
    assert!(
        !shown.contains("\u{1b}[1A"),
        "more than one line: {shown:?}"
    );
}

/// The text without control sequences, `ESC [ … letter`.
#[cfg(target_os = "linux")]
fn without_sequences(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or("").to_owned();
    parts.fold(first, |plain, part| {
        let end = part.find(|c: char| c.is_ascii_alphabetic());
        plain + end.map_or("", |end| &part[end + 1..])
    })
}

/// As `equilibria plugins | head` does once it has read enough.
#[test]
fn a_reader_that_stops_early_makes_no_panic() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command.args(["plugins", "--json"]);
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
