//! `solve`: exit statuses, the trace, the chart, and messages for what is wrong.

use std::process::{Command, Output};

use serde_json::Value;

fn solve(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command.arg("solve").args(arguments);
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn last_line(output: &Output) -> Value {
    let text = text(&output.stdout);
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn a_solved_problem_has_status_0_and_a_trace() {
    let output = solve(&["linear-half", "--solver", "picard", "--tolerance", "1e-3"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    let steps: Vec<Vec<f64>> = (stdout.lines())
        .filter_map(|line| {
            line.split_whitespace()
                .map(|cell| cell.parse().ok())
                .collect()
        })
        .filter(|cells: &Vec<f64>| cells.len() == 4)
        .collect();
    // Residuals shrink by 0.5 at least: 1e-3 after some 10 steps.
    assert!((5..15).contains(&steps.len()), "{stdout}");
    for (index, step) in steps.iter().enumerate() {
        approx_count(step[0], index + 1);
        approx_count(step[1], index + 1);
        assert!((1.0..=3.0).contains(&step[3]), "{stdout}");
    }
    for pair in steps.windows(2) {
        // Three digits are printed.
        assert!(pair[1][2] <= 0.51 * pair[0][2], "{stdout}");
    }
    let summary = stdout.lines().last().expect("a line");
    assert!(
        summary.starts_with("picard: 3 of 3 samples converged, "),
        "{summary}"
    );
    assert!(summary.contains("largest residual ") && summary.contains("largest error "));
}

fn approx_count(cell: f64, expected: usize) {
    assert!(
        (cell - expected as f64).abs() < 0.5,
        "{cell} is not {expected}"
    );
}

#[test]
fn an_unsolved_sample_gives_status_1() {
    for arguments in [
        &["nan-sample"][..],
        &["translation", "--solver", "picard"],
        &["linear-half", "--max-evaluations", "2"],
        // Of two solvers one fails.
        &["fusion", "--solver", "anderson", "--solver", "picard"],
    ] {
        let output = solve(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
    let stdout = text(&solve(&["nan-sample"]).stdout);
    let mut steps = stdout
        .lines()
        .filter(|line| line.trim_start().starts_with("1 "));
    assert!(
        steps.next().is_some_and(|line| line.contains("NaN")),
        "{stdout}"
    );
}

#[test]
fn another_fixed_point_is_no_error_and_told() {
    let output = solve(&["fusion", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let others = last_line(&output)["solvers"][0]["other_fixed_points"].clone();
    let others = others.as_u64().expect("a number");
    assert!((1..=4).contains(&others), "{others}");
    let stdout = text(&output.stdout);
    let part = format!("; the solution is not unique: {others} of them at another fixed point");
    assert!(stdout.contains(&part), "{stdout}");
    // An error is that of a sample at the known solution, which is known to a few roundings of the residual.
    let error = last_line(&output)["solvers"][0]["error"].as_f64();
    assert!(error.is_none_or(|error| error < 1e-6), "{stdout}");
    // Contractions and affine maps have one fixed point.
    for problem in equilibria_testing::problems::all() {
        if problem.condition().is_some() {
            let stdout = text(&solve(&[problem.name]).stdout);
            assert!(!stdout.contains("not unique"), "{stdout}");
        }
    }
}

#[test]
fn json_tells_of_every_solver() {
    let table = "{type=\"anderson\", memory=3}";
    let arguments = ["cosine", "--solver", table, "--solver", "picard", "--json"];
    for (dtype, precision, allowed) in [(None, "f64", 1e-9), (Some("--f32"), "f32", 1e-4)] {
        let output = solve(&arguments.iter().copied().chain(dtype).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let all = last_line(&output);
        assert_eq!(all["problem"], "cosine");
        assert_eq!(all["precision"], precision);
        let solvers = all["solvers"].as_array().expect("a list");
        assert_eq!(solvers.len(), 2);
        assert_eq!(solvers[0]["solver"]["memory"], 3);
        assert_eq!(solvers[1]["solver"]["type"], "picard");
        for solver in solvers {
            assert_eq!(solver["converged"], 1);
            // The tolerance, relative to cos z* = 0.74, times 1 / (1 + sin z*) < 1; twice for rounding in f32.
            assert!(solver["error"].as_f64().expect("a number") < allowed);
        }
    }
}

#[test]
fn the_chart_is_an_svg_file_with_a_line_per_solver() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("chart.svg");
    let chart = path.display().to_string();
    let arguments = [
        "linear-90",
        "--solver",
        "anderson",
        "--solver",
        "picard",
        "--plot",
        &chart,
    ];
    let output = solve(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let svg = std::fs::read_to_string(&path).expect("the chart");
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    for label in [
        "linear-90, f64",
        "anderson",
        "picard",
        "evaluations per sample",
    ] {
        assert!(svg.contains(label), "{label}");
    }
    // Nothing is left beside it.
    let files = std::fs::read_dir(folder.path())
        .expect("the folder")
        .count();
    assert_eq!(files, 1);
    // A line for a solve whose residuals have no logarithm: 0 at once, NaN at once.
    for problem in ["linear-solved", "nan-sample"] {
        let output = solve(&[problem, "--plot", &chart]);
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
    let nowhere = folder.path().join("no-such-folder/chart.svg");
    let output = solve(&["cosine", "--plot", &nowhere.display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no-such-folder/chart.svg: "));
}

#[test]
fn bad_input_has_status_2_and_says_what_to_do() {
    let cases = [
        (&["linear-haf"][..], "did you mean `linear-half`?"),
        (&["cosine", "--solver", "picart"], "did you mean `picard`?"),
        (
            &["cosine", "--solver", "{type=\"picard\", damping=2.0}"],
            "`picard`: `damping` must be in (0, 1], got 2",
        ),
        (
            &["cosine", "--solver", "{type=\"picard\""],
            "--solver `{type=",
        ),
        (
            &["cosine", "--solver", "{type=\"picard\", damp=1.0}"],
            "unknown field `damp`",
        ),
        (
            &["cosine", "--tolerance=-1"],
            "`relative` must be finite and at least 0",
        ),
        (
            &["cosine", "--max-evaluations", "0"],
            "`max_evaluations` must be at least 1",
        ),
        (&[], "PROBLEM"),
    ];
    for (arguments, message) in cases {
        let output = solve(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn the_list_has_every_problem() {
    let listed = text(&solve(&["--list"]).stdout);
    let names = equilibria_testing::problems::all();
    assert_eq!(listed.lines().count(), names.len());
    for (line, problem) in listed.lines().zip(&names) {
        assert!(line.starts_with(problem.name) && line.ends_with(problem.summary));
    }
    let array = last_line(&solve(&["--list", "--json"]));
    assert_eq!(array.as_array().map(Vec::len), Some(names.len()));
}
