//! `verify` passes on the golden arrays, and fails where it must.

#[path = "verify/state_dicts.rs"]
mod state_dicts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, TensorView};
use safetensors::SafeTensors;

type Arrays = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden")
}

fn verify(folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    command.arg("verify").arg(folder).arg("--json");
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(path: &Path) -> Arrays {
    let bytes = std::fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let number = |b: &[u8]| f64::from_le_bytes(b.try_into().expect("eight bytes"));
    let arrays = file.tensors().into_iter().map(|(name, view)| {
        let values = view.data().chunks_exact(8).map(number).collect();
        (name, (view.shape().to_vec(), values))
    });
    arrays.collect()
}

/// A folder with the given arrays and the sizes of the golden case, changed by `sizes`.
fn folder(arrays: &Arrays, sizes: &[(&str, usize)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let metadata = std::fs::read_to_string(golden().join("metadata.json")).expect("metadata");
    let mut metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    for (key, size) in sizes {
        metadata["config"][key] = (*size).into();
    }
    std::fs::write(folder.path().join("metadata.json"), metadata.to_string()).expect("metadata");
    write(arrays, &folder.path().join("golden.safetensors"));
    folder
}

fn write(arrays: &Arrays, path: &Path) {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = arrays
        .iter()
        .map(|(name, (shape, values))| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (name, shape, bytes.collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F64, (*shape).clone(), bytes).expect("a view");
        (*name, view)
    });
    let file = safetensors::serialize(views, None).expect("bytes");
    std::fs::write(path, file).expect("written");
}

/// Inputs, parameters and the arrays that `keep` accepts: a case that is quickly compared.
fn part(keep: impl Fn(&str) -> bool) -> Arrays {
    let mut arrays = read(&golden().join("golden.safetensors"));
    arrays
        .retain(|name, _| name.starts_with("param.") || name.starts_with("input.x") || keep(name));
    arrays
}

#[test]
fn every_golden_array_passes() {
    let output = verify(&golden());
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report}");
    let last = report.lines().last().expect("a last line");
    let json: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let arrays = json["arrays"].as_array().expect("a list");
    let stored = read(&golden().join("golden.safetensors")).len()
        + read(&golden().join("golden_hard.safetensors")).len();
    assert_eq!(arrays.len(), stored, "one entry per stored array");
    let with = |outcome: &str| arrays.iter().filter(|a| a["outcome"] == outcome).count();
    assert_eq!(with("pass") + with("input") + with("chaotic"), stored);
    assert_eq!(with("chaotic"), 2);
}

/// They are what makes a folder of layers.
#[test]
fn descriptions_beside_the_arrays_of_fusion_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["metadata.json", "golden.safetensors"] {
        std::fs::copy(golden().join(name), folder.path().join(name)).expect("a copy");
    }
    std::fs::write(folder.path().join("golden_small.json"), "{}").expect("written");
    let hard = golden().join("golden_hard.safetensors");
    std::fs::copy(hard, folder.path().join("golden_hard.safetensors")).expect("a copy");
    std::fs::write(folder.path().join("golden_hard.json"), "{}").expect("written");
    let output = verify(folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_wrong_number_fails() {
    let mut arrays = part(|name| name.starts_with("step_rand."));
    arrays.get_mut("step_rand.out.fuse").expect("stored").1[5] += 3e-12;
    let output = verify(folder(&arrays, &[]).path());
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    let failed: Vec<&str> = report.lines().filter(|l| l.starts_with("FAIL")).collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert!(failed[0].contains("step_rand.out.fuse"), "{report}");
    assert!(failed[0].contains("error 3.0e-12"), "{report}");
}

#[test]
fn an_array_that_no_rule_knows_fails() {
    let mut arrays = part(|_| false);
    arrays.insert("step_zero.gate".to_owned(), (vec![1], vec![0.0]));
    let output = verify(folder(&arrays, &[]).path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("UNKNOWN"));
}

#[test]
fn sizes_come_from_the_folder() {
    // Two modalities, width 8 in two groups, one sample: cut from the golden case.
    let mut arrays = part(|_| false);
    arrays.retain(|name, _| !name.contains(".3"));
    let x = |arrays: &Arrays, name: &str| arrays[name].1[..8].to_vec();
    let weights = arrays["param.fuse.w"].1[..2].to_vec();
    let inputs = ["input.x.1", "input.x.2"].map(|name| x(&arrays, name));
    for (name, (shape, values)) in &mut arrays {
        let (rows, columns) = match (name.as_str(), shape.len()) {
            ("param.fuse.w", _) => (1, 2),
            (name, _) if name.starts_with("input") => (1, 8),
            (_, 1) => (1, 8),
            _ => (8, 8),
        };
        let old = *shape.last().expect("an axis");
        let cut = values
            .chunks(old)
            .take(rows)
            .flat_map(|row| &row[..columns]);
        *values = cut.copied().collect();
        *shape = if shape.len() == 1 {
            vec![columns]
        } else {
            vec![rows, columns]
        };
    }
    let terms = inputs[0].iter().zip(&inputs[1]);
    let x_fuse = terms
        .map(|(a, b)| weights[0] * a + weights[1] * b)
        .collect();
    arrays.insert("input.x_fuse".to_owned(), (vec![1, 8], x_fuse));
    let sizes = [("batch", 1), ("d", 8), ("modalities", 2), ("groups", 2)];
    let output = verify(folder(&arrays, &sizes).path());
    let report = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{report}{}",
        text(&output.stderr)
    );
    assert!(
        report.contains("1 arrays pass, 0 fail, 0 unknown"),
        "{report}"
    );
}

#[test]
fn folders_that_cannot_be_compared_are_refused() {
    let refusal = |folder: &Path| {
        let output = verify(folder);
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    let empty = tempfile::tempdir().expect("a folder");
    assert!(refusal(empty.path()).contains("metadata.json"));

    let mut arrays = part(|_| false);
    arrays.remove("param.fuse.alpha.bias");
    let message = refusal(folder(&arrays, &[]).path());
    assert!(
        message.contains("golden.safetensors: no array `param.fuse.alpha.bias`"),
        "{message}"
    );

    let message = refusal(folder(&part(|_| false), &[("d", 8)]).path());
    assert!(
        message.contains("must have 32 numbers by metadata.json"),
        "{message}"
    );
}

/// Golden folders of layers.
fn layer_folders() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(golden().join("zoo")).expect("a folder");
    let mut folders: Vec<PathBuf> = folders
        .map(|entry| entry.expect("an entry").path())
        .collect();
    folders.sort();
    folders
}

#[test]
fn every_array_of_every_layer_passes() {
    for folder in layer_folders() {
        let output = verify(&folder);
        let report = text(&output.stdout);
        let place = folder.display();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{place}\n{report}{}",
            text(&output.stderr)
        );
    }
}

/// A folder of another name, one number of which is wrong.
#[test]
fn a_wrong_number_of_a_layer_fails_whatever_the_folder_is_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let original = golden().join("zoo/implicit");
    std::fs::copy(
        original.join("golden.json"),
        folder.path().join("golden.json"),
    )
    .expect("a copy");
    let mut arrays = read(&original.join("golden.safetensors"));
    arrays.get_mut("grad.param.A").expect("stored").1[3] += 1e-6;
    write(&arrays, &folder.path().join("golden.safetensors"));
    let output = verify(folder.path());
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    let failed: Vec<&str> = report.lines().filter(|l| l.starts_with("FAIL")).collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert!(failed[0].contains("grad.param.A"), "{report}");
}

/// Sizes that files claim are looked for before memory is taken for them.
#[test]
fn sizes_that_no_array_has_are_refused() {
    let arrays = part(|name| name == "fixed_point.z");
    let refused = |arrays: &Arrays, sizes: &[(&str, usize)], expected: &str| {
        let output = verify(folder(arrays, sizes).path());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{sizes:?}: {message}");
        assert!(message.contains(expected), "{sizes:?}: {message}");
    };
    let huge = usize::MAX / 2;
    for (key, size, expected) in [
        ("modalities", huge, "`param.fuse.w` must have"),
        ("modalities", 0, "modalities of at least 1"),
        ("d", 1_000_000, "`input.x.1` must have"),
        ("d", huge, "memory has room for"),
        ("d", 0, "a width"),
        ("batch", huge, "memory has room for"),
        ("batch", 0, "a batch"),
        ("groups", 0, "groups"),
        ("groups", huge, "groups"),
    ] {
        refused(&arrays, &[(key, size)], expected);
    }
    for (name, shape) in [
        ("anderson.X", vec![0, 4, 64]),
        ("anderson.X", vec![1 << 40, 0]),
        ("jac.probes", vec![3, 4]),
        ("picard.abs_residual", vec![1, 4, 4]),
    ] {
        let mut arrays = part(|name| name == "fixed_point.z");
        let values = vec![0.5; shape.iter().product()];
        arrays.insert(name.to_owned(), (shape, values));
        refused(&arrays, &[], &format!("array `{name}`"));
    }
}

#[test]
fn a_description_of_a_layer_that_is_no_table_is_refused() {
    let zoo = golden().join("zoo/sinkhorn");
    let folder = tempfile::tempdir().expect("a folder");
    let arrays = folder.path().join("golden.safetensors");
    std::fs::copy(zoo.join("golden.safetensors"), arrays).expect("a copy");
    for description in ["[]", "7", "\"config\"", "{\"config\": []}", "{"] {
        std::fs::write(folder.path().join("golden.json"), description).expect("written");
        let output = verify(folder.path());
        let message = text(&output.stderr);
        assert!(!message.contains("panicked"), "{description}: {message}");
        // This layer needs no number of its description.
        let expected = if description == "{" { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{description}");
    }
}
