//! State dicts written by PyTorch (`state_dicts/make.py`): what its modules work with in evaluation is read, the rest is refused
//! with what to do.

use std::path::{Path, PathBuf};

use dfdx::prelude::*;
use equilibria_core::{parameters, Backend, Matrix, Parameters, Scalar};
use equilibria_fusion::checkpoint::{decode, Checkpoint, CheckpointError};
use equilibria_fusion::layers::modules::Linear;
use equilibria_fusion::layers::Initializer;
use safetensors::SafeTensors;

/// Three linear maps, of 3 → 4, 4 → 4 and 4 → 4 numbers.
struct Net<E: Scalar, D: Backend<E>> {
    first: Linear<E, D>,
    second: Linear<E, D>,
    third: Linear<E, D>,
}

parameters!(Net {
    first,
    second,
    third
});

impl<E: Scalar> Net<E, Cpu>
where
    Cpu: Backend<E>,
{
    fn new() -> Self {
        let mut init = Initializer::new(&Cpu::default(), 1);
        let mut linear = |inputs| Linear::xavier(4, inputs, &mut init).expect("memory");
        Self {
            first: linear(3),
            second: linear(4),
            third: linear(4),
        }
    }

    /// Name and numbers of every parameter.
    fn values(&self) -> Vec<(String, Vec<f64>)> {
        let wide = |tensor: Matrix<E, Cpu>| tensor.as_vec().into_iter().map(E::wide).collect();
        let named = self.named().into_iter();
        named.map(|(name, tensor)| (name, wide(tensor))).collect()
    }
}

fn path(case: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state_dicts");
    folder.join(format!("{case}.safetensors"))
}

fn load<E: Scalar>(case: &str) -> Result<Net<E, Cpu>, CheckpointError>
where
    Cpu: Backend<E>,
{
    let mut net = Net::new();
    let before = net.values();
    let outcome = Checkpoint::read(&path(case)).and_then(|saved| saved.load(&mut net));
    if outcome.is_err() {
        assert_eq!(net.values(), before, "{case}: half loaded");
    }
    outcome.map(|()| net)
}

/// The largest difference from the weights of the module, relative to 1.
fn error<E: Scalar>(case: &str) -> f64
where
    Cpu: Backend<E>,
{
    let bytes = std::fs::read(path("expected")).expect("a file of the test data");
    let expected = SafeTensors::deserialize(&bytes).expect("whole");
    let net = load::<E>(case).unwrap_or_else(|error| panic!("{case}: {error}"));
    let mut worst = 0.0;
    for (name, ours) in net.values() {
        let theirs = expected
            .tensor(&format!("{case}/{name}"))
            .expect("a weight");
        let theirs: Vec<f64> = decode(theirs.data());
        assert_eq!(ours.len(), theirs.len(), "{case}: {name}");
        let differences = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
        worst = differences.fold(worst, f64::max);
    }
    worst
}

/// Exact, but for norms and products of four numbers around 1: some roundings of 1e-16.
#[test]
fn weights_are_those_the_module_works_with() {
    for case in [
        "plain",
        "data_parallel",
        "compiled",
        "compiled_data_parallel",
        "compiled_inside",
        "averaged",
        "tied",
        "half",
        "bfloat16",
        "single",
        "bits",
    ] {
        assert!(error::<f64>(case).abs() <= 0.0, "{case}");
    }
    for case in [
        "weight_norm",
        "weight_norm_columns",
        "weight_norm_whole",
        "weight_norm_hook",
        "weight_norm_hook_columns",
        "weight_norm_hook_whole",
        "weight_norm_wrapped",
        "spectral_norm",
        "spectral_norm_columns",
        "spectral_norm_hook",
        "spectral_norm_hook_columns",
    ] {
        let error = error::<f64>(case);
        assert!(error < 1e-14, "{case}: {error:e}");
    }
}

/// Rounding to f32 changes a number by 2⁻²⁴ of it at most; all are below 2.
#[test]
fn double_precision_is_rounded_for_a_model_in_single_precision() {
    let error = |case| error::<f32>(case);
    for case in ["plain", "weight_norm", "spectral_norm"] {
        assert!(error(case) <= 2f64.powi(-23), "{case}: {:e}", error(case));
    }
    for case in ["single", "half", "bfloat16"] {
        assert!(error(case).abs() <= 0.0, "{case}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_by_name_with_what_to_do() {
    for (case, parts) in [
        (
            "additional",
            &["no parameter for `fourth.weight`, `step`", "leave out"][..],
        ),
        (
            "prefixed",
            &[
                "no parameter `first.weight`, but `net.first.weight`",
                "removeprefix(\"net.\")",
            ],
        ),
        (
            "misspelled",
            &[
                "no parameter `second.weight`",
                "did you mean the array `secnd.weight`",
            ],
        ),
        ("quantized", &["`second.weight` is I8", ".float()"]),
        ("broken", &["`second.weight`, row 2, column 3", "finite"]),
        (
            "orthogonal",
            &[
                "`second.weight` is kept as `second.parametrizations.weight.0.base`",
                "remove_parametrizations",
            ],
        ),
        (
            "pruned",
            &["`second.weight_mask`, `second.weight_orig`", "prune.remove"],
        ),
        ("pickled", &["a file of `torch.save`", "save_file"]),
    ] {
        let error = load::<f64>(case).err().map(|error| error.to_string());
        let message = error.unwrap_or_else(|| panic!("{case} is accepted"));
        for part in parts {
            assert!(message.contains(part), "{case}: {message}");
        }
        assert!(
            message.contains(&format!("{case}.safetensors: ")),
            "{message}"
        );
    }
}

#[test]
fn numbers_beyond_single_precision_are_refused_there_alone() {
    let message = load::<f32>("huge").err().expect("1e300").to_string();
    assert!(
        message.contains("`second.weight`, row 1, column 1: no finite number of type F32"),
        "{message}"
    );
    let net = load::<f64>("huge").expect("1e300 is a number");
    assert_eq!(net.second.weight.as_vec(), [1e300; 16]);
}

/// A file with one array in another shape, or with another number everywhere: what loading it comes to.
fn changed(
    case: &str,
    part: &str,
    shape: &[usize],
    number: Option<f64>,
) -> Result<(), CheckpointError> {
    let bytes = std::fs::read(path(case)).expect("a file of the test data");
    let file = SafeTensors::deserialize(&bytes).expect("whole");
    let filled = |bytes: &[u8]| number.map(|n| n.to_le_bytes().repeat(bytes.len() / 8));
    let arrays: Vec<_> = (file.iter())
        .map(|(name, view)| match name == part {
            true => (
                name,
                shape.to_vec(),
                filled(view.data()).unwrap_or(view.data().to_vec()),
                view,
            ),
            false => (name, view.shape().to_vec(), view.data().to_vec(), view),
        })
        .collect();
    let views = arrays.iter().map(|(name, shape, data, view)| {
        let view = safetensors::tensor::TensorView::new(view.dtype(), shape.clone(), data);
        (*name, view.expect("as many entries"))
    });
    let folder = tempfile::tempdir().expect("a folder");
    let changed = folder.path().join("changed.safetensors");
    let bytes = safetensors::serialize(views, None).expect("serializable");
    std::fs::write(&changed, bytes).expect("written");
    let saved = Checkpoint::read(&changed).expect("whole");
    saved.load(&mut Net::<f64, Cpu>::new())
}

/// A weight that no reparametrization of the file fits is named, not put together anyhow.
#[test]
fn parts_of_other_shapes_are_refused() {
    let part = "first.parametrizations.weight.original0";
    let error = changed("weight_norm", part, &[2, 2], None).expect_err("no length per row");
    assert!(matches!(&error, CheckpointError::Mismatch { name, .. } if name == part));
    assert!(
        error.to_string().contains("[4, 1], [1, 3] or []"),
        "{error}"
    );
}

/// A kernel of a convolution is square, and a trailing 1 is that of `Conv1d`: other arrays of three and four axes are none.
#[test]
fn a_weight_of_other_axes_is_refused_with_both_shapes() {
    let second = |shape: &[usize]| changed("plain", "second.weight", shape, None);
    for shape in [&[4, 4][..], &[4, 4, 1], &[4, 1, 2, 2], &[4, 4, 1, 1]] {
        second(shape).unwrap_or_else(|error| panic!("{shape:?}: {error}"));
    }
    for shape in [
        &[4, 2, 2][..],
        &[4, 1, 4],
        &[1, 4, 4],
        &[4, 1, 1, 4],
        &[2, 2, 2, 2],
        &[4, 1, 2, 2, 1],
        &[16],
        &[2, 8],
    ] {
        let error = second(shape).expect_err("another shape").to_string();
        let got = format!("parameter `second.weight` is F64 {shape:?}, the model needs F64 [4, 4]");
        assert!(error.contains(&got), "{error}");
    }
}

#[test]
fn a_direction_of_length_0_is_named_and_no_divergence() {
    for (case, part, shape) in [
        (
            "weight_norm",
            "first.parametrizations.weight.original1",
            [4, 3],
        ),
        ("weight_norm_hook", "first.weight_v", [4, 3]),
        ("spectral_norm_hook", "first.weight_orig", [4, 3]),
    ] {
        let error = changed(case, part, &shape, Some(0.0)).expect_err("0 / 0");
        let message = error.to_string();
        assert!(
            matches!(error, CheckpointError::Undirected { .. }),
            "{case}: {message}"
        );
        assert!(
            message.contains("`first.weight`") && message.contains(part),
            "{message}"
        );
        assert!(!message.contains("diverged"), "{message}");
        let broken = changed(case, part, &shape, Some(f64::NAN)).expect_err("NaN");
        assert!(
            matches!(broken, CheckpointError::NonFinite { .. }),
            "{case}: {broken}"
        );
    }
}
