//! Options and changes of the configuration that cannot be meant are refused by name.

mod called;
mod small;

use called::{program, refusal};

#[test]
fn numbers_of_options_that_would_let_everything_pass_are_refused() {
    let folder = small::folder();
    let check = ["check", "config.toml", "--data", "data"];
    for number in ["inf", "nan", "-1", "0", "1", "1e308", "-inf", "x"] {
        let with = format!("--tolerance={number}");
        let message = refusal(folder.path(), &[&check[..], &[&with]].concat());
        assert!(
            message.contains("expected a number above 0 and below 1"),
            "{message}"
        );
    }
    let message = refusal(
        folder.path(),
        &[&check[..], &["--tolerance", "-1"]].concat(),
    );
    assert!(message.contains("expected a number above 0"), "{message}");
    for option in [
        ["--rows", "0"],
        ["--rows", "1"],
        ["--entries", "0"],
        ["--unroll", "0"],
    ] {
        let message = refusal(folder.path(), &[&check[..], &option].concat());
        assert!(message.contains(option[0]), "{message}");
    }
    for (option, numbers) in [
        ("--tol", &["inf", "nan", "-1", "1", "1e308"][..]),
        ("--seconds", &["inf", "nan", "-1", "1e300"]),
        ("--threads", &["0", "-1"]),
        ("--max-evaluations", &["0"]),
    ] {
        for number in numbers {
            let with = format!("{option}={number}");
            let message = refusal(folder.path(), &["bench", "data", &with]);
            assert!(message.contains(option), "{message}");
        }
    }
    for number in ["inf", "nan", "-1", "1", "1e308"] {
        for problem in ["linear-half", "translation"] {
            let message = refusal(folder.path(), &["solve", problem, "--tolerance", number]);
            assert!(message.contains("must be"), "{problem}: {message}");
        }
    }
    let none = ["solve", "linear-half", "--max-evaluations", "0"];
    assert!(refusal(folder.path(), &none).contains("max_evaluations"));
}

#[test]
fn a_change_of_several_lines_is_refused_not_cut_off() {
    let folder = small::folder();
    let train = [
        "train",
        "config.toml",
        "--data",
        "data",
        "--out",
        "run",
        "--set",
    ];
    for (change, expected) in [
        (
            "training.batch=16\nseed=5",
            "`seed` stands on a line behind it",
        ),
        (
            "training.batch=16\n[data]\ntype=\"folder\"",
            "`data` stands on a line behind it",
        ),
        ("training.batch=16\nseed", "--set: training.batch: "),
    ] {
        let message = refusal(folder.path(), &[&train[..], &[change]].concat());
        assert!(message.contains(expected), "{change}: {message}");
        assert!(!folder.path().join("run").exists());
    }
    let solver = "{type=\"anderson\"}\nmemory=3";
    let message = refusal(folder.path(), &["solve", "linear-half", "--solver", solver]);
    assert!(
        message.contains("`memory` stands on a line behind it"),
        "{message}"
    );
    // A list may have several.
    let list = "modalities=[1,\n2]";
    let more = ["--set", "training.epochs=1"];
    let output = program(folder.path(), &[&train[..], &[list], &more].concat());
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_wrong_value_is_refused_by_its_whole_key() {
    let folder = small::folder();
    for (change, expected) in [
        (
            "training.optimizer.rate=\"x\"",
            "training.optimizer.rate: invalid type: string \"x\"",
        ),
        (
            "training.optimizer.beta3=1",
            "training.optimizer.beta3: unknown field `beta3`",
        ),
        (
            "training.optimizer={type=\"sgd\", rate=true}",
            "training.optimizer.rate: invalid type",
        ),
        (
            "training.optimizer.type=\"adm\"",
            "training.optimizer.type: unknown variant `adm`",
        ),
        (
            "training.optimizer=3",
            "training.optimizer: invalid type: integer `3`",
        ),
        ("training.epochs=1.5", "training.epochs: invalid type"),
        (
            "training.epochs=99999999999999999999",
            "training.epochs: 99999999999999999999 does not fit in 64 bits",
        ),
        (
            "training.epochs=-99999999999999999999",
            "does not fit in 64 bits",
        ),
    ] {
        let arguments = ["train", "config.toml", "--data", "data", "--set", change];
        let message = refusal(folder.path(), &arguments);
        assert!(message.contains(expected), "{change}: {message}");
    }
}

#[test]
fn a_seed_that_is_given_twice_is_refused() {
    let folder = small::folder();
    let plan = |seeds: &str| {
        let text = format!(
            "title = \"t\"\nconfig = \"config.toml\"\nseeds = {seeds}\n[[variant]]\nname = \"a\"\n"
        );
        std::fs::write(folder.path().join("plan.toml"), text).expect("a file");
    };
    let study = ["study", "plan.toml", "--data", "data", "--out", "out"];
    plan("[3, 4, 3]");
    let message = refusal(folder.path(), &study);
    assert!(
        message.contains("plan.toml: seed 3 is given twice"),
        "{message}"
    );
    plan("[3, 4]");
    let message = refusal(folder.path(), &[&study[..], &["--seeds", "1,1"]].concat());
    assert!(
        message.contains("--seeds: seed 1 is given twice"),
        "{message}"
    );
    assert!(!folder.path().join("out").exists());
}
