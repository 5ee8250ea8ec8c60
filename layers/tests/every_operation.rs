//! Every operation of the vocabulary: on rows as in dfdx tensors, value, products with the Jacobian and its transpose, gradients, and
//! the gradients of products with the Jacobian.

#[path = "every_operation/equations.rs"]
mod equations;
#[path = "every_operation/probe.rs"]
mod probe;

use std::collections::BTreeSet;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::Equilibrium;
use equilibria_core::{from_host, to_host};
use equilibria_layers::Vocabulary;
use equilibria_testing::{
    check_row_map, check_tangent_gradients, random_matrix, random_values, relative_difference,
    OnRows,
};

use equations::equations;
use probe::{probe, Equation, Probe, BATCH, V, WIDTH};

#[test]
fn rows_give_what_tensors_give() {
    let device = Cpu::default();
    let z = random_matrix(&device, (BATCH, WIDTH), 5).expect("memory");
    let x = [random_matrix(&device, (BATCH, WIDTH), 6).expect("memory")];
    for (number, (name, equation)) in equations::<f64, Cpu>().into_iter().enumerate() {
        let probe = probe(equation, &device);
        let error = check_row_map(&probe, &z, &x).expect("it runs");
        let error = error.expect("a program");
        assert!(error < 1e-12, "equation {number}, {name}: {error:e}");
    }
}

/// Of values on rows, for operations that tensors compute by the same functions.
#[test]
fn products_with_the_jacobian_are_slopes() {
    let device = Cpu::default();
    let x = [random_matrix(&device, (BATCH, WIDTH), 12).expect("memory")];
    let (z, v) = (
        random_values(BATCH * WIDTH, 13),
        random_values(BATCH * WIDTH, 14),
    );
    for (number, (name, equation)) in equations::<f64, Cpu>().into_iter().enumerate() {
        let program = probe(equation, &device).row_map().expect("a program");
        let mut program = OnRows::new(program, WIDTH, &x);
        program.linearize(&z);
        let product = program.jvp(&v).expect("tangents");
        let step = 1e-6;
        let moved = |by: f64| -> Vec<f64> { z.iter().zip(&v).map(|(z, v)| z + by * v).collect() };
        let [ahead, behind] = [step, -step].map(|by| program.apply(&moved(by)));
        let slope = ahead
            .iter()
            .zip(&behind)
            .map(|(a, b)| (a - b) / (2.0 * step));
        let error = relative_difference(&product, &slope.collect::<Vec<_>>());
        // A difference of numbers of order 1 is good to ε / h + h², and to more where normalized groups are nearly equal.
        assert!(error < 1e-7, "equation {number}, {name}: {error:e}");
    }
}

#[test]
fn single_precision_gives_what_double_gives() {
    let device = Cpu::default();
    let all = equations::<f64, Cpu>()
        .into_iter()
        .zip(equations::<f32, Cpu>());
    for (number, ((name, wide), (_, single))) in all.enumerate() {
        let [wide, single] = [
            products(&probe(wide, &device), &device),
            products(&probe(single, &device), &device),
        ];
        // Some tens of roundings of numbers of order 1, which divisions by small numbers make larger.
        let error = relative_difference(&single, &wide);
        assert!(error < 1e-4, "equation {number}, {name}: {error:e}");
    }
}

/// The value and Jᵀu of a program.
fn products<E: Scalar>(probe: &Probe<E, Cpu>, device: &Cpu) -> Vec<f64>
where
    Cpu: Backend<E>,
{
    let x = [random_matrix(device, (BATCH, WIDTH), 15).expect("memory")];
    let narrow = |seed| -> Vec<E> {
        let values = random_values(BATCH * WIDTH, seed);
        values.into_iter().map(E::of).collect()
    };
    let (z, u) = (narrow(16), narrow(17));
    let mut program = OnRows::new(probe.row_map().expect("a program"), WIDTH, &x);
    let (value, product) = (program.linearize(&z), program.vjp(&u));
    value.into_iter().chain(product).map(E::wide).collect()
}

/// Each against what the standard library computes.
#[test]
fn functions_of_numbers_are_what_their_names_say() {
    type Word = fn(&V<f64, Cpu>) -> V<f64, Cpu>;
    type Function = fn(f64) -> f64;
    let functions: [(Word, Function); 17] = [
        (|x| x.abs(), f64::abs),
        (|x| x.clamp(-0.5, 0.75), |x| x.clamp(-0.5, 0.75)),
        (|x| x.cos(), f64::cos),
        (
            |x| x.elu(2.0),
            |x| if x > 0.0 { x } else { 2.0 * x.exp_m1() },
        ),
        (|x| x.exp(), f64::exp),
        (
            |x| x.gelu_tanh(),
            |x| {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            },
        ),
        (|x| x.leaky_relu(0.1), |x| if x > 0.0 { x } else { 0.1 * x }),
        (|x| (x.abs() + 0.1).ln(), |x| (x.abs() + 0.1).ln()),
        (|x| x.relu(), |x| x.max(0.0)),
        (|x| x.sigmoid(), |x| 1.0 / (1.0 + (-x).exp())),
        (|x| x.silu(), |x| x / (1.0 + (-x).exp())),
        (|x| x.sin(), f64::sin),
        (
            |x| x.soft_threshold(0.3),
            |x| x.signum() * (x.abs() - 0.3).max(0.0),
        ),
        (|x| x.softplus(), |x| x.exp().ln_1p()),
        (|x| x.abs().sqrt(), |x| x.abs().sqrt()),
        (|x| x.square(), |x| x * x),
        (|x| x.tanh(), f64::tanh),
    ];
    let numbers = random_values(40, 18);
    let x = from_host(&Cpu::default(), numbers.clone(), (4, 10)).expect("memory");
    for (number, (word, function)) in functions.into_iter().enumerate() {
        let y = word(&Value::plain(x.clone()))
            .into_matrix()
            .expect("it fits");
        let expected: Vec<f64> = numbers.iter().map(|&x| function(x)).collect();
        let error = relative_difference(&to_host(&y), &expected);
        assert!(error < 1e-14, "function {number}: {error:e}");
    }
    // x Φ(x), by the complementary error function.
    let gelu = [
        (1.0, 0.841_344_746_068_542_9),
        (-2.0, -0.045_500_263_896_358_42),
    ];
    for (x, expected) in gelu {
        let x = from_host(&Cpu::default(), vec![x], (1, 1)).expect("memory");
        let y = Value::plain(x)
            .gelu()
            .into_matrix()
            .expect("it fits")
            .as_vec();
        approx::assert_relative_eq!(y[0], expected, max_relative = 1e-14);
    }
}

#[test]
fn gradients_of_products_with_the_jacobian_are_exact() {
    let device = Cpu::default();
    let z = random_matrix(&device, (BATCH, WIDTH), 7).expect("memory");
    let x = [random_matrix(&device, (BATCH, WIDTH), 8).expect("memory")];
    for (number, (name, equation)) in equations::<f64, Cpu>().into_iter().enumerate() {
        let probe = probe(equation, &device);
        let error = check_tangent_gradients(&probe, &z, &x).expect("it runs");
        let error = error.expect("tangents");
        // The difference it is compared with is good to 1e-9, or 1e-7 where third derivatives are large.
        assert!(error < 1e-6, "equation {number}, {name}: {error:e}");
    }
}

#[test]
fn every_file_has_an_equation() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/operations");
    let files = std::fs::read_dir(folder).expect("a folder").flatten();
    let files: BTreeSet<String> = files
        .filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    let tried: BTreeSet<String> = equations::<f64, Cpu>()
        .into_iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(files, tried);
}

#[test]
fn what_does_not_fit_is_said_by_the_first_operation_that_fails() {
    let device = Cpu::default();
    let z: Matrix<f64, Cpu> = random_matrix(&device, (BATCH, WIDTH), 9).expect("memory");
    let x = [random_matrix(&device, (BATCH, WIDTH), 10).expect("memory")];
    let wrong: [(Equation<f64, Cpu>, &str); 11] = [
        (|_, z, _| z.columns(2..9).tanh(), "a range of columns"),
        (|p, z, _| z.columns(0..2).shift(&p.row) + z, "one row"),
        (|p, z, _| z.columns(0..2).product(&p.matrix), "width 6"),
        (|_, z, x| z * x.columns(0..2), "the arguments of *"),
        (|_, z, _| z.tokens(4).into_value(), "4 tokens divide"),
        (|_, z, _| z.columns(0..2).tanh().sum(4), "the sum of groups"),
        (|_, z, _| z.softmax(0), "the argument of softmax"),
        (|p, z, _| p.short.of(&z.tokens(3)).into_value(), "width 3"),
        (
            |_, z, x| z.tokens(2).matmul(&x.tokens(2)).into_value(),
            "2 × 3 and 3 × 3",
        ),
        (
            |_, z, x| (z.tokens(2) + x.tokens(3)).into_value(),
            "2 tokens",
        ),
        (|_, z, _| z.constant(&[]) * z, "the numbers of a constant"),
    ];
    for (equation, expected) in wrong {
        let probe = probe(equation, &device);
        assert!(probe.row_map().is_none(), "{expected}");
        let error = equilibria_core::apply(&probe, z.clone(), &x).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let narrow: Probe<f64, Cpu> = probe(|_, z, _| z.columns(0..2), &device);
    let model = Equilibrium::new(
        narrow,
        equilibria_layers::solvers::solver("picard").expect("it is there"),
        equilibria_layers::solvers::backward("implicit").expect("it is there"),
    );
    let error = model.forward(&x, NoneTape).err().expect("it does not fit");
    assert!(
        error.to_string().contains("the result of `step`"),
        "{error}"
    );
}
