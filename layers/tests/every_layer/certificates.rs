//! No state is farther from the equilibrium than the certificate of its layer says.

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::{json, Value};
use equilibria_core::{from_host, to_host, AnyLayer, Equilibrium};
use equilibria_testing::random_values;

use super::{arguments, layer, parsed};

/// Widths of states.
const WIDTH: usize = 8;

/// Rows of one draw.
const ROWS: usize = 5;

/// Layers with certificates, and options that change them.
fn certified() -> Vec<Value> {
    let plugins = registry::of_kind("layer").expect("linked").into_iter();
    let mut all: Vec<Value> = plugins.map(|plugin| plugin.default).collect();
    all.push(json!({ "type": "mondeq", "margin": 0.2, "activation": "tanh" }));
    all.push(json!({ "type": "mondeq", "splitting": "peaceman-rachford", "alpha": 0.5 }));
    all.push(json!({ "type": "mondeq", "splitting": "peaceman-rachford", "activation": "tanh" }));
    all.push(json!({ "type": "positive-concave", "activation": "sigmoid", "injection": "relu" }));
    all.push(json!({ "type": "implicit", "activation": "leaky-relu" }));
    for config in &mut all {
        // Its factor of contraction is 1 to many digits where costs are many times ε, and the bound as loose as that.
        if config["type"] == "sinkhorn" {
            config["epsilon"] = json!(2.0);
        }
    }
    all.retain(|config| layer::<f64>(config, WIDTH).certificate().is_some());
    all
}

/// What was seen of many states.
struct Seen {
    violations: usize,
    /// Bound by error, of all states that are not equilibria to rounding.
    ratios: Vec<f64>,
}

impl Seen {
    fn median(&mut self) -> f64 {
        self.ratios.sort_unstable_by(f64::total_cmp);
        self.ratios[self.ratios.len() / 2]
    }
}

/// Certificates of a layer in E at so many states about the equilibrium of the same layer in f64.
fn look<E: Scalar>(config: &Value, points: usize) -> Seen
where
    Cpu: Backend<E>,
{
    let device = Cpu::default();
    let own = layer::<E>(config, WIDTH);
    let mut exact = layer::<f64>(config, WIDTH);
    let numbers = |tensor: &Matrix<E, Cpu>| -> Vec<f64> {
        to_host(tensor).into_iter().map(E::wide).collect()
    };
    let values = own
        .named()
        .iter()
        .map(|(_, tensor)| numbers(tensor))
        .collect();
    exact.assign(values).expect("the same shapes");
    let (_, x) = arguments(config, &own, ROWS);
    let x: Vec<Matrix<f64, Cpu>> = (x.iter())
        .map(|x| from_host::<f64, Cpu>(&device, numbers(x), *x.shape()).expect("memory"))
        .collect();
    let solution = solution(&exact, &x);
    let certificate = own.certificate().expect("it has one");
    let x: Vec<Vec<f64>> = x.iter().map(to_host).collect();
    let (dim, positive) = (exact.state_dim(), parsed(config).needs_positive());
    let mut seen = Seen {
        violations: 0,
        ratios: Vec::new(),
    };
    for point in 0..points {
        let row = point % ROWS;
        let inputs: Vec<&[f64]> = (x.iter().zip(exact.input_dims()))
            .map(|(x, width)| &x[row * width..][..width])
            .collect();
        let solution = &solution[row * dim..][..dim];
        // From rounding to far away.
        let size = 10_f64.powi(1 - (point / ROWS % 10) as i32);
        let noise = random_values(dim, 1000 + point as u64);
        let z: Vec<f64> = (solution.iter().zip(noise))
            .map(|(z, noise)| E::of(z + size * noise).wide())
            .map(|z| if positive { z.abs() } else { z })
            .collect();
        let error: Vec<f64> = z.iter().zip(solution).map(|(a, b)| a - b).collect();
        let error = certificate.norm(&error);
        // The solution is no farther from the equilibrium than its own certificate says.
        let doubt = certificate.bound(solution, &inputs);
        assert!(doubt < 1e-10, "{config}: the solution is off by {doubt:e}");
        let bound = certificate.bound(&z, &inputs);
        seen.violations += usize::from(bound.is_nan() || error > bound + doubt);
        if error > 1e3 * doubt {
            seen.ratios.push(bound / error);
        }
    }
    seen
}

/// The equilibrium to the last digits.
fn solution(layer: &AnyLayer<f64, Cpu>, x: &[Matrix<f64, Cpu>]) -> Vec<f64> {
    let chain =
        json!({ "type": "chain", "solvers": [{ "type": "newton-gmres" }, { "type": "broyden" }] });
    let mut equilibrium = Equilibrium::new(
        layer.clone(),
        registry::make::<dyn FixedPointSolver>(&chain).expect("it parses"),
        equilibria_solvers::backward("implicit").expect("registered"),
    );
    equilibrium.stop = Stop {
        max_evaluations: 5000,
        patience: 200,
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::relative(1e-15))
    };
    to_host(&equilibrium.forward(x, NoneTape).expect("it runs").z)
}

fn check(points: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for config in certified() {
        let both = [look::<f64>(&config, points), look::<f32>(&config, points)];
        for (dtype, mut seen) in ["f64", "f32"].into_iter().zip(both) {
            assert_eq!(seen.violations, 0, "{config}, {dtype}");
            let median = seen.median();
            lines.push(format!(
                "{config}, {dtype}: {points} states, median bound/error {median:.2}"
            ));
            assert!(median <= 10.0, "{config}, {dtype}: {median}");
        }
    }
    lines
}

#[test]
fn no_state_is_farther_from_the_equilibrium_than_its_bound() {
    assert!(check(200).len() >= 10, "five layers have certificates");
}

/// `cargo test -p equilibria-layers --test every_layer -- --ignored --nocapture ten_thousand`
#[test]
#[ignore = "takes a minute"]
fn nor_is_one_of_ten_thousand_states() {
    check(10_000).iter().for_each(|line| println!("{line}"));
}

/// A bound in a report is that of the state that is returned.
#[test]
fn reports_have_the_bound_where_it_is_asked_for() {
    let config = json!({ "type": "mondeq" });
    let layer = layer::<f64>(&config, WIDTH);
    let (_, x) = arguments(&config, &layer, ROWS);
    let mut equilibrium = Equilibrium::new(
        layer.clone(),
        equilibria_solvers::solver("newton-gmres").expect("registered"),
        equilibria_solvers::backward("implicit").expect("registered"),
    );
    let solved = equilibrium.forward(&x, NoneTape).expect("it runs");
    assert!(solved.report.samples.iter().all(|s| s.bound.is_none()));
    assert!(solved.report.bound().is_none());
    equilibrium.stop.certify = true;
    let solved = equilibrium.forward(&x, NoneTape).expect("it runs");
    let exact = solution(&layer, &x);
    let z = to_host(&solved.z);
    for (row, sample) in solved.report.samples.iter().enumerate() {
        let pairs = z.iter().zip(&exact).skip(row * WIDTH).take(WIDTH);
        let error = pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        let bound = sample.bound.expect("asked for");
        assert!(
            error <= bound + 1e-12 && bound < 1e-2,
            "{error:e} {bound:e}"
        );
    }
    let largest = solved.report.bound().expect("there are some");
    assert!(largest < 1e-2);
}

/// Bounds of adjoint vectors, where straight activations make them known.
#[test]
fn adjoint_vectors_are_bounded_as_well() {
    for config in [
        json!({ "type": "mondeq" }),
        json!({ "type": "mondeq", "alpha": 0.5 }),
        json!({ "type": "mondeq", "activation": "leaky-relu" }),
        json!({ "type": "implicit" }),
    ] {
        let layer = layer::<f64>(&config, WIDTH);
        let (_, x) = arguments(&config, &layer, ROWS);
        let z = solution(&layer, &x);
        let certificate = layer.certificate().expect("it has one");
        let inputs = to_host(&x[0]);
        let map = layer.row_map().expect("a map");
        let mut map = equilibria_testing::OnRows::new(map, WIDTH, &x);
        map.linearize(&z);
        let v = random_values(ROWS * WIDTH, 5);
        // u = Jᵀ u + v, by many damped steps.
        let mut u = v.clone();
        for _ in 0..20_000 {
            let product = map.vjp(&u);
            let next = product.iter().zip(&v).map(|(p, v)| p + v);
            u = u
                .iter()
                .zip(next)
                .map(|(u, next)| 0.9 * u + 0.1 * next)
                .collect();
        }
        let mut known = 0;
        for row in 0..ROWS {
            let cut = |all: &[f64]| all[row * WIDTH..][..WIDTH].to_vec();
            let (z, u, v) = (cut(&z), cut(&u), cut(&v));
            let x = &inputs[row * WIDTH..][..WIDTH];
            let bound = |u: &[f64]| {
                certificate
                    .adjoint_bound(&z, &[x], u, &v)
                    .expect("straight")
            };
            let doubt = bound(&u);
            if !doubt.is_finite() {
                continue;
            }
            known += 1;
            assert!(doubt < 1e-9, "{config}: {doubt:e}");
            for seed in 0..40 {
                let noise = random_values(WIDTH, 50 + seed);
                let off: Vec<f64> = u.iter().zip(&noise).map(|(u, n)| u + 0.01 * n).collect();
                // The 2-norm is no more than the sum of absolute values.
                let error = noise.iter().map(|n| 1e-4 * n * n).sum::<f64>().sqrt();
                assert!(error <= bound(&off) + doubt, "{config}");
            }
        }
        assert!(known > 0, "{config}: every row is at a kink");
    }
}
