//! Quadratic programs without a solution, and with constraints that depend on each other or are just met.

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::json;
use equilibria_core::{from_host, to_host, AnyLayer, Equilibrium, Value};
use equilibria_layers::{Initializer, LayerConfig, LayerRequest, Layers};

const VARIABLES: usize = 2;

/// Q = 1.1 I, and the constraints A z = b, G z ≤ h.
fn program<E: Scalar>(a: &[f64], g: &[f64]) -> AnyLayer<E, Cpu>
where
    Cpu: Backend<E>,
{
    let [equalities, inequalities] = [a, g].map(|rows| rows.len() / VARIABLES);
    let config = json!({
        "type": "quadratic-program",
        "variables": VARIABLES, "equalities": equalities, "inequalities": inequalities, "ridge": 0.1,
    });
    let config = registry::make::<dyn LayerConfig>(&config).expect("it parses");
    let sizes = config.sizes().expect("it has sizes");
    let request = LayerRequest {
        state: sizes.state,
        inputs: &sizes.inputs,
        init: &mut Initializer::new(&Cpu::default(), 1),
    };
    let mut layer = <Cpu as Backend<E>>::build::<Layers>(&*config, request).expect("it builds");
    let values = layer.named().into_iter().map(|(name, _)| match &*name {
        "l" => vec![1.0, 0.0, 0.0, 1.0],
        "a" => a.to_vec(),
        _ => g.to_vec(),
    });
    let values = values.map(|values| values.into_iter().map(E::of).collect());
    layer.assign(values.collect()).expect("the same shapes");
    layer
}

/// The map of a layer without its requirement.
#[derive(Clone)]
struct Bare<L>(L);

parameters!(Bare<L>.0);

impl<E: Scalar, D: Backend<E>, L: ImplicitLayer<E, D> + Clone> ImplicitLayer<E, D> for Bare<L> {
    fn state_dim(&self) -> usize {
        self.0.state_dim()
    }

    fn input_dims(&self) -> Vec<usize> {
        self.0.input_dims()
    }

    fn step(&self, z: &Value<E, D>, x: &[Value<E, D>]) -> Result<Value<E, D>> {
        self.0.step(z, x)
    }
}

fn equilibrium<L>(layer: L, solver: &str, stop: Stop) -> Equilibrium<L> {
    let backward = json!({ "type": "implicit", "solver": { "type": "gmres" } });
    let mut equilibrium = Equilibrium::new(
        layer,
        equilibria_solvers::solver(solver).expect("registered"),
        registry::make::<dyn BackwardStrategy>(&backward).expect("it parses"),
    );
    equilibrium.stop = stop;
    equilibrium
}

/// Rows of an input.
fn rows<E: Scalar>(rows: &[&[f64]]) -> Matrix<E, Cpu>
where
    Cpu: Backend<E>,
{
    let values = rows.concat().into_iter().map(E::of).collect();
    from_host(&Cpu::default(), values, (rows.len(), rows[0].len())).expect("memory")
}

/// What a solver says of two samples, no z being feasible in the first.
fn statuses<E: Scalar>(
    solver: &str,
    constraints: &Constraints,
    (relative, budget): (f64, usize),
    bare: bool,
) -> [Status; 2]
where
    Cpu: Backend<E>,
{
    let (layer, right) = match constraints {
        Constraints::Equal(a, right) => (program::<E>(a, &[]), right),
        Constraints::AtMost(g, right) => (program::<E>(&[], g), right),
    };
    let p = rows::<E>(&[&[0.3, -0.2], &[0.3, -0.2]]);
    let stop = Stop {
        max_evaluations: budget,
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::relative(relative))
    };
    let x = [p, rows(&[&right[0], &right[1]])];
    let solved = match bare {
        true => equilibrium(Bare(layer), solver, stop).forward(&x, NoneTape),
        false => equilibrium(layer, solver, stop).forward(&x, NoneTape),
    };
    let samples = solved.expect("it runs").report.samples;
    [samples[0].status, samples[1].status]
}

/// Constraints, and right-hand sides of two samples: those of the first contradict each other.
enum Constraints {
    Equal(Vec<f64>, [Vec<f64>; 2]),
    AtMost(Vec<f64>, [Vec<f64>; 2]),
}

/// With numbers whose products are exact, and with others, where rounding makes a singular equation look like one that has a solution far away.
fn contradictions() -> Vec<Constraints> {
    use Constraints::{AtMost, Equal};
    let along = [[1.0, 1.0], [0.37, -0.61], [1.3, 0.7]];
    let equal = along.iter().map(|c| {
        let doubled = [c[0], c[1], 1.7 * c[0], 1.7 * c[1]];
        Equal(doubled.to_vec(), [vec![1.0, 3.0], vec![1.0, 1.7]])
    });
    let at_most = along.iter().map(|c| {
        let opposite = [c[0], c[1], -c[0], -c[1], c[1], c[0]];
        AtMost(
            opposite.to_vec(),
            [vec![-1.0, -0.9, 4.0], vec![1.0, 0.9, 4.0]],
        )
    });
    equal.chain(at_most).collect()
}

/// Multipliers grow for ever: no solver, in no precision, with a short budget or a long one, may call that a solution. By the residual alone
/// some would.
#[test]
fn a_program_without_feasible_points_never_converges() {
    let plugins = registry::of_kind("solver").expect("linked");
    let (mut wrong, mut without) = (Vec::new(), 0);
    for plugin in plugins {
        let name = &*plugin.name;
        for (number, constraints) in contradictions().iter().enumerate() {
            for limits in [(1e-4, 100), (1e-6, 400)] {
                let all = [
                    statuses::<f64>(name, constraints, limits, false),
                    statuses::<f32>(name, constraints, limits, false),
                ];
                for (dtype, [infeasible, feasible]) in ["f64", "f32"].iter().zip(all) {
                    let place = format!("{name}, {number}, {dtype}, {limits:?}");
                    if infeasible == Status::Converged {
                        wrong.push(place.clone());
                    }
                    if name == "newton-gmres" {
                        assert_eq!(feasible, Status::Converged, "{place}");
                    }
                }
                let [infeasible, _] = statuses::<f64>(name, constraints, limits, true);
                without += usize::from(infeasible == Status::Converged);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(without > 0, "no solver needs the requirement");
}

/// z*, and the derivative of Σ_i v_i z_i by p, in f64.
fn solved(g: &[f64], p: &[f64], h: &[f64], v: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let layer = program::<f64>(&[], g);
    let stop = Stop {
        max_evaluations: 2000,
        ..Stop::at(Tolerance::absolute(1e-13))
    };
    let equilibrium = equilibrium(layer, "newton-gmres", stop);
    let x = [rows::<f64>(&[p]), rows(&[h])];
    let solved = equilibrium
        .forward(&x, OwnedTape::default())
        .expect("it runs");
    assert_eq!(solved.report.unconverged(), 0, "{:?}", solved.report);
    let output = equilibrium.output(solved.z, &x).expect("it runs");
    let z = output.as_vec();
    let loss = (output * rows::<f64>(&[v])).sum::<Rank0, _>();
    (z, to_host(&loss.backward().get(&x[0])))
}

fn near(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
}

/// z_1 ≤ 0, once and twice, where the minimum is at z_1 = 1 / 1.1 without it: multipliers of two constraints are not unique, z* and its
/// derivatives are.
#[test]
fn constraints_that_depend_on_each_other_leave_argument_and_gradient_alone() {
    let (p, v) = ([-1.0, 0.5], [0.7, -0.4]);
    let once = solved(&[1.0, 0.0], &p, &[0.0], &v);
    let twice = solved(&[1.0, 0.0, 1.0, 0.0], &p, &[0.0, 0.0], &v);
    // Scaled, it is the same constraint.
    let scaled = solved(&[1.0, 0.0, 3.0, 0.0, 0.0, 1.0], &p, &[0.0, 0.0, 5.0], &v);
    for (z, gradient) in [once, twice, scaled] {
        assert!(near(&z, &[0.0, -0.5 / 1.1]), "{z:?}");
        assert!(near(&gradient, &[0.0, 0.4 / 1.1]), "{gradient:?}");
    }
}

/// z_1 ≤ 0, where the minimum is at z_1 = 0 without it: the derivative is one of the two one-sided ones, not something between.
#[test]
fn a_constraint_that_is_just_met_has_a_one_sided_gradient() {
    let (z, gradient) = solved(&[1.0, 0.0], &[0.0, 0.5], &[0.0], &[0.7, -0.4]);
    assert!(near(&z, &[0.0, -0.5 / 1.1]), "{z:?}");
    let sides = [[0.0, 0.4 / 1.1], [-0.7 / 1.1, 0.4 / 1.1]];
    let one_sided = sides.iter().any(|side| near(&gradient, side));
    assert!(one_sided, "{gradient:?}");
}
