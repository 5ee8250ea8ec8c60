//! Layers whose parameters form matrices once per solve: the same map and the same gradients as without.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::{apply, to_host, AnyLayer, Equilibrium, Value as Rows};
use equilibria_layers::solvers::backward::implicit::Implicit;
use equilibria_layers::solvers::regularizers::jacobian::Jacobian;
use equilibria_testing::{
    central_difference, check_row_map, check_tangent_gradients, relative_difference,
};

use rayon::prelude::*;

use super::{arguments, configurations, layer, WIDTH};

const BATCH: usize = 5;

/// A layer whose parameters form nothing.
#[derive(Clone)]
struct Unformed(AnyLayer<f64, Cpu>);

impl Parameters<f64, Cpu> for Unformed {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {
        self.0.visit(path, visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {
        self.0.visit_mut(path, visitor);
    }
}

impl ImplicitLayer<f64, Cpu> for Unformed {
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        self.0.input_dims()
    }

    fn step(&self, z: &Rows<f64, Cpu>, x: &[Rows<f64, Cpu>]) -> Result<Rows<f64, Cpu>> {
        self.0.step(z, x)
    }
}

/// With Peaceman-Rachford splitting, the layers of which one step alone is an error.
fn splitting(alpha: f64) -> Value {
    json!({ "type": "mondeq", "margin": 0.4, "splitting": "peaceman-rachford", "alpha": alpha })
}

/// The layer that a solve uses.
fn formed(layer: &AnyLayer<f64, Cpu>) -> Option<AnyLayer<f64, Cpu>> {
    layer.formed(OwnedTape::default()).expect("memory").0
}

/// Solves both ways to the last digits, with a penalty on the Jacobian.
fn tight<L>(layer: L) -> Equilibrium<L> {
    let stop = Stop {
        max_evaluations: 2000,
        patience: 200,
        ..Stop::at(Tolerance::relative(1e-13))
    };
    let backward = Implicit {
        stop: stop.clone(),
        ..Implicit::default()
    };
    let solver = equilibria_solvers::solver("newton-gmres").expect("registered");
    let mut equilibrium = Equilibrium::new(layer, solver, Arc::new(backward) as Arc<_>);
    equilibrium.stop = stop;
    equilibrium.regularizers = vec![Arc::new(Jacobian::default())];
    equilibrium
}

/// The loss, ‖output‖² and if wanted the penalty, and its gradients by parameters, then by inputs.
fn gradients<L: ImplicitLayer<f64, Cpu>>(
    equilibrium: &Equilibrium<L>,
    x: &[Matrix<f64, Cpu>],
    penalized: bool,
) -> (f64, Vec<Vec<f64>>) {
    let solved = equilibrium
        .forward(x, OwnedTape::default())
        .expect("it runs");
    assert_eq!(solved.report.unconverged(), 0);
    let (z, adjoint) = (solved.z, solved.adjoint);
    let at = z.retaped::<NoneTape>();
    let output = equilibrium.output(z, x).expect("memory");
    let mut loss = output.square().sum::<Rank0, _>();
    if penalized {
        let (value, tape) = loss.split_tape();
        let penalty = equilibrium.penalty(&at, x, tape, 7).expect("it runs");
        loss = penalty.sum::<Rank0, _>() + value;
    }
    let value = loss.as_vec()[0];
    let mut all = loss.backward();
    let report = adjoint.take().expect("it runs").expect("the tape has run");
    assert_eq!(report.unconverged(), 0);
    let mut of = |tensor: &Matrix<f64, Cpu>| {
        all.try_alloc_for(tensor).expect("memory");
        all.get(tensor).as_vec()
    };
    let parameters = equilibrium
        .named()
        .into_iter()
        .map(|(_, tensor)| of(&tensor));
    let mut gradients: Vec<Vec<f64>> = parameters.collect();
    gradients.extend(x.iter().map(of));
    (value, gradients)
}

/// Sums of at most 12 products of 12 sums, ε = 2e-16 each.
#[test]
fn what_is_formed_leaves_the_map_as_it_is() {
    let all: Vec<Value> = configurations()
        .into_iter()
        .chain([splitting(0.3)])
        .collect();
    let check = |config: Value| {
        let plain = layer::<f64>(&config, WIDTH);
        let Some(formed) = formed(&plain) else {
            return 0;
        };
        let (z, x) = arguments(&config, &plain, BATCH);
        let value = |layer: &AnyLayer<f64, Cpu>| apply(layer, z.clone(), &x).map(|f| to_host(&f));
        if config["splitting"] != "peaceman-rachford" {
            let [value, expected] = [&formed, &plain].map(|layer| value(layer).expect("it runs"));
            let difference = relative_difference(&value, &expected);
            assert!(difference < 1e-13, "{config}: {difference}");
        }
        let difference = check_row_map(&formed, &z, &x).expect("both work");
        let close = difference.is_some_and(|d| d < 2e-12);
        assert!(close, "{config}: {difference:?}");
        let difference = check_tangent_gradients(&formed, &z, &x).expect("it runs");
        let close = difference.is_some_and(|d| d < 1e-5);
        assert!(close, "{config}: {difference:?}");
        1
    };
    let count: usize = all.into_par_iter().map(check).sum();
    assert!(count >= 4, "some layers form matrices: {count}");
}

/// Both solves are good to 1e-13, times ‖(I − J)⁻¹‖ and the size of J, some tens.
#[test]
fn gradients_pass_through_what_is_formed() {
    for config in [
        json!({ "type": "mondeq", "margin": 0.4 }),
        json!({ "type": "mondeq", "margin": 0.4, "alpha": 0.5 }),
        json!({ "type": "mondeq", "margin": 0.4, "activation": "tanh" }),
        json!({ "type": "eignn" }),
    ] {
        let plain = layer::<f64>(&config, WIDTH);
        let (_, x) = arguments(&config, &plain, BATCH);
        for penalized in [false, true] {
            let (loss, found) = gradients(&tight(plain.clone()), &x, penalized);
            let (same, expected) = gradients(&tight(Unformed(plain.clone())), &x, penalized);
            assert!(
                (loss - same).abs() < 1e-10 * same.abs(),
                "{config}: {loss} {same}"
            );
            for (found, expected) in found.iter().zip(&expected) {
                assert!(expected.iter().any(|entry| *entry != 0.0), "{config}");
                let difference = relative_difference(found, expected);
                assert!(
                    difference < 1e-9,
                    "{config}, penalized {penalized}: {difference}"
                );
            }
        }
    }
}

/// Its state is another one, z* = φ(u*) is not.
#[test]
fn splittings_have_one_equilibrium_and_one_gradient() {
    let config = json!({ "type": "mondeq", "margin": 0.4 });
    let plain = layer::<f64>(&config, WIDTH);
    let (_, x) = arguments(&config, &plain, BATCH);
    let (loss, expected) = gradients(&tight(plain), &x, false);
    for alpha in [0.05, 0.3, 1.0, 4.0] {
        let split = layer::<f64>(&splitting(alpha), WIDTH);
        let (same, found) = gradients(&tight(split), &x, false);
        assert!(
            (loss - same).abs() < 1e-10 * loss.abs(),
            "{alpha}: {loss} {same}"
        );
        for (found, expected) in found.iter().zip(&expected) {
            let difference = relative_difference(found, expected);
            assert!(difference < 1e-9, "{alpha}: {difference}");
        }
    }
}

/// Of the penalty at a state that is held, by differences: truncated at 1e-10, rounded at 1e-11.
#[test]
fn penalties_have_the_gradients_of_differences() {
    for config in [splitting(0.3), json!({ "type": "mondeq", "margin": 0.4 })] {
        let layer = layer::<f64>(&config, WIDTH);
        let (z, x) = arguments(&config, &layer, 2);
        let error = central_difference(&tight(layer), &x, 1e-5, |equilibrium, x| {
            let penalty = equilibrium.penalty(&z, x, OwnedTape::default(), 7)?;
            Ok(penalty.sum())
        });
        let error = error.expect("it runs");
        assert!(error < 1e-8, "{config}: {error}");
    }
}

/// Plain iteration converges from 0 for every α.
#[test]
fn plain_iteration_of_reflections_converges_for_every_alpha() {
    for alpha in [0.05, 0.3, 2.0] {
        let split = layer::<f64>(&splitting(alpha), WIDTH);
        let (_, x) = arguments(&splitting(alpha), &split, BATCH);
        let mut equilibrium = tight(split);
        equilibrium.solver = equilibria_solvers::solver("picard").expect("registered");
        equilibrium.stop.max_evaluations = 100_000;
        let report = equilibrium.forward(&x, NoneTape).expect("it runs").report;
        assert_eq!(report.unconverged(), 0, "{alpha}");
    }
}

/// Never a wrong answer where nothing forms the inverse.
#[test]
fn one_step_of_a_splitting_by_itself_says_what_is_missing() {
    let split = layer::<f64>(&splitting(0.3), WIDTH);
    let (z, x) = arguments(&splitting(0.3), &split, BATCH);
    let error = apply(&split, z, &x).expect_err("there is no inverse");
    assert!(error.to_string().contains("Equilibrium"), "{error}");
}
