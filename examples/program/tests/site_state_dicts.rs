//! State dicts of the original systems load by the names of their parameters there, and give the outputs of the original.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dfdx::prelude::*;
use equilibria_core::{from_host, to_host, Backend, Matrix, Scalar};
use equilibria_fusion::checkpoint::{Checkpoint, CheckpointError};
use equilibria_fusion::{Experiment, Pass};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::SafeTensors;
use serde_json::{json, Value};

type Arrays = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

fn golden(name: &str) -> Arrays {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/sites");
    let bytes = std::fs::read(root.join(format!("{name}.safetensors"))).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let arrays = file.tensors().into_iter().map(|(name, view)| {
        let values = match view.dtype() {
            Dtype::I64 => words(view.data(), |word| i64::from_le_bytes(word) as f64),
            _ => words(view.data(), f64::from_le_bytes),
        };
        (name, (view.shape().to_vec(), values))
    });
    arrays.collect()
}

fn words(bytes: &[u8], number: impl Fn([u8; 8]) -> f64) -> Vec<f64> {
    let words = bytes.chunks_exact(8);
    words
        .map(|word| number(word.try_into().expect("eight bytes")))
        .collect()
}

/// A system with the sizes of its golden file.
struct Case {
    file: &'static str,
    backbone: Value,
    fusion: Value,
    head: Value,
    inputs: [&'static str; 2],
    outputs: usize,
    /// The array with the outputs in evaluation.
    expected: &'static str,
}

fn deq(groups: usize, tokens: usize) -> Value {
    let stop =
        json!({ "tolerance": { "relative": 1e-8 }, "max_evaluations": 400, "patience": 100 });
    json!({
        "type": "deq", "groups": groups, "tokens": tokens, "stop": stop,
        "layer": { "type": "residual-block", "groups": groups, "tokens": tokens },
    })
}

fn cases() -> Vec<Case> {
    let movies = json!({ "type": "mm-imdb", "hidden": [16, 20], "width": 16, "dropout": 0.0 });
    let movie = |file, fusion, expected| Case {
        file,
        backbone: movies.clone(),
        fusion,
        head: json!({ "type": "multi-label" }),
        inputs: ["text", "image"],
        outputs: 5,
        expected,
    };
    let question = |file, places: &[&str], fusion| Case {
        file,
        backbone: json!({
            "type": "mutan", "words": 12, "embedding": 6, "question": 8, "regions": 5,
            "attention": [7, 6], "product": [16, 3], "glimpses": 2, "features": [7, 4],
            "common": 16, "where": places, "dropout": 0.0,
        }),
        fusion,
        head: json!({ "type": "multi-class" }),
        inputs: ["question", "image"],
        outputs: 5,
        expected: "out.logits",
    };
    let products = json!({
        "type": "mutan", "width": 16, "rank": 2, "project": false, "output": false,
    });
    let attention = |file, fusion| Case {
        file,
        backbone: json!({
            "type": "mcan", "words": 13, "embedding": 7, "regions": 5, "hidden": 8, "layers": 2,
            "heads": 2, "inner": 16, "pooling": 6, "width": 16, "dropout": 0.0,
        }),
        fusion,
        head: json!({ "type": "multi-label" }),
        inputs: ["question", "image"],
        outputs: 5,
        expected: "out.logits",
    };
    let sentence = |file, rows: &str, fusion| Case {
        file,
        backbone: json!({
            "type": "cm-bert", "vocabulary": 12, "positions": 10, "hidden": 8, "layers": 2,
            "heads": 2, "inner": 16, "projection": 6, "rows": rows, "text_scale": "batch",
            "dropout": 0.0, "attention_dropout": 0.0,
        }),
        fusion,
        head: json!({
            "type": "regression", "standardization": { "mean": 0.0, "deviation": 1.0 },
        }),
        inputs: ["tokens", "audio"],
        outputs: 0,
        expected: "out.score",
    };
    vec![
        movie(
            "mm-imdb/original",
            json!({ "type": "concat" }),
            "eval.out.logits",
        ),
        movie("mm-imdb/deq", deq(2, 1), "eval.out.logits"),
        question("mutan/original", &["classifier"], products),
        question("mutan/deq_classif", &["classifier"], deq(2, 1)),
        question("mutan/deq_both", &["attention", "classifier"], deq(2, 1)),
        attention("mcan/original", json!({ "type": "sum" })),
        attention("mcan/deq", deq(2, 1)),
        sentence(
            "cm-bert/original",
            "columns",
            json!({ "type": "weighted-sum", "bias": true }),
        ),
        sentence("cm-bert/deq", "columns", deq(1, 1)),
        sentence("cm-bert/deq_map", "whole", deq(1, 8)),
    ]
}

/// Parameters and running statistics in f32, under the names of the original; those in `without` are left out.
fn state_dict(arrays: &Arrays, without: &str, path: &Path) {
    let own = arrays.iter().filter_map(|(name, (shape, values))| {
        let parameter = name.strip_prefix("param.");
        let name = parameter.or_else(|| name.strip_prefix("buffer."))?;
        let bytes = values.iter().flat_map(|&x| (x as f32).to_le_bytes());
        (name != without).then(|| (name, shape.clone(), bytes.collect::<Vec<u8>>()))
    });
    let own: Vec<_> = own.collect();
    let views = own.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (*name, view.expect("a view"))
    });
    let bytes = safetensors::serialize(views, None).expect("bytes");
    std::fs::write(path, bytes).expect("written");
}

/// The outputs of a model with the parameters of a state dict, in evaluation, for inputs rounded to f32.
fn outputs<E: Scalar>(
    arrays: &Arrays,
    case: &Case,
    file: &Path,
) -> Result<Vec<f64>, CheckpointError>
where
    Cpu: Backend<E>,
{
    let device = Cpu::default();
    let config = json!({
        "data": { "type": "folder" },
        "backbone": case.backbone,
        "fusion": case.fusion,
        "head": case.head,
    });
    let experiment: Experiment = serde_json::from_value(config).expect("it parses");
    let x: Vec<Matrix<E, Cpu>> = (case.inputs.iter())
        .map(|name| {
            let (shape, values) = &arrays[&format!("input.{name}")];
            let values = values.iter().map(|&x| E::of(f64::from(x as f32)));
            let shape = (shape[0], values.len() / shape[0]);
            from_host(&device, values.collect(), shape).expect("memory")
        })
        .collect();
    let widths: Vec<usize> = x.iter().map(|x| x.shape().1).collect();
    let model = experiment.model(&device, &widths, case.outputs);
    let mut renamed = experiment.under_original_names(model.expect("it builds"));
    Checkpoint::read(file)?.load(&mut renamed)?;
    let outputs = renamed.inner.outputs(&x, None, &mut Pass::evaluation());
    let outputs = to_host(&outputs.expect("it runs"));
    Ok(outputs.into_iter().map(E::wide).collect())
}

/// The largest difference, of entries above 1 relative to them.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    let differences = pairs.map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    differences.fold(0.0, f64::max)
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("state_dict.safetensors")
}

#[test]
fn state_dicts_of_the_original_systems_load_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    for case in cases() {
        let arrays = golden(case.file);
        state_dict(&arrays, "", &file(&folder));
        // What the original gives with the parameters of this file; those of the golden file are the same up to 6e-8.
        let exact = outputs::<f64>(&arrays, &case, &file(&folder)).expect("it loads");
        let found = outputs::<f32>(&arrays, &case, &file(&folder)).expect("it loads");
        let (error, rounded) = (
            difference(&found, &exact),
            difference(&exact, &arrays[case.expected].1),
        );
        // The numbers of the file are the original's to 1e-6. What single precision adds is some tens of roundings, of an equilibrium too.
        if !(error < 32.0 * f64::from(f32::EPSILON) && rounded < 1e-6) {
            wrong.push(format!("{}: {error:e}, {rounded:e}", case.file));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn one_of_several_arrays_that_is_missing_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, without, named) in [
        (7, "attention.w_text", "attention.w_audio+attention.w_text"),
        (2, "fusion.mutan.hq.1.weight", "fusion.mutan.hq.*.weight"),
        (5, "language.2.norm1.bias", "language.2.norm1.bias"),
    ] {
        let case = &cases()[number];
        let arrays = golden(case.file);
        state_dict(&arrays, without, &file(&folder));
        let error = outputs::<f32>(&arrays, case, &file(&folder)).expect_err("incomplete");
        assert!(
            matches!(&error, CheckpointError::Missing { name, .. } if name == named),
            "{error}"
        );
    }
    // The last of a numbered list is missed by its size.
    let case = &cases()[2];
    let arrays = golden(case.file);
    state_dict(&arrays, "fusion.mutan.hq.2.weight", &file(&folder));
    let error = outputs::<f32>(&arrays, case, &file(&folder)).expect_err("incomplete");
    assert!(matches!(error, CheckpointError::Mismatch { .. }), "{error}");
}
