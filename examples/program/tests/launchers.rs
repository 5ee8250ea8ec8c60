//! A program that knows nothing of MPI, started by a launcher of MPI.
#![cfg(not(feature = "mpi"))]

mod called;
mod small;

use std::process::Command;

#[test]
fn several_processes_do_not_train_into_one_folder() {
    let folder = small::folder();
    let train = |variable: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
        command.current_dir(folder.path()).env(variable, value);
        command.args(["train", "config.toml", "--data", "data", "--out", "run"]);
        command.args(["--set", "training.epochs=1"]);
        command.output().expect("the program starts")
    };
    for variable in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
        let output = train(variable, "4");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        let expected =
            format!("error: {variable} = 4: a launcher of MPI has started this program 4 times");
        assert!(told.starts_with(&expected), "{told}");
        assert!(told.contains("--features mpi"), "{told}");
        assert!(!folder.path().join("run").exists());
    }
    // One process is no reason to refuse.
    assert!(train("OMPI_COMM_WORLD_SIZE", "1").status.success());
}
