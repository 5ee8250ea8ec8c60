//! Fusions against their formulas: numbers computed by hand, and plain loops over named parameters.

mod building;

use std::collections::BTreeMap;

use building::Case;
use dfdx::prelude::*;
use equilibria_core::{from_host, to_host, Result};
use equilibria_fusion::fusions::attention::AttentionConfig;
use equilibria_fusion::fusions::dynmm::DynmmConfig;
use equilibria_fusion::fusions::gmu::GmuConfig;
use equilibria_fusion::fusions::low_rank::LowRankConfig;
use equilibria_fusion::fusions::multiplicative::MultiplicativeConfig;
use equilibria_fusion::fusions::mutan::MutanConfig;
use equilibria_fusion::fusions::tensor::TensorConfig;
use equilibria_fusion::{FusionConfig, Pass};
use equilibria_testing::relative_difference;

/// What the fusion of the features 2 and 3, one column each, gives with these parameters, which are all it has.
fn fused(config: &dyn FusionConfig, parameters: &[(&str, &[f64])]) -> Result<f64> {
    let case = Case {
        config,
        modalities: 2,
        width: 1,
    };
    let mut fusion = case.build()?;
    let names: Vec<_> = fusion.named().into_iter().map(|(name, _)| name).collect();
    let given: Vec<_> = parameters.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, given);
    let values = parameters.iter().map(|(_, v)| v.to_vec()).collect();
    fusion.assign(values).expect("they fit");
    let feature = |value| from_host(&Cpu::default(), vec![value], (1, 1));
    let x = [feature(2.0)?, feature(3.0)?];
    Ok(to_host(&fusion.fuse(&x, &mut Pass::evaluation())?)[0])
}

// tanh(ln 2) = (2 − 1/2) / (2 + 1/2) = 0.6, tanh(ln 3) = 0.8, sigmoid(ln 3) = 0.75, sigmoid(−ln 3) = 0.25.
#[test]
fn fusions_agree_with_numbers_computed_by_hand() -> Result<()> {
    let (ln2, ln3) = (2f64.ln(), 3f64.ln());
    // Maps of a feature to the u with tanh(u) = 0.6 and 0.8.
    let (to_ln2, to_ln3) = ([ln2 / 2.0], [ln3 / 3.0]);

    // 0.75 · 0.6 + 0.25 · 0.8.
    let gmu = fused(
        &GmuConfig {},
        &[
            ("hidden.1.weight", &to_ln2),
            ("hidden.1.bias", &[0.0]),
            ("hidden.2.weight", &to_ln3),
            ("hidden.2.bias", &[0.0]),
            ("gate.1.weight", &[0.0, ln3 / 3.0]),
            ("gate.1.bias", &[0.0]),
            ("gate.2.weight", &[-ln3 / 2.0, 0.0]),
            ("gate.2.bias", &[0.0]),
        ],
    )?;

    // Scores 5 ln 2 · 0.6 and 5 ln 2 · 0.8, so weights in the ratio 2³ : 2⁴: 2 / 3 + 2 · 3 / 3.
    let slope = ln3 - ln2;
    let attention = fused(
        &AttentionConfig { width: 1 },
        &[
            ("hidden.weight", &[slope]),
            ("hidden.bias", &[ln2 - 2.0 * slope]),
            ("score", &[5.0 * ln2]),
        ],
    )?;

    // [3; 1] ⊗ [6; 1] = [18, 3, 6, 1].
    let tensor = fused(
        &TensorConfig { width: 1 },
        &[
            ("projection.1.weight", &[1.0]),
            ("projection.1.bias", &[1.0]),
            ("projection.2.weight", &[2.0]),
            ("projection.2.bias", &[0.0]),
            ("output.weight", &[1.0, 10.0, 100.0, 1000.0]),
            ("output.bias", &[5.0]),
        ],
    )?;

    // [2, 5] ⊙ [10, 3] = [20, 15], weighted 0.5 and 2.
    let low_rank = fused(
        &LowRankConfig { rank: 2 },
        &[
            ("factor.1.weight", &[1.0, 2.0]),
            ("factor.1.bias", &[0.0, 1.0]),
            ("factor.2.weight", &[3.0, 1.0]),
            ("factor.2.bias", &[1.0, 0.0]),
            ("weight", &[0.5, 2.0]),
            ("bias", &[1.0]),
        ],
    )?;

    // [0.6, 1.2] ⊙ [2.4, 0.8] = [1.44, 0.96], times 10.
    let mutan = fused(
        &MutanConfig {
            width: 1,
            rank: 2,
            ..MutanConfig::default()
        },
        &[
            ("projection.1.weight", &to_ln2),
            ("projection.1.bias", &[0.0]),
            ("projection.2.weight", &to_ln3),
            ("projection.2.bias", &[0.0]),
            ("factor.1.weight", &[1.0, 2.0]),
            ("factor.1.bias", &[0.0, 0.0]),
            ("factor.2.weight", &[3.0, 1.0]),
            ("factor.2.bias", &[0.0, 0.0]),
            ("output.weight", &[10.0]),
            ("output.bias", &[1.0]),
        ],
    )?;

    // 2 · 3 · 6 + (4 · 2 + 5 · 3) + 1.
    let multiplicative = fused(
        &MultiplicativeConfig { width: 1 },
        &[
            ("projection.1.weight", &[1.0]),
            ("projection.1.bias", &[1.0]),
            ("projection.2.weight", &[2.0]),
            ("projection.2.bias", &[0.0]),
            ("interaction.1", &[2.0]),
            ("linear.weight", &[4.0, 5.0]),
            ("linear.bias", &[1.0]),
        ],
    )?;

    // Experts 5, 9 and 32 with gates in the ratio 1 : 2 : 5, or the last one alone.
    let [soft, hard] = [false, true].map(|hard| {
        let config = DynmmConfig {
            hidden: 1,
            temperature: 0.5,
            hard,
            ..DynmmConfig::default()
        };
        fused(
            &config,
            &[
                ("expert.1.weight", &[2.0]),
                ("expert.1.bias", &[1.0]),
                ("expert.2.weight", &[3.0]),
                ("expert.2.bias", &[0.0]),
                ("expert.3.weight", &[1.0, 10.0]),
                ("expert.3.bias", &[0.0]),
                ("gate.1.weight", &[1.0, 1.0]),
                ("gate.1.bias", &[-3.0]),
                ("gate.2.weight", &[0.0, ln2 / 4.0, 0.0]),
                ("gate.2.bias", &[0.0, 0.0, 5f64.ln() / 2.0]),
            ],
        )
    });

    let found = [
        gmu,
        attention,
        tensor,
        low_rank,
        mutan,
        multiplicative,
        soft?,
        hard?,
    ];
    let expected = [
        0.65,
        8.0 / 3.0,
        1653.0,
        41.0,
        25.0,
        60.0,
        (5.0 + 18.0 + 160.0) / 8.0,
        32.0,
    ];
    for (found, expected) in found.into_iter().zip(expected) {
        // A dozen roundings, of numbers no larger than the result but for a few times.
        assert!(
            (found - expected).abs() < 1e-13 * expected,
            "{found} {expected}"
        );
    }
    Ok(())
}

/// Parameters by name: values, row-major, and number of columns.
struct Named(BTreeMap<String, (Vec<f64>, usize)>);

impl Named {
    fn at(&self, name: &str, row: usize, column: usize) -> f64 {
        let (values, columns) = &self.0[name];
        assert!(column < *columns);
        values[row * columns + column]
    }

    /// Row `row` of W x + b.
    fn affine(&self, name: &str, row: usize, x: &[f64]) -> f64 {
        let weight = |column| self.at(&format!("{name}.weight"), row, column);
        let products = x.iter().enumerate().map(|(column, x)| weight(column) * x);
        products.sum::<f64>() + self.at(&format!("{name}.bias"), 0, row)
    }
}

/// Entry `o` of the result for the features of one sample.
type Formula = fn(&Named, o: usize, x: &[Vec<f64>]) -> f64;

const WIDTH: usize = 4;
const NARROW: usize = 3;
const RANK: usize = 2;

fn agrees(config: &dyn FusionConfig, formula: Formula) -> Result<()> {
    for modalities in [1, 2, 3] {
        let case = Case {
            config,
            modalities,
            width: WIDTH,
        };
        let (fusion, x) = (case.with(&case.parameters()?)?, case.features(2)?);
        let named = fusion.named().into_iter();
        let named = Named(
            named
                .map(|(name, tensor)| (name, (to_host(&tensor), tensor.shape().1)))
                .collect(),
        );
        let mut expected = Vec::new();
        for row in 0..2 {
            let features = |x| to_host(x)[row * WIDTH..(row + 1) * WIDTH].to_vec();
            let x: Vec<Vec<f64>> = x.iter().map(features).collect();
            expected.extend((0..WIDTH).map(|o| formula(&named, o, &x)));
        }
        let found = to_host(&fusion.fuse(&x, &mut Pass::evaluation())?);
        // Sums of at most 64 terms, in another order: some 64 roundings.
        let difference = relative_difference(&found, &expected);
        assert!(difference < 1e-13, "{config:?}: {difference:e}");
    }
    Ok(())
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn a_gated_unit_adds_gated_features() -> Result<()> {
    agrees(&GmuConfig {}, |named, o, x| {
        let all = x.concat();
        let mut sum = 0.0;
        for (i, x) in (1..).zip(x) {
            let gate = sigmoid(named.affine(&format!("gate.{i}"), o, &all));
            sum += gate * named.affine(&format!("hidden.{i}"), o, x).tanh();
        }
        sum
    })
}

#[test]
fn attention_weights_features_by_their_scores() -> Result<()> {
    agrees(&AttentionConfig { width: NARROW }, |named, o, x| {
        let (mut sum, mut weights) = (0.0, 0.0);
        for x in x {
            let score = (0..NARROW)
                .map(|row| named.at("score", 0, row) * named.affine("hidden", row, x).tanh());
            let weight = score.sum::<f64>().exp();
            sum += weight * x[o];
            weights += weight;
        }
        sum / weights
    })
}

#[test]
fn tensor_fusion_weights_every_product() -> Result<()> {
    agrees(&TensorConfig { width: NARROW }, |named, o, x| {
        let modalities = x.len();
        let factor = |i: usize, digit: usize| match digit {
            NARROW => 1.0,
            row => named.affine(&format!("projection.{}", i + 1), row, &x[i]),
        };
        let mut sum = named.at("output.bias", 0, o);
        for entry in 0..(NARROW + 1).pow(modalities as u32) {
            // The digits of the entry to the base width + 1, the last one for the last modality.
            let (mut rest, mut product) = (entry, 1.0);
            for i in (0..modalities).rev() {
                product *= factor(i, rest % (NARROW + 1));
                rest /= NARROW + 1;
            }
            sum += named.at("output.weight", o, entry) * product;
        }
        sum
    })
}

#[test]
fn low_rank_fusion_weights_products_of_maps() -> Result<()> {
    agrees(&LowRankConfig { rank: RANK }, |named, o, x| {
        let mut sum = named.at("bias", 0, o);
        for r in 0..RANK {
            let mut product = named.at("weight", 0, r);
            for (i, x) in (1..).zip(x) {
                product *= named.affine(&format!("factor.{i}"), r * WIDTH + o, x);
            }
            sum += product;
        }
        sum
    })
}

#[test]
fn mutan_maps_a_sum_of_products_of_maps() -> Result<()> {
    let config = MutanConfig {
        width: NARROW,
        rank: RANK,
        ..MutanConfig::default()
    };
    agrees(&config, |named, o, x| {
        let mut z = [0.0; NARROW];
        for r in 0..RANK {
            for (k, z) in z.iter_mut().enumerate() {
                let mut product = 1.0;
                for (i, x) in (1..).zip(x) {
                    let map = format!("projection.{i}");
                    let u = [0, 1, 2].map(|row| named.affine(&map, row, x).tanh());
                    product *= named.affine(&format!("factor.{i}"), r * NARROW + k, &u);
                }
                *z += product;
            }
        }
        named.affine("output", o, &z)
    })
}

#[test]
fn multiplicative_interactions_are_those_of_all_pairs() -> Result<()> {
    agrees(&MultiplicativeConfig { width: NARROW }, |named, o, x| {
        let mut sum = named.affine("linear", o, &x.concat());
        let u = |i: usize, row| named.affine(&format!("projection.{}", i + 1), row, &x[i]);
        let mut pair = 0;
        for i in 0..x.len() {
            for j in i + 1..x.len() {
                pair += 1;
                for a in 0..NARROW {
                    for b in 0..NARROW {
                        let w = named.at(&format!("interaction.{pair}"), o, a * NARROW + b);
                        sum += u(i, a) * w * u(j, b);
                    }
                }
            }
        }
        sum
    })
}

#[test]
fn an_outer_product_too_large_is_refused_by_its_key() {
    let built = |width, modalities| {
        let config = &TensorConfig { width };
        let case = Case {
            config,
            modalities,
            width: WIDTH,
        };
        case.build().map(|_| ())
    };
    // The widths the documentation names, and the next ones.
    for (width, modalities) in [(255, 2), (39, 3), (15, 4), (8, 5), (5, 6)] {
        assert!(built(width, modalities).is_ok(), "{width}, {modalities}");
        let error = built(width + 1, modalities).expect_err("too large");
        assert_eq!(
            error.to_string(),
            format!(
                "`tensor`: `width` must be so small that (width + 1)^N is at most 65536 for N modalities, got {} for \
                 {modalities} modalities",
                width + 1
            )
        );
    }
}
