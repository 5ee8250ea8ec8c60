//! What backbones and fusions add to the loss, against plain loops over named parameters.

use std::collections::BTreeMap;

use dfdx::prelude::*;
use equilibria_core::serde_json::{self, json, Value};
use equilibria_core::{from_host, to_host, Matrix, Parameters};
use equilibria_fusion::{Experiment, Model, Pass};
use equilibria_testing::{random_values, relative_difference};

const BATCH: usize = 3;

/// Features of the two modalities.
const WIDTHS: [usize; 2] = [4, 5];

/// A model whose parameters are random numbers, and its inputs.
fn model(backbone: Value, fusion: Value) -> (Model<f64, Cpu>, Vec<Matrix<f64, Cpu>>) {
    let device = Cpu::default();
    let config = json!({
        "dtype": "f64",
        "data": { "type": "folder" },
        "backbone": backbone,
        "fusion": fusion,
    });
    let experiment: Experiment = serde_json::from_value(config).expect("it parses");
    experiment.validate().expect("sound");
    let mut model = experiment.model(&device, &WIDTHS, 2).expect("it builds");
    let named = model.named();
    let values = (1..).zip(&named).map(|(seed, (_, tensor))| {
        let (rows, columns) = *tensor.shape();
        random_values(rows * columns, seed)
    });
    model.assign(values.collect()).expect("they fit");
    let x = (90..).zip(WIDTHS).map(|(seed, width)| {
        let values = random_values(BATCH * width, seed);
        from_host(&device, values, (BATCH, width)).expect("memory")
    });
    let x = x.collect();
    (model, x)
}

/// The values of parameters by name, and of a matrix row by row.
fn parameters(model: &Model<f64, Cpu>) -> BTreeMap<String, (Vec<f64>, usize)> {
    let named = model.named().into_iter();
    let values = named.map(|(name, tensor)| (name, (to_host(&tensor), tensor.shape().1)));
    values.collect()
}

/// W x + b, for the parameters NAME.weight and NAME.bias.
fn affine(parameters: &BTreeMap<String, (Vec<f64>, usize)>, name: &str, x: &[f64]) -> Vec<f64> {
    let (weight, columns) = &parameters[&format!("{name}.weight")];
    let (bias, _) = &parameters[&format!("{name}.bias")];
    assert_eq!(*columns, x.len(), "{name}");
    let rows = weight.chunks_exact(*columns).zip(bias);
    rows.map(|(w, b)| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b)
        .collect()
}

fn relu(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|x| x.max(0.0)).collect()
}

/// The losses that a pass with targets has left, and the features before the fusion and before the head.
fn losses(model: &Model<f64, Cpu>, x: &[Matrix<f64, Cpu>]) -> (Vec<f64>, [Vec<Vec<f64>>; 2]) {
    let device = Cpu::default();
    let targets = from_host(&device, vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0], (BATCH, 2));
    let mut pass = Pass::training(1);
    let h = (model.backbone).run(x, Some(&targets.expect("memory")), &model.fusion, &mut pass);
    let h = to_host(&h.expect("it runs"));
    let losses = pass.losses.iter().map(|loss| to_host(loss)[0]).collect();
    let features = (model.backbone).encode(x, None, &mut Pass::evaluation());
    let features = features.expect("it runs");
    let features = features.iter().map(to_host).collect();
    let width = h.len() / BATCH;
    let h = h.chunks_exact(width).map(<[f64]>::to_vec).collect();
    (losses, [features, h])
}

fn row(x: &Matrix<f64, Cpu>, row: usize) -> Vec<f64> {
    let width = x.shape().1;
    to_host(x)[row * width..(row + 1) * width].to_vec()
}

fn encoder() -> Value {
    json!({ "type": "encoder", "hidden": 6, "dropout": 0.0 })
}

#[test]
fn the_refiner_of_refnet_compares_directions() {
    let backbone = json!({
        "type": "refnet", "backbone": encoder(), "hidden": 7, "weight": 0.3,
    });
    let (model, x) = model(backbone, json!({ "type": "concat" }));
    let parameters = parameters(&model);
    let (losses, [_, h]) = losses(&model, &x);
    let mut sum = 0.0;
    for (number, h) in h.iter().enumerate() {
        let hidden = relu(affine(&parameters, "backbone.refiner.1", h));
        let refined = affine(&parameters, "backbone.refiner.2", &hidden);
        let (first, second) = refined.split_at(WIDTHS[0]);
        for (r, x) in [first, second].iter().zip(&x) {
            let x = row(x, number);
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            sum += 1.0 - dot(r, &x) / (dot(r, r) * dot(&x, &x)).sqrt();
        }
    }
    let expected = [0.3 * sum / BATCH as f64];
    // 1e-12 under the roots.
    assert!(
        relative_difference(&losses, &expected) < 1e-10,
        "{losses:?}"
    );
}

#[test]
fn the_decoders_of_mfm_tell_the_data() {
    let backbone = json!({
        "type": "mfm", "backbone": encoder(), "factor": 3, "hidden": 7, "weight": 0.5,
    });
    let (model, x) = model(backbone, json!({ "type": "sum" }));
    let parameters = parameters(&model);
    let (losses, [features, h]) = losses(&model, &x);
    let expected: Vec<f64> = (0..2)
        .map(|modality| {
            let name = |map: &str| format!("backbone.decoder.{}.{map}", modality + 1);
            let mut sum = 0.0;
            for (number, h) in h.iter().enumerate() {
                let width = features[modality].len() / BATCH;
                let f = &features[modality][number * width..(number + 1) * width];
                let factor = affine(&parameters, &name("factor"), f);
                let both = [factor, h.clone()].concat();
                let hidden = relu(affine(&parameters, &name("hidden"), &both));
                let told = affine(&parameters, &name("data"), &hidden);
                let truth = row(&x[modality], number);
                let errors = told.iter().zip(&truth).map(|(a, b)| (a - b) * (a - b));
                sum += errors.sum::<f64>();
            }
            0.5 * sum / (BATCH * WIDTHS[modality]) as f64
        })
        .collect();
    assert!(
        relative_difference(&losses, &expected) < 1e-13,
        "{losses:?}"
    );
}

/// MFM needs to know what is fused.
#[test]
fn mfm_refuses_a_backbone_with_slots_of_its_own() {
    let config = json!({
        "data": { "type": "folder" },
        "backbone": { "type": "mfm", "backbone": { "type": "mutan", "regions": 1 } },
        "fusion": { "type": "sum" },
    });
    let experiment: Experiment = serde_json::from_value(config).expect("it parses");
    let error = experiment.model::<f64, _>(&Cpu::default(), &[3, 4], 2);
    let message = error.err().expect("two slots are not one").to_string();
    assert!(
        message.contains("`mfm`") && message.contains("mutan"),
        "{message}"
    );
}

#[test]
fn the_gate_of_dynmm_costs_how_often_it_takes_all() {
    let fusion = json!({ "type": "dynmm", "hidden": 4, "cost": 0.7 });
    let (model, x) = model(encoder(), fusion);
    let parameters = parameters(&model);
    let (losses, [features, _]) = losses(&model, &x);
    let mut sum = 0.0;
    for number in 0..BATCH {
        let own = |f: &Vec<f64>| {
            let width = f.len() / BATCH;
            f[number * width..(number + 1) * width].to_vec()
        };
        let all = features.iter().flat_map(own).collect::<Vec<_>>();
        let hidden = relu(affine(&parameters, "fusion.gate.1", &all));
        let scores = affine(&parameters, "fusion.gate.2", &hidden);
        let powers: Vec<f64> = scores.iter().map(|s| s.exp()).collect();
        sum += powers[2] / powers.iter().sum::<f64>();
    }
    let expected = [0.7 * sum / BATCH as f64];
    assert!(
        relative_difference(&losses, &expected) < 1e-13,
        "{losses:?}"
    );
}
