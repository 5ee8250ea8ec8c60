//! `completions`: scripts that shells accept, with the names of subcommands and plugins.

use std::io::Write;
use std::process::{Command, Stdio};

fn script(shell: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    let output = command.args(["completions", shell]).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{shell}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The subcommands, as the help of the program lists them.
fn subcommands() -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    let output = command.arg("--help").output().expect("the program starts");
    let help = String::from_utf8(output.stdout).expect("text");
    let (_, list) = help.split_once("Commands:\n").expect("a list");
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names: Vec<String> = lines
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

#[test]
fn every_shell_gets_a_script_with_all_names() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = script(shell);
        let names = subcommands();
        // One of each kind whose names are offered: a solver as a value, a plugin and a problem by position.
        let plugins = ["newton-gmres", "residual-block", "linear-half"].map(str::to_owned);
        let plugins = match shell {
            "bash" | "zsh" => &plugins[..],
            "fish" => &plugins[..1],
            // These two complete commands and options alone.
            _ => &[],
        };
        for name in names.iter().chain(plugins) {
            assert!(script.contains(name.as_str()), "{shell}: {name}");
        }
    }
}

/// Runs `bash` on a script; `None` where there is no bash.
fn bash(options: &[&str], script: &str) -> Option<String> {
    let mut command = Command::new("bash");
    command.args(options).stdin(Stdio::piped());
    let pipes = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().ok()?;
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(script.as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn bash_accepts_its_script_and_completes() {
    let script = script("bash");
    if bash(&["-n"], &script).is_none() {
        eprintln!("no bash here: not tested");
        return;
    }
    let complete = |words: &[&str]| {
        let line = words.join(" ");
        let call = format!(
            "{script}\nCOMP_WORDS=({line}); COMP_CWORD={}; COMP_LINE='{line}'\n\
             _equilibria equilibria '{}' '{}'\necho \"${{COMPREPLY[@]}}\"\n",
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        bash(&[], &call).expect("there is a bash")
    };
    assert_eq!(complete(&["equilibria", "eval"]).trim(), "evaluate");
    assert_eq!(
        complete(&["equilibria", "describe", "regul"]).trim(),
        "regularizer"
    );
    assert_eq!(
        complete(&["equilibria", "solve", "--solver", "new"]).trim(),
        "newton-gmres"
    );
}

fn page(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    let output = command.arg("man").args(arguments).output();
    let output = output.expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn manual_pages_tell_of_the_program_and_of_every_command() {
    let (status, program, _) = page(&[]);
    assert_eq!(status, Some(0));
    assert!(program.contains(".TH equilibria 1"), "{program}");
    for name in subcommands() {
        assert!(
            program.contains(&format!("equilibria\\-{name}(1)")),
            "{name}"
        );
        if name == "help" {
            continue;
        }
        let (status, own, _) = page(&[&name]);
        assert_eq!(status, Some(0), "{name}");
        assert!(own.contains(&format!(".TH equilibria-{name} 1")), "{own}");
        assert!(own.contains(".SH OPTIONS"), "{own}");
    }
    let (_, train, _) = page(&["train"]);
    assert!(train.contains("\\-\\-resume"), "{train}");
    let (status, _, errors) = page(&["trian"]);
    assert_eq!(status, Some(2));
    assert!(
        errors.contains("`trian`") && errors.contains("train,"),
        "{errors}"
    );
}
