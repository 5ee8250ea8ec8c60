//! Training runs in a folder of their own, which are stopped and go on.
#![allow(dead_code)] // each test uses some of it

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use safetensors::SafeTensors;

use super::small;

/// A folder with a configuration and data.
pub struct Bench {
    pub folder: tempfile::TempDir,
    /// Where the data is, as the program is told.
    data: &'static [&'static str],
}

impl Bench {
    pub fn new() -> Self {
        Self::of(small::CONFIG, small::write_data)
    }

    pub fn of(config: &str, write_data: fn(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), config).expect("a file");
        std::fs::create_dir(folder.path().join("data")).expect("a folder");
        write_data(&folder.path().join("data"));
        let data = &["--data", "data"];
        Self { folder, data }
    }

    /// With data that is generated.
    pub fn generated(config: &str) -> Self {
        Self {
            data: &[],
            ..Self::of(config, |_| ())
        }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn train(&self, run: &str) -> Command {
        let mut command = self.program();
        command.args(["config.toml", "--out", run]).args(self.data);
        command
    }

    /// A run that nothing stops.
    pub fn whole(&self, run: &str) {
        let whole = self.train(run).output().expect("it starts");
        assert!(whole.status.success(), "{}", text(&whole));
    }

    pub fn resume(&self, run: &str) -> Output {
        self.resume_with(run, &[])
    }

    pub fn resume_with(&self, run: &str, more: &[&str]) -> Output {
        let mut command = self.resuming(run);
        command.args(more).output().expect("it starts")
    }

    pub fn resuming(&self, run: &str) -> Command {
        let mut command = self.program();
        command.args(["--resume", run]);
        command
    }

    pub fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
        command.current_dir(self.folder.path()).arg("train");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Names and bytes of all arrays of the model, and the history.
    pub fn result(&self, run: &str) -> (Vec<(String, Vec<u8>)>, String) {
        let run = self.at(run);
        let bytes = std::fs::read(run.join("model.safetensors")).expect("a model");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let arrays = file
            .iter()
            .map(|(name, view)| (name.to_owned(), view.data().to_vec()));
        let mut arrays: Vec<_> = arrays.collect();
        arrays.sort();
        let history = std::fs::read_to_string(run.join("history.csv")).expect("a history");
        (arrays, history)
    }

    /// The names of the files in a folder, in order.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(folder)).expect("a folder");
        let names = entries.map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// A run that was killed and went on has the result and the files of an uninterrupted one.
    pub fn require_alike(&self, run: &str, whole: &str) {
        assert!(self.result(run) == self.result(whole), "{run} differs");
        assert!(!self.partial(run).exists(), "{run} left something behind");
        // A process that is killed as it ends may leave these two, which do no harm.
        let mut left = self.files(run);
        left.retain(|file| !["checkpoint.safetensors", "lock"].contains(&file.as_str()));
        assert_eq!(left, self.files(whole), "{run}");
    }

    /// Starts a run, and waits for its first checkpoint.
    pub fn train_until_checkpoint(&self, run: &str) -> Child {
        let mut child = self.train(run).spawn().expect("it starts");
        self.wait_for_checkpoint(run, &mut child);
        child
    }

    pub fn wait_for_checkpoint(&self, run: &str, child: &mut Child) {
        let checkpoint = self.partial(run).join("checkpoint.safetensors");
        while !checkpoint.exists() {
            assert!(
                child.try_wait().expect("a child").is_none(),
                "it ended early"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn partial(&self, run: &str) -> PathBuf {
        self.at(&format!("{run}.partial"))
    }
}

/// What is said on standard error.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Ctrl-C, and what comes of it.
pub fn interrupt(child: Child) -> Output {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.expect("kill").success());
    child.wait_with_output().expect("a child")
}
