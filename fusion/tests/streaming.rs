//! Tables that are read batch by batch are those read at once: the same numbers, the same training, the same errors.

use std::fs;
use std::path::{Path, PathBuf};

use dfdx::prelude::Cpu;
use equilibria_core::{serde_json, Error, Parameters};
use equilibria_fusion::checkpoint::Metadata;
use equilibria_fusion::data::{
    held_out, stratified_holdout, DataSet, Digest, Features, MinMax, Samples, Split, SplitName,
    StreamedFolder,
};
use equilibria_fusion::predict::predict_on;
use equilibria_fusion::progress::Progress;
use equilibria_fusion::ranks::threads::run;
use equilibria_fusion::ranks::{Alone, Division, Ranks};
use equilibria_fusion::sources::blank::Blank;
use equilibria_fusion::sources::folder::Folder;
use equilibria_fusion::train::{evaluate_on, Trainer};
use equilibria_fusion::{DataSource, Experiment};
use equilibria_testing::random_values;
use tempfile::TempDir;

/// Two modalities of 3 and 2 features, 300 training rows, which are more than are read at once, and 40 test rows.
fn written() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (split, rows) in [("tr", 300), ("te", 40)] {
        for (k, columns) in [(1, 3), (2, 2)] {
            let values = random_values(columns * rows, k + rows as u64);
            let line = |row: &[f64]| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
            let lines: Vec<String> = values.chunks(columns).map(line).collect();
            write(&folder, &format!("{k}_{split}.csv"), lines.join("\n"));
        }
        let labels: Vec<String> = (0..rows).map(|row| (row * row % 3).to_string()).collect();
        write(&folder, &format!("labels_{split}.csv"), labels.join("\n"));
    }
    folder
}

fn write(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) {
    fs::write(folder.path().join(name), text).expect("it is written");
}

fn streamed(folder: &TempDir) -> Samples {
    let scratch = tempfile::tempdir().expect("a folder");
    let stream = StreamedFolder {
        path: folder.path(),
        scratch: scratch.path(),
    };
    let samples = stream.samples().expect("the folder is sound");
    let left = fs::read_dir(scratch.path()).expect("a folder").count();
    assert_eq!(left, 0, "the files have names");
    samples
}

/// Reads a folder in both ways and compares all rows.
fn assert_same(folder: &TempDir, case: &str) {
    let set = DataSet::from_folder(folder.path()).expect(case);
    let samples = streamed(folder);
    assert_eq!(
        (&samples.name, &samples.classes),
        (&set.name, &set.classes),
        "{case}"
    );
    for part in SplitName::BOTH {
        let read = samples.split(part).read_all().expect("it is there");
        assert_eq!(&read, set.split(part), "{case}, {part}");
    }
    let digest = samples.digest().expect("it is there");
    let whole = Samples::from(set).digest().expect("in memory");
    assert_eq!(digest, whole, "{case}");
}

#[test]
fn rows_are_the_same_whatever_the_targets() {
    let folder = written();
    assert_same(&folder, "class numbers");
    for split in ["tr", "te"] {
        let file = format!("labels_{split}.csv");
        let text = fs::read_to_string(folder.path().join(&file)).expect("it is there");
        let names: Vec<&str> = text
            .lines()
            .map(|class| if class == "0" { "cat" } else { "dog" })
            .collect();
        write(&folder, &file, format!("kind\n{}", names.join("\n")));
    }
    assert_same(&folder, "names of classes under a heading");
    for (split, rows) in [("tr", 300), ("te", 40)] {
        fs::remove_file(folder.path().join(format!("labels_{split}.csv"))).expect("removed");
        let bits: Vec<String> = (0..rows)
            .map(|row| format!("{},{}", row % 2, row / 2 % 2))
            .collect();
        let text = format!("a,b\n{}\n\n", bits.join("\n"));
        write(&folder, &format!("multilabels_{split}.csv"), text);
    }
    assert_same(&folder, "several labels");
    for (split, rows) in [("tr", 300), ("te", 40)] {
        fs::remove_file(folder.path().join(format!("multilabels_{split}.csv"))).expect("removed");
        let numbers: Vec<String> = (0..rows).map(|row| format!("{row}.5")).collect();
        let text = format!("score\r\n{}", numbers.join("\r\n"));
        write(&folder, &format!("targets_{split}.csv"), text);
    }
    assert_same(&folder, "numbers");
}

#[test]
fn rows_with_names_are_put_in_order() {
    let folder = written();
    for (split, rows) in [("tr", 300), ("te", 40)] {
        let names = |step: usize| {
            let names = (0..rows).map(|row| format!("{split}-{}", row * step % rows));
            names.collect::<Vec<_>>().join("\n")
        };
        write(&folder, &format!("samples_{split}.csv"), names(1));
        write(&folder, &format!("2_{split}_ids.csv"), names(7));
    }
    assert_same(&folder, "names of samples");
}

/// The files that other tools write: what is read is the same, and what is refused is refused with the same words.
#[test]
fn files_of_other_tools_are_read_or_refused_alike() {
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/written");
    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("a file").path()).collect()
    };
    let stem = |file: &Path| {
        let name = file.file_name().expect("a name").to_string_lossy();
        name.split('.').next().unwrap_or_default().to_owned()
    };
    let kinds = fs::read_to_string(written.join("kinds.json")).expect("it is there");
    let kinds: serde_json::Value = serde_json::from_str(&kinds).expect("a list");
    let (mut read, mut refused) = (0, 0);
    for kind in kinds.as_array().expect("a list") {
        let text = |key: &str| kind[key].as_str().expect("text").to_owned();
        let folder = tempfile::tempdir().expect("a folder");
        let replacing = files(&written.join(text("folder")));
        let replaced: Vec<String> = replacing.iter().map(|file| stem(file)).collect();
        for file in files(&written.join("base")) {
            let own = stem(&file);
            let is_table = own.as_bytes()[0].is_ascii_digit();
            let is_target = own
                .rsplit_once('_')
                .is_some_and(|(own, _)| own == text("targets"));
            if (is_table || is_target) && !replaced.contains(&own) {
                let name = file.file_name().expect("a name");
                fs::copy(&file, folder.path().join(name)).expect("copied");
            }
        }
        for file in replacing {
            let name = file.file_name().expect("a name");
            fs::copy(&file, folder.path().join(name)).expect("copied");
        }
        let case = format!("{}: {}", text("folder"), text("code"));
        let stream = StreamedFolder {
            path: folder.path(),
            scratch: folder.path(),
        };
        match (DataSet::from_folder(folder.path()), stream.samples()) {
            (Ok(_), Ok(_)) => {
                assert_same(&folder, &case);
                read += 1;
            }
            (Err(whole), Err(streamed)) => {
                assert_eq!(streamed.to_string(), whole.to_string(), "{case}");
                refused += 1;
            }
            // The one kind that is read in memory alone: columns cannot be had row by row.
            (Ok(_), Err(error)) => {
                assert!(text("code").contains("asfortranarray"), "{case}: {error}");
                assert!(error.to_string().contains("ascontiguousarray"), "{error}");
            }
            (Err(error), Ok(_)) => panic!("{case}: read, though {error}"),
        }
    }
    assert!(read > 25 && refused > 25, "{read} read, {refused} refused");
}

#[test]
fn faults_are_located_far_down_in_a_file() {
    for (file, line, cell, message) in [
        ("1_tr.csv", 290, "1,x,3", "1_tr.csv, row 290, column 2"),
        ("2_tr.csv", 299, "1,2,3", "2_tr.csv, row 299: found 3"),
        ("2_te.csv", 40, "1,inf", "2_te.csv, row 40, column 2"),
        ("2_te.csv", 20, "", "2_te.csv, row 20: the line is blank"),
        ("labels_tr.csv", 280, "1.5", "labels_tr.csv, row 280"),
        ("labels_te.csv", 39, "3", "labels_te.csv, row 39"),
    ] {
        let folder = written();
        let text = fs::read_to_string(folder.path().join(file)).expect("it is there");
        let mut lines: Vec<&str> = text.lines().collect();
        lines[line - 1] = cell;
        write(&folder, file, lines.join("\n"));
        let stream = StreamedFolder {
            path: folder.path(),
            scratch: folder.path(),
        };
        let error = stream.samples().expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
        let whole = DataSet::from_folder(folder.path()).expect_err(message);
        assert_eq!(error, whole.to_string());
    }
}

#[test]
fn a_column_that_counts_the_rows_is_refused_alike() {
    let folder = written();
    for (split, start) in [("tr", 0), ("te", 300)] {
        let file = format!("2_{split}.csv");
        let text = fs::read_to_string(folder.path().join(&file)).expect("it is there");
        let lines = (start..).zip(text.lines());
        let lines: Vec<String> = lines.map(|(row, line)| format!("{row},{line}")).collect();
        write(&folder, &file, lines.join("\n"));
    }
    let stream = StreamedFolder {
        path: folder.path(),
        scratch: folder.path(),
    };
    let error = stream.samples().expect_err("an index").to_string();
    assert!(error.contains("it counts the rows"), "{error}");
    let whole = DataSet::from_folder(folder.path()).expect_err("an index");
    assert_eq!(error, whole.to_string());
}

/// Warm starts, dropout, averages, validation rows: all that could depend on how rows are read.
const CONFIG: &str = r#"{
    "seed": 5, "dtype": "f64",
    "data": { "type": "folder" },
    "backbone": { "type": "encoder", "hidden": 8, "dropout": 0.2 },
    "fusion": { "type": "deq", "groups": 2, "start": "warm", "layer": { "type": "residual-block", "groups": 2 } },
    "training": { "epochs": 3, "batch": 32, "optimizer": { "type": "adam" }, "average": 0.9 }
}"#;

/// Parameters after training, and what the model says of the test rows: in words, and its outputs.
type Outcome = (Vec<u8>, String, Vec<Vec<f64>>);

fn trained(samples: Samples, config: &str) -> Outcome {
    trained_on(&Alone, samples, config).expect("it trains")
}

/// The same on ranks.
fn trained_on(ranks: &dyn Ranks, mut samples: Samples, config: &str) -> Result<Outcome, Error> {
    let experiment: Experiment = serde_json::from_str(config).expect("it parses");
    experiment.head.check(&samples).expect("it fits");
    let mut failed = Ok(());
    let rows = held_out(samples.train.strata(&mut failed), 0.2, 5);
    failed.expect("it is there");
    let mut fitted = samples.train.without(&rows);
    let mut validation = samples.train.select(&rows);
    let scaling = MinMax::fit_rows(fitted.features()).expect("it is there");
    for rows in [&mut fitted, &mut validation, &mut samples.test] {
        rows.scale(&scaling).expect("the same columns");
    }
    let (device, columns) = (Cpu::default(), fitted.features().columns());
    let classes = samples.classes.len();
    let mut model = experiment
        .model::<f64, _>(&device, &columns, classes)
        .expect("it builds");
    let mut progress = Progress::new(&experiment.training).expect("a known rule");
    Trainer {
        model: &mut model,
        device: &device,
        training: &experiment.training,
        seed: 5,
    }
    .run_on::<Error>(
        ranks,
        &*fitted,
        Some(&*validation),
        &mut progress,
        &mut |_, _| Ok(()),
    )?;
    let division = Division {
        ranks,
        reproducible: experiment.training.reproducible,
    };
    let evaluation = evaluate_on(&division, &model, &device, &*samples.test)?;
    let outputs = predict_on(&division, &model, &device, &*samples.test)?;
    let head = &model.head;
    let told = format!("{:?} {evaluation:?}", head.standardization());
    let named = model.named().len();
    assert!(named > 10);
    let bytes = equilibria_fusion::checkpoint::to_bytes(&model, Metadata::new());
    Ok((bytes.expect("names differ"), told, outputs.outputs))
}

/// Each rank reads its rows of a batch.
#[test]
fn ranks_train_the_same_to_the_last_bit() {
    let folder = written();
    let reproducible = CONFIG.replace(r#""epochs""#, r#""reproducible": true, "epochs""#);
    for config in [CONFIG, &reproducible] {
        for size in [1, 3] {
            let each = |stream: bool| -> Vec<_> {
                let ends = run::<_, Error>(size, |ranks| {
                    let samples = match stream {
                        true => streamed(&folder),
                        false => DataSet::from_folder(folder.path()).expect("sound").into(),
                    };
                    trained_on(ranks, samples, config)
                });
                let ends = ends.into_iter();
                ends.map(|end| end.expect("it trains")).collect()
            };
            assert_eq!(each(true), each(false), "{size} ranks, {config}");
        }
    }
    let several = run::<_, Error>(3, |ranks| {
        trained_on(ranks, streamed(&folder), &reproducible)
    });
    let one = trained(streamed(&folder), &reproducible);
    for own in several {
        assert_eq!(own.expect("it trains"), one);
    }
}

#[test]
fn broken_arrays_are_refused_alike() {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/written/safetensors-float32/1_tr.safetensors");
    let whole = fs::read(whole).expect("it is there");
    let start = 8 + usize::from(whole[0]);
    let huge = [&u64::MAX.to_le_bytes()[..], &whole[8..]].concat();
    let long = [&(1_u64 << 20).to_le_bytes()[..], &whole[8..]].concat();
    let binary = [&whole[..start - 1], &[0xFF], &whole[start..]].concat();
    let broken = [
        &[][..],
        &whole[..7],
        &whole[..8],
        &whole[..start - 1],
        &whole[..start],
        &whole[..whole.len() - 1],
        &[&whole[..], &[0]].concat(),
        &huge,
        &long,
        &binary,
    ];
    for (number, bytes) in broken.into_iter().enumerate() {
        let folder = written();
        fs::remove_file(folder.path().join("1_tr.csv")).expect("removed");
        fs::write(folder.path().join("1_tr.safetensors"), bytes).expect("written");
        let stream = StreamedFolder {
            path: folder.path(),
            scratch: folder.path(),
        };
        let error = stream.samples().expect_err("broken").to_string();
        let whole = DataSet::from_folder(folder.path()).expect_err("broken");
        assert_eq!(error, whole.to_string(), "{number}");
    }
}

#[test]
fn training_is_the_same_to_the_last_bit() {
    let folder = written();
    let whole = || DataSet::from_folder(folder.path()).expect("sound").into();
    assert_eq!(trained(streamed(&folder), CONFIG), trained(whole(), CONFIG));
    // Numbers, whose mean and deviation are learned from all rows.
    for (split, rows) in [("tr", 300), ("te", 40)] {
        fs::remove_file(folder.path().join(format!("labels_{split}.csv"))).expect("removed");
        let numbers: Vec<String> = (random_values(rows, 9).iter())
            .map(|number| (1e3 + number).to_string())
            .collect();
        write(&folder, &format!("targets_{split}.csv"), numbers.join("\n"));
    }
    let config = CONFIG.replacen('{', r#"{ "head": { "type": "regression" }, "#, 1);
    assert_eq!(
        trained(streamed(&folder), &config),
        trained(whole(), &config)
    );
}

#[test]
fn rows_to_evaluate_and_to_predict_are_the_same() {
    let folder = written();
    let set = DataSet::from_folder(folder.path()).expect("sound");
    let scratch = tempfile::tempdir().expect("a folder");
    let source = Folder {
        path: folder.path().into(),
        stream: true,
    };
    let rows = source
        .stored_split(SplitName::Test, &set.classes, scratch.path())
        .expect("sound");
    assert_eq!(rows.read_all().expect("it is there"), set.test);
    for split in ["tr", "te"] {
        fs::remove_file(folder.path().join(format!("labels_{split}.csv"))).expect("removed");
    }
    let features = source
        .stored_features(SplitName::Test, scratch.path())
        .expect("no labels are needed");
    let all: Vec<usize> = (0..features.len()).collect();
    let tables = features.tables(&all).expect("it is there").into_owned();
    assert_eq!(tables, set.test.modalities);
    let digest = |features: &dyn Features| Digest::of_features(SplitName::Test, features);
    let same = digest(&set.test).expect("in memory");
    assert_eq!(digest(&*features).expect("it is there"), same);
}

#[test]
fn modalities_are_chosen_and_rows_selected_as_in_memory() {
    let folder = written();
    let set = DataSet::from_folder(folder.path()).expect("sound");
    let samples = streamed(&folder).with_modalities(&[2]).expect("there");
    let set = set.with_modalities(&[2]).expect("there");
    let picked = [5, 299, 0, 5];
    let same = samples.train.read(&picked).expect("it is there");
    assert_eq!(same, Split::select(&set.train, &picked));
    let less = samples.train.without(&[0, 1, 7]).select(&[0, 4, 5]);
    let same = less.read_all().expect("it is there");
    assert_eq!(same, Split::select(&set.train, &[2, 6, 8]));
    for wrong in [&[][..], &[2, 2], &[3], &[0]] {
        let refused = streamed(&folder).with_modalities(wrong);
        let message = refused.expect_err("refused").to_string();
        assert!(message.contains("from 1 to 2"), "{message}");
    }
    // Announced rows are those that come, and others all the same.
    samples.train.announce(&[3, 1]);
    for rows in [[1, 3], [3, 1], [3, 1]] {
        let read = samples.train.read(&rows).expect("it is there");
        assert_eq!(read, Split::select(&set.train, &rows));
    }
}

#[test]
fn rows_are_held_out_as_from_a_list_of_labels() {
    let labels: Vec<usize> = (0..500).map(|row| row * row % 7).collect();
    for share in [0.0, 0.1, 0.5] {
        let (kept, held) = stratified_holdout(&labels, share, 3);
        assert_eq!(held_out(labels.iter().copied(), share, 3), held);
        assert_eq!(kept.len() + held.len(), 500);
    }
}

#[test]
fn data_inside_of_other_data_is_not_streamed() {
    let data = Blank {
        data: Box::new(Folder {
            stream: true,
            ..Folder::default()
        }),
        ..Blank::default()
    };
    let message = data.load().expect_err("refused").to_string();
    assert!(
        message.contains("`blank`") && message.contains("`stream`"),
        "{message}"
    );
}

#[test]
fn a_folder_for_files_that_is_not_there_is_named() {
    let folder = written();
    let stream = StreamedFolder {
        path: folder.path(),
        scratch: Path::new("no/such/folder"),
    };
    let message = stream.samples().expect_err("refused").to_string();
    assert!(message.contains("no/such/folder"), "{message}");
}
