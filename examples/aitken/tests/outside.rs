//! An outside solver keeps the contract, and a program that links it finds it by name.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use equilibria::registry;
use equilibria_aitken::Aitken;
use equilibria_testing::conformance::{check_configuration, check_solver, Verdict};

/// What one step length per sample does not solve: several directions, each at its own pace, or none that is real.
const UNSOLVED: [&str; 6] = [
    "expansive-complex",
    "fusion",
    "linear-non-normal",
    "linear-slow",
    "linear-stiff",
    "linear-nilpotent",
];

#[test]
fn it_keeps_the_contract() {
    let outcomes = check_solver(&Aitken::default());
    let mut solved = BTreeSet::new();
    for outcome in &outcomes {
        assert!(!matches!(outcome.verdict, Verdict::Wrong(_)), "{outcome}");
        if outcome.verdict == Verdict::Solved {
            solved.insert(outcome.problem);
        }
    }
    for problem in UNSOLVED {
        assert!(!solved.contains(problem), "{problem} is solved");
    }
    assert!(solved.len() >= 20, "{solved:?}");
    let breaches = check_configuration(&Aitken::default());
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn it_is_registered() {
    let plugin = registry::find("solver", "aitken").expect("registered");
    assert_eq!(plugin.fields.len(), 2);
}

/// The example beside this test.
fn program(arguments: &[&str]) -> Output {
    let test = std::env::current_exe().expect("a path");
    let target = test.ancestors().nth(2).expect("the target folder");
    let name = format!("program{}", std::env::consts::EXE_SUFFIX);
    let program = target.join("examples").join(name);
    let output = Command::new(program).args(arguments).output();
    output.expect("cargo builds examples before it runs tests")
}

#[test]
fn a_program_that_links_it_finds_it_by_name() {
    let solved = program(&["solve", "linear-scalar", "--solver", "aitken"]);
    let message = String::from_utf8_lossy(&solved.stderr);
    assert_eq!(solved.status.code(), Some(0), "{message}");
    let described = program(&["describe", "solver", "aitken"]);
    let text = String::from_utf8_lossy(&described.stdout).into_owned();
    assert!(text.contains("Aitken relaxation"), "{text}");
    let script = program(&["completions", "bash"]).stdout;
    assert!(String::from_utf8_lossy(&script).contains(" aitken "));
    // Beside the ones of the program itself.
    assert_eq!(
        program(&["describe", "solver", "anderson"]).status.code(),
        Some(0)
    );
}
