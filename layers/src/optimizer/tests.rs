//! Tests of the update rules.

use approx::assert_relative_eq;
use dfdx::prelude::*;
use equilibria_core::{serde_json, to_host, Backend, Matrix};
use equilibria_testing::{random_matrix, random_values};

use super::share::SHARE;
use super::{Adam, Average, BertAdam, Group, Optimizer, OptimizerConfig, Sgd};

fn run(config: OptimizerConfig, gradients: &[f64]) -> f64 {
    let mut w: Matrix<f64, Cpu> = Cpu::default().tensor_from_vec(vec![1.0], (1, 1));
    let mut optimizer = Optimizer::new(config).expect("in range");
    for &g in gradients {
        let mut gradient = Gradients::leaky();
        Cpu::put_gradient(&mut gradient, &w, vec![g]).expect("memory");
        let step = optimizer.step(&mut w, &mut gradient, 1.0, 1.0);
        step.expect("memory");
    }
    w.as_vec()[0]
}

fn adam(weight_decay: f64) -> Adam {
    Adam {
        rate: 0.1,
        weight_decay,
        ..Adam::default()
    }
}

/// v₁ = 2, w = 0.8; v₂ = 0.5·2 + 1 = 2, w = 0.6.
#[test]
fn sgd_accumulates_momentum() {
    let config = OptimizerConfig::Sgd(Sgd {
        rate: 0.1,
        momentum: 0.5,
        weight_decay: 0.0,
    });
    assert_relative_eq!(run(config, &[2.0, 1.0]), 0.6, epsilon = 1e-15);
}

/// The first step of Adam is η g / (|g| + ε), whatever the size of g.
#[test]
fn the_first_step_of_adam_is_the_learning_rate() {
    let config = |decay| OptimizerConfig::Adam(adam(decay));
    assert_relative_eq!(run(config(0.0), &[3.0]), 0.9, epsilon = 1e-8);
    // With λ = 1 the gradient −1 is cancelled by the penalty on w = 1: no step.
    assert_relative_eq!(run(config(1.0), &[-1.0]), 1.0, epsilon = 1e-8);
}

/// Decoupled decay shrinks w by (1 − η λ) and leaves the step alone.
#[test]
fn adamw_decays_apart_from_the_gradient() {
    let config = OptimizerConfig::AdamW(adam(0.5));
    assert_relative_eq!(run(config, &[3.0]), 0.95 - 0.1, epsilon = 1e-8);
}

/// Parameters of several shares and of less than one: every number goes its own way, w − η g for plain descent, and the
/// average is that of each. Step 1 of a young average: β = 2 / 11.
#[test]
fn every_number_is_updated_and_averaged() {
    let (device, sizes) = (Cpu::default(), [(3, SHARE), (1, 5)]);
    let new = |seed, shape| random_matrix(&device, shape, seed).expect("memory");
    let mut w: Vec<Matrix<f64, Cpu>> = vec![new(1, sizes[0]), new(2, sizes[1])];
    let mut expected: Vec<Vec<f64>> = w.iter().map(to_host).collect();
    let mut means = Vec::new();
    let config = OptimizerConfig::Sgd(Sgd {
        rate: 0.5,
        momentum: 0.0,
        weight_decay: 0.0,
    });
    let mut optimizer = Optimizer::new(config).expect("in range");
    let mut average = Average::new(0.9);
    for step in 0..2 {
        let mut gradients = Gradients::leaky();
        for (w, expected) in w.iter().zip(&mut expected) {
            let g = random_values(expected.len(), 3 + step);
            Cpu::put_gradient(&mut gradients, w, g.clone()).expect("memory");
            expected.iter_mut().zip(g).for_each(|(w, g)| *w -= 0.5 * g);
        }
        let taken = optimizer.averaged_step(&mut w, &mut gradients, 1.0, 1.0, Some(&mut average));
        taken.expect("memory");
        if step == 0 {
            means = expected.clone();
        }
    }
    let numbers = |w: &[Matrix<f64, Cpu>]| w.iter().flat_map(to_host).collect::<Vec<_>>();
    let trained = numbers(&w);
    assert_eq!(trained, expected.concat());
    average.exchange(&mut w).expect("memory");
    for ((mean, first), last) in numbers(&w).iter().zip(means.concat()).zip(&trained) {
        assert_relative_eq!(*mean, (2.0 * first + 9.0 * last) / 11.0, epsilon = 1e-14);
    }
    average.exchange(&mut w).expect("memory");
    assert_eq!(numbers(&w), trained);
}

/// A parameter that is named twice is updated by the same gradient under both names, in every step.
#[test]
fn clones_of_a_parameter_stay_equal() {
    let w: Matrix<f64, Cpu> = random_matrix(&Cpu::default(), (2, 3), 1).expect("memory");
    let mut both = vec![w.clone(), w.clone()];
    let mut optimizer = Optimizer::new(OptimizerConfig::Adam(adam(0.1))).expect("in range");
    for step in 0..3 {
        let before = to_host(&both[0]);
        let mut gradients = Gradients::leaky();
        let g = random_values(6, 2 + step);
        Cpu::put_gradient(&mut gradients, &both[0], g).expect("memory");
        let taken = optimizer.step(&mut both, &mut gradients, 1.0, 1.0);
        taken.expect("memory");
        assert_ne!(to_host(&both[0]), before);
        assert_eq!(to_host(&both[0]), to_host(&both[1]));
    }
}

#[test]
fn fields_out_of_range_are_named() {
    let config = OptimizerConfig::Sgd(Sgd {
        momentum: 1.0,
        ..Sgd::default()
    });
    let message = config.validate().expect_err("momentum 1").to_string();
    assert_eq!(message, "`optimizer`: `momentum` must be in [0, 1), got 1");
}

#[test]
fn names_and_unknown_keys() {
    let parse = serde_json::from_str::<OptimizerConfig>;
    let bert = parse(r#"{"type": "bert-adam"}"#);
    assert_eq!(
        bert.expect("known"),
        OptimizerConfig::BertAdam(BertAdam::default())
    );
    let adamw = parse(r#"{"type": "adamw", "rate": 0.1, "weight_decay": 0.5}"#);
    assert_eq!(adamw.expect("known"), OptimizerConfig::AdamW(adam(0.5)));
    let error = parse(r#"{"type": "sgd", "momntum": 0.5}"#).expect_err("unknown");
    assert!(
        error.to_string().contains("unknown field `momntum`"),
        "{error}"
    );
}

/// The first step of BertAdam is η (1 − β₁) g / (√(1 − β₂) g + ε), and w shrinks by 1 − η λ.
#[test]
fn bert_adam_corrects_no_means() {
    let config = OptimizerConfig::BertAdam(BertAdam {
        rate: 0.1,
        weight_decay: 0.5,
        ..BertAdam::default()
    });
    let (g, epsilon) = (300.0, 1e-6);
    let expected = 0.95 - 0.1 * (0.1 * g) / (0.001f64.sqrt() * g + epsilon);
    assert_relative_eq!(run(config, &[g]), expected, epsilon = 1e-12);
}

fn ones(count: usize) -> Vec<Matrix<f64, Cpu>> {
    let one = || Cpu::default().tensor_from_vec(vec![1.0, 1.0], (1, 2));
    (0..count).map(|_| one()).collect()
}

fn group(name: &str) -> Group {
    Group {
        names: vec![name.to_owned()],
        ..Group::default()
    }
}

/// Parameters are named 1 to 4. The later group decides, and leaves what it does not say.
#[test]
fn groups_have_rates_and_decays_of_their_own() {
    let config = OptimizerConfig::Sgd(Sgd {
        rate: 0.5,
        momentum: 0.0,
        weight_decay: 0.0,
    });
    let groups = [
        Group {
            names: vec!["2".to_owned(), "3".to_owned()],
            rate: Some(0.25),
            ..Group::default()
        },
        Group {
            weight_decay: Some(1.0),
            ..group("3")
        },
        Group {
            frozen: Some(true),
            ..group("4")
        },
        // It means no parameter.
        Group {
            rate: Some(9.0),
            ..group("5")
        },
    ];
    let mut w = ones(4);
    let optimizer = Optimizer::new(config).expect("in range");
    let mut optimizer = optimizer.with_groups(&groups).expect("in range");
    let mut gradients = Gradients::leaky();
    for w in &w {
        Cpu::put_gradient(&mut gradients, w, vec![3.0, 4.0]).expect("memory");
    }
    // Three of them are trained, each with a gradient of norm 5.
    let norm = optimizer.gradient_norm(&w, &mut gradients).expect("memory");
    assert_relative_eq!(norm, 5.0 * 3f64.sqrt(), epsilon = 1e-12);
    let step = optimizer.step(&mut w, &mut gradients, 1.0, 1.0);
    step.expect("memory");
    let firsts: Vec<f64> = w.iter().map(|w| to_host(w)[0]).collect();
    // 1 − 0.5 · 3, 1 − 0.25 · 3, 1 − 0.25 (3 + 1), 1.
    assert_eq!(firsts, [-0.5, 0.25, 0.0, 1.0]);
}

/// Of gradients of norm 5 and 10, the factor of the step makes 2.5 and 5; at most 4 is left of each.
#[test]
fn every_gradient_is_clipped_for_itself() {
    let config = OptimizerConfig::Sgd(Sgd {
        rate: 1.0,
        momentum: 0.0,
        weight_decay: 0.0,
    });
    let optimizer = Optimizer::new(config).expect("in range");
    let mut optimizer = optimizer.with_clip_each(Some(4.0));
    let (mut w, mut gradients) = (ones(2), Gradients::leaky());
    for (w, g) in w.iter().zip([[3.0, 4.0], [6.0, 8.0]]) {
        Cpu::put_gradient(&mut gradients, w, g.to_vec()).expect("memory");
    }
    let step = optimizer.step(&mut w, &mut gradients, 1.0, 0.5);
    step.expect("memory");
    assert_relative_eq!(to_host(&w[0])[..], [-0.5, -1.0]);
    let left = 4.0 / (5.0 + 1e-6);
    let expected = [1.0 - 3.0 * left, 1.0 - 4.0 * left];
    assert_relative_eq!(to_host(&w[1])[..], expected, epsilon = 1e-14);
}
