//! The multimodal transformer against its equations, in plain loops over named parameters.

use std::collections::BTreeMap;

use dfdx::prelude::*;
use equilibria_core::serde_json::{self, json};
use equilibria_core::{from_host, to_host, Matrix, Parameters, Result};
use equilibria_fusion::{Experiment, Pass};
use equilibria_testing::{random_values, relative_difference};

const BATCH: usize = 2;

/// Rows of the sequences and their features.
const SHAPES: [[usize; 2]; 2] = [[3, 2], [4, 5]];

const HIDDEN: usize = 4;
const HEADS: usize = 2;
const LAYERS: usize = 2;

type Rows = Vec<Vec<f64>>;

/// Values by name, and their columns.
struct Named(BTreeMap<String, (Vec<f64>, usize)>);

impl Named {
    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (weight, columns) = &self.0[&format!("backbone.{name}.weight")];
        assert_eq!(*columns, x.len(), "{name}");
        let rows = weight.chunks_exact(*columns);
        rows.map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum())
            .collect()
    }

    fn affine(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (bias, _) = &self.0[&format!("backbone.{name}.bias")];
        let mapped = self.linear(name, x);
        mapped.iter().zip(bias).map(|(x, b)| x + b).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (weight, _) = &self.0[&format!("backbone.{name}.weight")];
        let (bias, _) = &self.0[&format!("backbone.{name}.bias")];
        let count = x.len() as f64;
        let mean = x.iter().sum::<f64>() / count;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        let entries = x.iter().zip(weight).zip(bias);
        let normal = entries.map(|((x, w), b)| w * (x - mean) / (variance + 1e-5).sqrt() + b);
        normal.collect()
    }

    /// What a query row gets of key rows.
    fn attention(&self, name: &str, z: &[f64], keys: &Rows) -> Vec<f64> {
        let of = |map: &str, x: &[f64]| self.affine(&format!("{name}.attention.{map}"), x);
        let q = of("query", z);
        let width = q.len() / HEADS;
        let (k, v): (Rows, Rows) = keys.iter().map(|x| (of("key", x), of("value", x))).unzip();
        let mut merged = vec![0.0; q.len()];
        for head in 0..HEADS {
            let own = head * width..(head + 1) * width;
            let score = |k: &Vec<f64>| {
                let products = q[own.clone()].iter().zip(&k[own.clone()]);
                let score = products.map(|(q, k)| q * k).sum::<f64>();
                (score / (width as f64).sqrt()).exp()
            };
            let powers: Vec<f64> = k.iter().map(score).collect();
            let total: f64 = powers.iter().sum();
            for (power, v) in powers.iter().zip(&v) {
                let entries = merged[own.clone()].iter_mut().zip(&v[own.clone()]);
                entries.for_each(|(sum, v)| *sum += power / total * v);
            }
        }
        of("merge", &merged)
    }

    fn encoder(&self, name: &str, own: &Rows, other: Option<&Rows>) -> Rows {
        let mut z = own.clone();
        for number in 1..=LAYERS {
            let layer = format!("{name}.layer.{number}");
            let norm = |n: usize, x: &Vec<f64>| self.norm(&format!("{layer}.norm.{n}"), x);
            let keys: Rows = other.unwrap_or(&z).iter().map(|x| norm(1, x)).collect();
            z = (z.iter())
                .map(|z| {
                    let z = norm(1, z);
                    let z = add(&z, &self.attention(&layer, &z, &keys));
                    let z = norm(2, &z);
                    let hidden = self.affine(&format!("{layer}.ffn.1"), &z);
                    let hidden: Vec<f64> = hidden.into_iter().map(|x| x.max(0.0)).collect();
                    add(&z, &self.affine(&format!("{layer}.ffn.2"), &hidden))
                })
                .collect();
        }
        z.iter()
            .map(|z| self.norm(&format!("{name}.norm"), z))
            .collect()
    }

    /// What goes to the head for one sample, the fusion being a concatenation.
    fn model(&self, x: [&Rows; 2]) -> Vec<f64> {
        let placed = |index: usize| -> Rows {
            let rows = x[index].iter().enumerate();
            rows.map(|(t, row)| {
                let mapped = self.linear(&format!("project.{}", index + 1), row);
                let place = |c: usize| {
                    let angle = t as f64 / 10_000_f64.powf((c / 2 * 2) as f64 / HIDDEN as f64);
                    if c.is_multiple_of(2) {
                        angle.sin()
                    } else {
                        angle.cos()
                    }
                };
                mapped
                    .iter()
                    .enumerate()
                    .map(|(c, x)| x + place(c))
                    .collect()
            })
            .collect()
        };
        let z = [placed(0), placed(1)];
        let mut y = Vec::new();
        for (own, other) in [(0, 1), (1, 0)] {
            let name = format!("modality.{}", own + 1);
            let crossed = self.encoder(&format!("{name}.cross.1"), &z[own], Some(&z[other]));
            let attended = self.encoder(&format!("{name}.own"), &crossed, None);
            y.extend(attended[attended.len() - 1].clone());
        }
        let hidden = self.affine("residual.1", &y);
        let hidden: Vec<f64> = hidden.into_iter().map(|x| x.max(0.0)).collect();
        add(&y, &self.affine("residual.2", &hidden))
    }
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Some hundred roundings, of numbers of order 1 that normalizations divide by deviations of order 0.1.
#[test]
fn the_multimodal_transformer_follows_its_equations() -> Result<()> {
    let device = Cpu::default();
    let config = json!({
        "dtype": "f64",
        "data": { "type": "folder" },
        "backbone": {
            "type": "mult", "steps": [SHAPES[0][0], SHAPES[1][0]], "hidden": HIDDEN, "layers": LAYERS,
            "heads": HEADS, "inner": 2, "dropout": 0.0,
        },
        "fusion": { "type": "concat" },
    });
    let experiment: Experiment = serde_json::from_value(config).expect("it parses");
    let widths = SHAPES.map(|[rows, features]| rows * features);
    let mut model = experiment.model::<f64, _>(&device, &widths, 2)?;
    let named = model.named();
    let values = (1..).zip(&named).map(|(seed, (_, tensor))| {
        let (rows, columns) = *tensor.shape();
        let scale = 1.0 / (columns as f64).sqrt();
        let values = random_values(rows * columns, seed);
        values.into_iter().map(|x| scale * x).collect()
    });
    model.assign(values.collect())?;
    let x: Vec<Matrix<f64, Cpu>> = (50..)
        .zip(widths)
        .map(|(seed, width)| from_host(&device, random_values(BATCH * width, seed), (BATCH, width)))
        .collect::<Result<_>>()?;
    let found = model
        .backbone
        .run(&x, None, &model.fusion, &mut Pass::evaluation())?;

    let named = model.named().into_iter();
    let named = Named(
        named
            .map(|(name, t)| (name, (to_host(&t), t.shape().1)))
            .collect(),
    );
    let mut expected = Vec::new();
    for sample in 0..BATCH {
        let rows = |index: usize| -> Rows {
            let [_, features] = SHAPES[index];
            let values = to_host(&x[index]);
            let own = &values[sample * widths[index]..(sample + 1) * widths[index]];
            own.chunks_exact(features).map(<[f64]>::to_vec).collect()
        };
        expected.extend(named.model([&rows(0), &rows(1)]));
    }
    let error = relative_difference(&to_host(&found), &expected);
    assert!(error < 1e-12, "{error:e}");
    Ok(())
}
