//! Disks that are full, folders that cannot be written in, files that are cut or changed, and two runs at once: nothing is lost, and the
//! message says what to do.
#![cfg(target_os = "linux")]

#[path = "small/runs.rs"]
mod runs;
mod small;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use runs::{interrupt, text, Bench};

/// An interrupted run with a checkpoint, `run`, and one that nothing stopped, `whole`.
fn interrupted() -> Bench {
    let bench = Bench::new();
    let output = interrupt(bench.train_until_checkpoint("run"));
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    bench.whole("whole");
    bench
}

fn ends_like_whole(bench: &Bench, resumed: &Output) {
    assert!(resumed.status.success(), "{}", text(resumed));
    assert!(bench.result("run") == bench.result("whole"));
    assert_eq!(bench.files("run"), bench.files("whole"));
    assert!(!bench.partial("run").exists());
}

fn refused(output: &Output, parts: &[&str]) {
    let message = text(output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

/// Starts a program as one whom permissions keep out: those of the superuser do not. `None` where such a one may not run it.
fn spawn_as_some_user(command: &mut Command) -> Option<Child> {
    let own = std::fs::metadata("/proc/self").expect("a process").uid();
    let command = match own {
        0 => command.uid(65534).gid(65534),
        _ => command,
    };
    let child = command.spawn();
    if let Err(error) = &child {
        eprintln!("no other user may run the program here: {error}");
    }
    child.ok()
}

fn permit(folder: &Path, mode: u32) {
    std::fs::set_permissions(folder, Permissions::from_mode(mode)).expect("its owner");
}

#[test]
fn a_checkpoint_that_is_cut_or_damaged_is_named_and_left_alone() {
    let bench = interrupted();
    let place = bench.partial("run").join("checkpoint.safetensors");
    let whole = std::fs::read(&place).expect("a checkpoint");
    let mut damaged: Vec<Vec<u8>> = (0..12)
        .map(|part| whole[..part * whole.len() / 12].to_vec())
        .collect();
    damaged.push(whole[..whole.len() - 1].to_vec());
    damaged.push(vec![0; whole.len()]);
    for (index, bytes) in damaged.iter().enumerate() {
        std::fs::write(&place, bytes).expect("written");
        refused(
            &bench.resume("run"),
            &["run.partial/checkpoint.safetensors", "restore a copy"],
        );
        let left = std::fs::read(&place).expect("still there");
        assert!(left == *bytes, "{index} is changed");
    }
    // It is neither begun anew without being asked, ...
    let again = bench.train("run").output().expect("it starts");
    refused(&again, &["--force begins anew"]);
    // ... and a copy goes on.
    std::fs::write(&place, whole).expect("written");
    ends_like_whole(&bench, &bench.resume("run"));
}

#[test]
fn what_cannot_be_counted_in_a_checkpoint_is_damage() {
    let bench = interrupted();
    let place = bench.partial("run").join("checkpoint.safetensors");
    let whole = std::fs::read(&place).expect("a checkpoint");
    let (_, header) = safetensors::SafeTensors::read_metadata(&whole).expect("whole");
    let start = whole.len() - header.data_len();
    let (from, _) = header.info("counts").expect("an array").data_offsets;
    for number in [f64::NAN, -1.0, 0.5, 1e300, f64::from(i32::MAX)] {
        let mut bytes = whole.clone();
        bytes[start + from..][..8].copy_from_slice(&number.to_le_bytes());
        std::fs::write(&place, bytes).expect("written");
        let parts = ["checkpoint.safetensors", "`counts`", "restore a copy"];
        refused(&bench.resume("run"), &parts);
    }
}

#[test]
fn a_folder_that_cannot_be_written_in_is_refused_before_training() {
    let bench = Bench::new();
    permit(bench.folder.path(), 0o555);
    let train = spawn_as_some_user(&mut bench.train("run"));
    let output = train.map(|child| child.wait_with_output().expect("a child"));
    permit(bench.folder.path(), 0o755);
    if let Some(output) = output {
        let parts = ["error: run: Permission denied", "give another place"];
        refused(&output, &parts);
    }
    assert!(!bench.partial("run").exists() && !bench.at("run").exists());
}

/// What streams rows finds another place for them than a run folder that is for reading only.
#[test]
fn a_streamed_run_is_evaluated_where_nothing_can_be_written() {
    let bench = Bench::new();
    let mut train = bench.train("run");
    let trained = train.args(["--set", "data.stream=true"]).output();
    assert!(trained.expect("it starts").status.success());
    for folder in [bench.folder.path(), &bench.at("run")] {
        permit(folder, 0o555);
    }
    let mut evaluate = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    evaluate.current_dir(bench.folder.path());
    evaluate.args(["evaluate", "run"]).stderr(Stdio::piped());
    let evaluated = spawn_as_some_user(&mut evaluate);
    let evaluated = evaluated.map(|child| child.wait_with_output().expect("a child"));
    for folder in [bench.folder.path(), &bench.at("run")] {
        permit(folder, 0o755);
    }
    if let Some(output) = evaluated {
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// A run that takes some seconds.
fn long() -> Bench {
    let config = small::CONFIG.replace("epochs = 60", "epochs = 200");
    Bench::of(&config, small::write_data)
}

#[test]
fn a_run_whose_folder_can_no_longer_be_written_in_says_how_to_go_on() {
    let bench = long();
    permit(bench.folder.path(), 0o777);
    let Some(mut child) = spawn_as_some_user(&mut bench.train("run")) else {
        return;
    };
    bench.wait_for_checkpoint("run", &mut child);
    permit(&bench.partial("run"), 0o555);
    let output = child.wait_with_output().expect("a child");
    permit(&bench.partial("run"), 0o777);
    refused(
        &output,
        &[
            "checkpoint.safetensors: Permission denied",
            "train --resume run",
        ],
    );
    bench.whole("whole");
    let resumed = spawn_as_some_user(&mut bench.resuming("run")).expect("as before");
    ends_like_whole(&bench, &resumed.wait_with_output().expect("a child"));
}

/// A small disk in memory, which is mounted where that is allowed, fills up while a run is at work, and has room again.
const FULL_DISK: &str = r#"
    mkdir small && mount -t tmpfs -o size=4m tmpfs small || exit 77
    "$0" train config.toml --data data --out small/run 2> first &
    while [ ! -e small/run.partial/checkpoint.safetensors ]; do sleep 0.01; done
    cat /dev/zero > small/filler
    wait $!
    echo $? > status
    ls small/run.partial > left
    rm small/filler
    "$0" train --resume small/run 2> second
    cp -r small/run run
"#;

#[test]
fn a_disk_that_fills_up_costs_what_came_after_the_last_checkpoint() {
    let bench = long();
    let mut shell = Command::new("unshare");
    shell.args(["--map-root-user", "--mount", "sh", "-c", FULL_DISK]);
    shell.arg(env!("CARGO_BIN_EXE_equilibria-program"));
    let output = shell.current_dir(bench.folder.path()).output();
    let Ok(output) = output else {
        eprintln!("no `unshare` here");
        return;
    };
    if !bench.at("status").exists() {
        eprintln!("no disk of one's own here: {}", text(&output));
        return;
    }
    let read = |name: &str| std::fs::read_to_string(bench.at(name)).expect("a file");
    let first = read("first");
    assert_eq!(read("status"), "2\n", "{first}");
    let parts = [
        "checkpoint.safetensors: No space left",
        "--resume small/run",
    ];
    for part in parts {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert_eq!(read("left"), "checkpoint.safetensors\nlock\n");
    assert!(output.status.success(), "{}", read("second"));
    bench.whole("whole");
    assert!(bench.result("run") == bench.result("whole"));
}

#[test]
fn of_two_runs_in_one_folder_one_is_refused_and_the_other_unharmed() {
    let bench = long();
    let first = bench.train_until_checkpoint("run");
    for more in [&[][..], &["--force"]] {
        let second = bench.train("run").args(more).output().expect("it starts");
        refused(
            &second,
            &["run.partial: another process is at work", "another --out"],
        );
    }
    refused(&bench.resume("run"), &["another process is at work"]);
    let first = first.wait_with_output().expect("a child");
    bench.whole("whole");
    ends_like_whole(&bench, &first);
}

#[test]
fn of_runs_that_begin_in_one_folder_at_once_one_is_made() {
    let bench = Bench::of(
        &small::CONFIG.replace("epochs = 60", "epochs = 3"),
        small::write_data,
    );
    bench.whole("whole");
    for _ in 0..8 {
        let both = [(); 3].map(|()| bench.train("run").spawn().expect("it starts"));
        let both = both.map(|child| child.wait_with_output().expect("a child"));
        let (made, others): (Vec<_>, Vec<_>) =
            both.iter().partition(|output| output.status.success());
        assert_eq!(made.len(), 1, "{both:?}");
        for other in others {
            refused(other, &["another --out"]);
        }
        ends_like_whole(&bench, made[0]);
        std::fs::remove_dir_all(bench.at("run")).expect("a run");
    }
}

#[test]
fn data_that_is_gone_or_cut_is_named_and_the_run_goes_on_when_it_is_back() {
    let bench = interrupted();
    let place = bench.at("data/2_tr.csv");
    let whole = std::fs::read(&place).expect("a table");
    std::fs::remove_file(&place).expect("a table");
    refused(&bench.resume("run"), &["2_tr.csv"]);
    std::fs::write(&place, &whole[..whole.len() / 2]).expect("written");
    refused(&bench.resume("run"), &["2_tr.csv"]);
    std::fs::write(&place, whole).expect("written");
    ends_like_whole(&bench, &bench.resume("run"));
}

/// What processes leave that are killed while they write a file, or while they put a run in the place of another one.
#[test]
fn what_killed_processes_leave_is_in_nobody_s_way() {
    let bench = interrupted();
    let partial = bench.partial("run");
    for name in ["checkpoint.safetensors.partial-7", "report.html.partial-7"] {
        std::fs::write(partial.join(name), "half").expect("written");
    }
    std::fs::rename(bench.at("whole"), bench.at("run.partial.replaced")).expect("moved");
    bench.whole("whole");
    ends_like_whole(&bench, &bench.resume("run"));
    assert!(!bench.at("run.partial.replaced").exists());

    std::fs::create_dir(bench.at("run.partial.replaced")).expect("a folder");
    std::fs::write(bench.at("run.partial.replaced/old"), "old").expect("written");
    let mut again = bench.train("run");
    let again = again.arg("--force").output().expect("it starts");
    ends_like_whole(&bench, &again);
    assert!(!bench.at("run.partial.replaced").exists());
}
