//! Every operation of the vocabulary: on rows as in dfdx tensors, value, products with the Jacobian and its transpose, gradients, and
//! the gradients of products with the Jacobian.

use std::collections::BTreeSet;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::Equilibrium;
use equilibria_layers::modules::{GroupNorm, Linear};
use equilibria_layers::{concatenate, Initializer, Vocabulary};
use equilibria_testing::{check_kernel, check_tangent_gradients, perturb, random_matrix};

const WIDTH: usize = 6;
const BATCH: usize = 5;

type V = Value<f64, Cpu>;
type Equation = fn(&Probe, &V, &V) -> V;

/// A layer that has every kind of parameter, with one equation of many.
#[derive(Clone)]
struct Probe {
    linear: Linear<f64, Cpu>,
    matrix: Matrix<f64, Cpu>,
    row: Matrix<f64, Cpu>,
    norm: GroupNorm<f64, Cpu>,
    equation: Equation,
}

impl Parameters<f64, Cpu> for Probe {
    fn visit(&self, path: &str, visitor: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {
        self.linear.visit(path, visitor);
        self.matrix.visit("matrix", visitor);
        self.row.visit("row", visitor);
        self.norm.visit("norm", visitor);
    }

    fn visit_mut(&mut self, path: &str, visitor: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {
        self.linear.visit_mut(path, visitor);
        self.matrix.visit_mut("matrix", visitor);
        self.row.visit_mut("row", visitor);
        self.norm.visit_mut("norm", visitor);
    }
}

impl ImplicitLayer<f64, Cpu> for Probe {
    fn state_dim(&self) -> usize {
        WIDTH
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![WIDTH]
    }

    fn step(&self, z: &V, x: &[V]) -> Result<V> {
        Ok((self.equation)(self, z, &x[0]))
    }
}

/// A value that depends on the state, the input and parameters, in another way in each column.
fn mixed(probe: &Probe, z: &V, x: &V) -> V {
    probe.linear.of(z) + x
}

/// One equation or more for each file of `src/operations`, by its name.
const EQUATIONS: [(&str, Equation); 32] = [
    ("columns", |p, z, x| {
        let z = mixed(p, z, x);
        concatenate([&z.columns(2..6), &z.columns(0..2)])
    }),
    ("columns", |_, z, _| {
        concatenate([&z.columns(0..3), &z.columns(0..3)])
    }),
    ("concatenate", |p, z, x| {
        let halves = concatenate([
            &mixed(p, z, x).columns(1..4),
            &x.columns(0..2),
            &z.columns(5..6),
        ]);
        halves.tanh()
    }),
    ("cos", |p, z, x| mixed(p, z, x).cos()),
    ("exp", |p, z, x| mixed(p, z, x).exp()),
    ("group_norm", |p, z, x| p.norm.of(&mixed(p, z, x))),
    ("group_norm", |p, z, x| p.norm.of(x) * z),
    // What a normalization takes along: additions and a ReLU before it or after it.
    ("group_norm", |p, z, x| {
        p.norm.of(&(p.linear.of(z) + x)).relu()
    }),
    ("group_norm", |p, z, x| {
        p.norm.of(&(x + p.linear.of(z)).relu())
    }),
    ("group_norm", |p, z, _| p.norm.of(&p.linear.of(z).relu())),
    ("group_norm", |p, z, x| {
        p.norm.of(&(z.product(&p.matrix) + x.shift(&p.row)))
    }),
    ("group_norm", |p, z, _| {
        p.norm.of(&p.linear.of(z)).relu().stretch(&p.row)
    }),
    // What it must leave alone, for others want it as well.
    ("group_norm", |p, z, x| {
        let sum = p.linear.of(z) + x;
        let (rectified, normal) = (sum.relu(), p.norm.of(&sum));
        p.norm.of(&rectified) * &rectified + normal.relu() * &normal + sum
    }),
    ("pointwise", |p, z, x| mixed(p, z, x).tanh().exp().sin()),
    ("product", |p, z, x| (z.product(&p.matrix) + x).tanh()),
    ("product", |p, z, x| {
        (z.product_transposed(&p.matrix) + x).tanh()
    }),
    // The same parameter in two places, and one in what is constant.
    ("product", |p, z, x| {
        (z.product(&p.matrix).product_transposed(&p.matrix) + x.product(&p.matrix)).tanh()
    }),
    ("relu", |p, z, x| mixed(p, z, x).relu()),
    ("relu", |p, z, x| p.norm.of(&mixed(p, z, x).relu()).relu()),
    ("shift", |p, z, x| (z * x).shift(&p.row).square()),
    ("sigmoid", |p, z, x| mixed(p, z, x).sigmoid()),
    ("sin", |p, z, x| mixed(p, z, x).sin()),
    ("square", |p, z, x| mixed(p, z, x).square()),
    ("stretch", |p, z, x| mixed(p, z, x).stretch(&p.row).tanh()),
    ("tanh", |p, z, x| mixed(p, z, x).tanh()),
    // Operators, and values that meet themselves.
    ("", |_, z, x| z * z + x * z - x * x),
    ("", |p, z, x| {
        let y = mixed(p, z, x);
        &y - (&y * &y) * 0.5 + 3.0
    }),
    ("", |_, z, x| -(x - z) * (1.0 - z) + 0.5 * x - (2.0 + z)),
    ("", |_, _, x| x.clone()),
    ("", |_, z, _| z.clone()),
    // The result is an argument of an operation that is not needed, and of one that is.
    ("", |p, z, x| {
        let y = mixed(p, z, x).tanh();
        let _unused = y.square();
        &y * &y + y
    }),
    ("", |_, _, x| x.tanh()),
];

fn probe(equation: Equation) -> Probe {
    let device = Cpu::default();
    let init = &mut Initializer::new(&device, 1);
    let mut probe = Probe {
        linear: Linear::normal(WIDTH, WIDTH, 0.3, init).expect("memory"),
        matrix: random_matrix(&device, (WIDTH, WIDTH), 2).expect("memory") * 0.3,
        row: random_matrix(&device, (1, WIDTH), 3).expect("memory"),
        norm: GroupNorm::new(WIDTH, 2, init).expect("two groups"),
        equation,
    };
    perturb(&mut probe, 0.3, 4).expect("memory");
    probe
}

#[test]
fn rows_give_what_tensors_give() {
    let device = Cpu::default();
    let z = random_matrix(&device, (BATCH, WIDTH), 5).expect("memory");
    let x = [random_matrix(&device, (BATCH, WIDTH), 6).expect("memory")];
    for (number, (name, equation)) in EQUATIONS.iter().enumerate() {
        let probe = probe(*equation);
        let error = check_kernel(&probe, &z, &x).expect("it runs");
        let error = error.expect("a program");
        assert!(error < 1e-12, "equation {number}, {name}: {error:e}");
    }
}

#[test]
fn gradients_of_products_with_the_jacobian_are_exact() {
    let device = Cpu::default();
    let z = random_matrix(&device, (BATCH, WIDTH), 7).expect("memory");
    let x = [random_matrix(&device, (BATCH, WIDTH), 8).expect("memory")];
    for (number, (name, equation)) in EQUATIONS.iter().enumerate() {
        let probe = probe(*equation);
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
    let tried: BTreeSet<String> = EQUATIONS
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(files, tried);
}

#[test]
fn what_does_not_fit_is_said_by_the_first_operation_that_fails() {
    let device = Cpu::default();
    let z: Matrix<f64, Cpu> = random_matrix(&device, (BATCH, WIDTH), 9).expect("memory");
    let x = [random_matrix(&device, (BATCH, WIDTH), 10).expect("memory")];
    let wrong: [(Equation, &str); 4] = [
        (|_, z, _| z.columns(2..9).tanh(), "a range of columns"),
        (|p, z, _| z.columns(0..2).shift(&p.row) + z, "one row"),
        (|p, z, _| z.columns(0..2).product(&p.matrix), "width 6"),
        (|_, z, x| z * x.columns(0..2), "the arguments of *"),
    ];
    for (equation, expected) in wrong {
        let probe = probe(equation);
        assert!(probe.kernel(&x).is_none(), "{expected}");
        let error = equilibria_core::apply(&probe, z.clone(), &x).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let narrow = probe(|_, z, _| z.columns(0..2));
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
