//! `verify` passes on the golden arrays of whole systems, of any size, and fails where it must.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::tensor::TensorView;
use safetensors::SafeTensors;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/sites")
}

fn verify(folder: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_equilibria-program"));
    let output: Output = (command.arg("verify").arg(folder))
        .output()
        .expect("the program starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A copy of a folder, in which `change` has changed one number of an array.
fn changed(name: &str, file: &str, array: &str, change: f64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(golden().join(name)).expect("a folder") {
        let from = entry.expect("a file").path();
        let to = folder.path().join(from.file_name().expect("a name"));
        std::fs::copy(from, to).expect("a copy");
    }
    let path = folder.path().join(file);
    let bytes = std::fs::read(&path).expect("a file");
    let stored = SafeTensors::deserialize(&bytes).expect("safetensors");
    let arrays = stored.tensors().into_iter().map(|(name, view)| {
        let mut data = view.data().to_vec();
        if name == array {
            let first = data.first_chunk_mut::<8>().expect("a number");
            *first = (f64::from_le_bytes(*first) + change).to_le_bytes();
        }
        (name, view.dtype(), view.shape().to_vec(), data)
    });
    let arrays: Vec<_> = arrays.collect();
    let views = arrays.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.clone(), data);
        (name, view.expect("a view"))
    });
    let file = safetensors::serialize(views, None).expect("bytes");
    std::fs::write(path, file).expect("written");
    folder
}

#[test]
fn every_array_of_every_system_passes() {
    let mut folders = 0;
    for entry in std::fs::read_dir(golden()).expect("the folder") {
        let folder = entry.expect("an entry").path();
        if folder.is_dir() {
            let (status, report) = verify(&folder);
            assert_eq!(status, Some(0), "{}: {report}", folder.display());
            folders += 1;
        }
    }
    assert_eq!(folders, 6);
}

#[test]
fn a_wrong_number_fails_wherever_it_is() {
    for (name, file, array, change) in [
        ("mm-imdb", "original", "mid.text", 1e-10),
        ("mm-imdb", "original", "after.image.bn1.running_var", 1e-10),
        ("mm-imdb", "deq", "jac_grad.param.text.bn0.weight", 1e-7),
        ("mm-imdb", "metrics", "metric.f1_macro", 1e-9),
        ("mutan", "deq_both", "deq.attention.z", 1e-7),
        (
            "mutan",
            "original",
            "grad.param.attention.mutan.hq.2.bias",
            1e-9,
        ),
        ("mcan", "deq", "grad.param.lstm.hidden.bias", 1e-6),
        ("cm-bert", "deq", "mid.fused", 1e-7),
        ("imvotenet", "pointnet", "mid.fp.weights", 1e-9),
        ("imvotenet", "original", "mid.cues", 1e-9),
        ("imvotenet", "original", "loss.joint.center", 1e-9),
        (
            "imvotenet",
            "deq",
            "grad.param.fusion.theta.1.hat.weight",
            1e-7,
        ),
        ("imvotenet", "metrics", "metric.iou", 1e-9),
        ("cm-bert", "optimizer", "optim.w", 1e-9),
    ] {
        let file = format!("{file}.safetensors");
        let folder = changed(name, &file, array, change);
        let (status, report) = verify(folder.path());
        assert_eq!(status, Some(1), "{name}: {report}");
        let failed: Vec<&str> = report.lines().filter(|l| l.starts_with("FAIL")).collect();
        assert_eq!(failed.len(), 1, "{name}: {report}");
        assert!(failed[0].contains(array), "{name}: {report}");
    }
}

#[test]
fn a_folder_of_unknown_arrays_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("metadata.json"), r#"{"a": {}}"#).expect("written");
    let view = TensorView::new(safetensors::Dtype::F64, vec![1], &[0; 8]).expect("a view");
    let file = safetensors::serialize([("param.x", view)], None).expect("bytes");
    std::fs::write(folder.path().join("a.safetensors"), file).expect("written");
    let (status, report) = verify(folder.path());
    assert_ne!(status, Some(0), "{report}");
    assert!(report.contains("is recognized by these arrays"), "{report}");
}
