//! What is no regular file is written into and stays what it is; links lead to the file that is replaced.
#![cfg(unix)]

mod small;

use std::fs::File;
use std::os::unix::fs::{symlink, FileTypeExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// A folder with data and a run that all tests read.
static SHARED: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("data")).expect("a folder");
    std::fs::write(at("config.toml"), small::CONFIG).expect("a file");
    small::write_data(&at("data"));
    let output = program(folder.path(), &["--out", "run"], &TRAIN).output();
    assert!(output.expect("it starts").status.success());
    folder
});

const TRAIN: [&str; 6] = [
    "train",
    "config.toml",
    "--data",
    "data",
    "--set",
    "training.epochs=1",
];

fn program(folder: &Path, more: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command.current_dir(folder).args(arguments).args(more);
    command
}

/// The commands that write a file of the name given last, and how that begins.
const WRITERS: [(&[&str], &str); 3] = [
    (
        &["predict", "run", "--data", "data", "--out"],
        "row,predicted",
    ),
    (
        &["evaluate", "run", "--data", "data", "--report"],
        "equilibrium,",
    ),
    (&["solve", "linear-half", "--plot"], "<svg"),
];

fn write_to(writer: &[&str], place: &Path) -> Output {
    let mut command = program(SHARED.path(), &[], writer);
    command.arg(place).output().expect("it starts")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}

/// Makes a file with the system's tool; `None` where that is not allowed.
fn special(tool: &str, place: PathBuf, more: &[&str]) -> Option<PathBuf> {
    let made = Command::new(tool).arg(&place).args(more).output().ok()?;
    made.status.success().then_some(place)
}

#[test]
fn a_pipe_gets_the_whole_table_and_stays_a_pipe() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(pipe) = special("mkfifo", folder.path().join("pipe"), &[]) else {
        eprintln!("no named pipes here");
        return;
    };
    for (writer, beginning) in WRITERS {
        let reader = Command::new("cat")
            .arg(&pipe)
            .stdout(Stdio::piped())
            .spawn();
        let reader = reader.expect("it starts");
        let output = write_to(writer, &pipe);
        assert!(output.status.success(), "{writer:?}: {output:?}");
        assert!(
            pipe.metadata().expect("there").file_type().is_fifo(),
            "{writer:?}"
        );
        let text = reader.wait_with_output().expect("it ends").stdout;
        let (text, file) = (String::from_utf8_lossy(&text), folder.path().join("file"));
        assert!(
            text.trim_start().starts_with(beginning),
            "{writer:?}: {text}"
        );
        assert!(write_to(writer, &file).status.success());
        assert_eq!(text, read(&file), "{writer:?}");
    }
}

#[test]
fn a_device_stays_a_device_and_a_full_one_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = |name: &str, minor: &str| {
        let place = special("mknod", folder.path().join(name), &["c", "1", minor])?;
        // Some systems let them be made, but not used.
        File::options().write(true).open(&place).ok()?;
        Some(place)
    };
    let (Some(null), Some(full)) = (device("null", "3"), device("full", "7")) else {
        eprintln!("no devices of one's own here");
        return;
    };
    for (writer, _) in WRITERS {
        let output = write_to(writer, &null);
        assert!(output.status.success(), "{writer:?}: {output:?}");
        let output = write_to(writer, &full);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{writer:?}: {message}");
        assert!(
            message.contains(&format!("error: {}: No space", full.display())),
            "{message}"
        );
        for place in [&null, &full] {
            let kind = place.symlink_metadata().expect("there").file_type();
            assert!(kind.is_char_device(), "{writer:?}: {}", place.display());
        }
    }
    let files = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(files, 2, "nothing partial stays");
}

#[test]
fn a_link_stays_and_the_file_it_leads_to_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for (writer, beginning) in WRITERS {
        std::fs::write(at("file"), "old").expect("a file");
        for (link, file) in [("link", "file"), ("dangling", "new")] {
            let _ = std::fs::remove_file(at(link));
            symlink(file, at(link)).expect("a link");
            let output = write_to(writer, &at(link));
            assert!(output.status.success(), "{writer:?}: {output:?}");
            assert!(at(link).is_symlink(), "{writer:?}: {link} is replaced");
            assert!(
                read(&at(file)).trim_start().starts_with(beginning),
                "{writer:?}: {file}"
            );
        }
        std::fs::remove_file(at("new")).expect("a file");
    }
    symlink("nowhere/file", at("lost")).expect("a link");
    let output = write_to(WRITERS[0].0, &at("lost"));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(at("lost").is_symlink());
}

/// Opened a second time, the file would be written from its beginning, over what has been printed.
#[test]
fn standard_output_by_its_path_gets_the_table_among_what_is_printed() {
    if !Path::new("/dev/stdout").exists() {
        eprintln!("no /dev/stdout here");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (writer, beginning) in WRITERS {
        let printed = folder.path().join("printed");
        let file = File::create(&printed).expect("a file");
        let mut command = program(SHARED.path(), &["/dev/stdout"], writer);
        let status = command.stdout(file).status().expect("it starts");
        assert!(status.success(), "{writer:?}");
        let table = folder.path().join("table");
        let alone = write_to(writer, &table);
        let (printed, table) = (read(&printed), read(&table));
        assert!(table.trim_start().starts_with(beginning), "{writer:?}");
        assert!(printed.contains(&table), "{writer:?}: {printed}");
        let others = String::from_utf8_lossy(&alone.stdout).len() as isize;
        // Names of the files differ in length.
        let more = printed.len() as isize - table.len() as isize - others;
        assert!(more.abs() < 200, "{writer:?}: {printed}");
    }
}

#[test]
fn a_link_to_a_run_folder_stays_a_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    symlink(SHARED.path().join("data"), at("data")).expect("a link");
    std::fs::write(at("config.toml"), small::CONFIG).expect("a file");
    symlink("real", at("link")).expect("a link");
    for force in [&[][..], &["--force"]] {
        let mut command = program(folder.path(), &["--out", "link"], &TRAIN);
        let output = command.args(force).output().expect("it starts");
        assert!(output.status.success(), "{output:?}");
        assert!(at("link").is_symlink() && !at("real").is_symlink());
        assert!(at("real/model.safetensors").is_file());
    }
}
