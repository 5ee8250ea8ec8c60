//! Every operation of the vocabulary in kernels of CUDA, against rows on the CPU: value, products with the Jacobian and its transpose,
//! gradients, and the gradients of products with the Jacobian.
//!
//! Runs on a GPU, or on the stand-in of `core/testing/cuda`.

#[path = "every_operation/equations.rs"]
mod equations;
#[path = "every_operation/probe.rs"]
mod probe;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::plumbing::Space;
use equilibria_core::prelude::*;
use equilibria_core::{cuda, to_host, AnyLayer};
use equilibria_layers::Vocabulary;
use equilibria_testing::{
    random_matrix, random_values, relative_difference, run_backwards, OnRows,
};

use equations::equations;
use probe::{probe, Equation, Probe, BATCH, V, WIDTH};

/// What an exact product with the Jacobian counts as, in evaluations: a program has it, dfdx operations do not.
const EXACT: usize = 1;

/// Groups of more columns than a block has threads, and of a number that is no multiple of a warp.
fn wide<E: Scalar, D: Backend<E>>() -> Vec<(&'static str, Equation<E, D>)> {
    fn spread<E: Scalar, D: Backend<E>>(p: &Probe<E, D>, z: &V<E, D>, x: &V<E, D>) -> V<E, D> {
        let z = p.linear.of(z) + x;
        // Copies that differ.
        let numbers: Vec<f64> = (0..606).map(|index| f64::from(index % 13) / 7.0).collect();
        z.repeat(101) * x.constant(&numbers)
    }
    vec![
        ("wide softmax", |p, z, x| {
            spread(p, z, x).softmax(2).columns(0..6)
        }),
        ("wide logsumexp", |p, z, x| {
            spread(p, z, x).logsumexp(2).repeat(3)
        }),
        ("wide max", |p, z, x| spread(p, z, x).max(2).repeat(3) * z),
        ("wide sum", |p, z, x| spread(p, z, x).mean(6)),
        ("wide normalize", |p, z, x| {
            spread(p, z, x).normalize(2).columns(300..306)
        }),
        ("tokens that are wide", |p, z, x| {
            let tokens = spread(p, z, x).tokens(3);
            let scores = tokens.matmul_transposed(&tokens) * 0.01;
            scores
                .softmax(1)
                .matmul(&tokens)
                .into_value()
                .columns(200..206)
        }),
    ]
}

fn all<E: Scalar, D: Backend<E>>() -> Vec<(&'static str, Equation<E, D>)> {
    [equations(), wide()].concat()
}

/// One device for all that a test does: each loads its kernels anew.
fn device() -> Cuda {
    thread_local! {
        static DEVICE: Cuda = cuda::open(0).expect("a device");
    }
    DEVICE.with(Cuda::clone)
}

/// State, its tangent, cotangents of f(z) and of J v, row-major.
fn given() -> [Vec<f64>; 4] {
    [5, 6, 7, 8].map(|seed| random_values(BATCH * WIDTH, seed))
}

/// The space of a layer, with the input that all of these tests have.
fn space<E: Scalar>(equation: Equation<E, Cuda>) -> Box<dyn Space<E, Cuda>>
where
    Cuda: Backend<E>,
{
    let device = device();
    let layer = AnyLayer::new(probe(equation, &device));
    let x = [random_matrix(&device, (BATCH, WIDTH), 9).expect("memory")];
    <Cuda as Backend<E>>::space(&layer, &device, &x, BATCH).expect("a space")
}

/// A slot that holds these numbers.
fn slot(space: &mut (impl DifferentiableMap + ?Sized), numbers: &[f64]) -> Slot {
    let slot = space.alloc().expect("memory");
    space.vectors_mut().write(slot, numbers).expect("memory");
    slot
}

fn read(space: &(impl DifferentiableMap + ?Sized), slot: Slot) -> Vec<f64> {
    space.vectors().read(slot).expect("memory")
}

/// All that a space tells, with names: the gradients are those of ⟨u, f(z)⟩ + ⟨p, J v⟩.
fn seen<E: Scalar>(equation: Equation<E, Cuda>) -> Result<Vec<(String, Vec<f64>)>>
where
    Cuda: Backend<E>,
{
    let mut space = space(equation);
    let [z, v, u, p] = given().map(|numbers| slot(&mut *space, &numbers));
    let out = space.alloc()?;
    let mut seen = Vec::new();
    space.apply(z, out)?;
    seen.push(("value".to_owned(), read(&*space, out)));
    space.linearize(z)?;
    assert_eq!(space.jvp(v, out)?, EXACT, "no program");
    seen.push(("J v".to_owned(), read(&*space, out)));
    space.vjp(u, out)?;
    seen.push(("transposed".to_owned(), read(&*space, out)));
    space.pull_back(u)?;
    space.pull_back_tangent(p, v, &[1.0; BATCH], 1e-6)?;
    // The last sample leaves, and the others follow it.
    let swaps = [(0, BATCH - 1)];
    space.vectors_mut().permute(&swaps, BATCH - 1)?;
    space.vjp(u, out)?;
    seen.push(("moved".to_owned(), read(&*space, out)));
    let gradients = space.into_gradients();
    let gradients = gradients.parameters.into_iter().chain(gradients.inputs);
    for (index, gradient) in gradients.enumerate() {
        let numbers = gradient.map_or(Vec::new(), |gradient| to_host(&gradient));
        let numbers = numbers.into_iter().map(Element::wide).collect();
        seen.push((format!("gradient {index}"), numbers));
    }
    Ok(seen)
}

/// The same on rows, in f64.
fn expected(equation: Equation<f64, Cpu>) -> Vec<Vec<f64>> {
    let (device, [z, v, u, p]) = (Cpu::default(), given());
    let layer = probe(equation, &device);
    let x = [random_matrix(&device, (BATCH, WIDTH), 9).expect("memory")];
    let program = layer.row_map().expect("a program");
    let mut program = OnRows::new(program, WIDTH, &x);
    let (value, jvp) = (program.linearize(&z), program.jvp(&v).expect("tangents"));
    let vjp = program.vjp(&u);
    let mut moved = vjp.clone();
    for column in 0..WIDTH {
        moved.swap(column, (BATCH - 1) * WIDTH + column);
    }
    moved.truncate((BATCH - 1) * WIDTH);
    let shapes: Vec<_> = layer.named().iter().map(|(_, p)| *p.shape()).collect();
    let mut gradients = RowGradients::zeros(shapes, layer.input_dims(), BATCH);
    let pulled = program.pull_back_tangent(&u, [&p, &v], &mut gradients);
    pulled.expect("tangents");
    let gradients = gradients.into_values();
    [value, jvp, vjp, moved]
        .into_iter()
        .chain(gradients)
        .collect()
}

/// What differs by more than is allowed.
fn differences<E: Scalar>(
    name: &str,
    (on_cuda, on_cpu): (Equation<E, Cuda>, Equation<f64, Cpu>),
    allowed: f64,
) -> Vec<String>
where
    Cuda: Backend<E>,
{
    let (seen, expected) = (seen(on_cuda).expect("it runs"), expected(on_cpu));
    assert_eq!(seen.len(), expected.len());
    // Of what cancels nothing but rounding is left: gradients are measured against the largest of them.
    let size = |numbers: &[f64]| numbers.iter().map(|v| v * v).sum::<f64>().sqrt();
    let largest = expected
        .iter()
        .map(|numbers| size(numbers))
        .fold(1.0, f64::max);
    let mut beyond = Vec::new();
    for ((what, seen), expected) in seen.into_iter().zip(expected) {
        // Nothing was pulled back.
        let seen = if seen.is_empty() {
            vec![0.0; expected.len()]
        } else {
            seen
        };
        let apart: Vec<f64> = seen.iter().zip(&expected).map(|(a, b)| a - b).collect();
        let difference = size(&apart) / size(&expected).max(1e-3 * largest);
        if difference.is_nan() || difference > allowed {
            beyond.push(format!("{name}, {what}: {difference:e}"));
        }
    }
    beyond
}

fn every_equation<E: Scalar>(allowed: f64) -> Vec<String>
where
    Cuda: Backend<E>,
{
    let pairs = all::<E, Cuda>().into_iter().zip(all::<f64, Cpu>());
    let pairs = pairs.enumerate();
    pairs
        .flat_map(|(number, ((name, on_cuda), (_, on_cpu)))| {
            differences(&format!("{number}, {name}"), (on_cuda, on_cpu), allowed)
        })
        .collect()
}

#[test]
fn kernels_give_what_rows_give() {
    let beyond = every_equation::<f64>(1e-12);
    assert!(beyond.is_empty(), "{}", beyond.join("\n"));
}

/// Some tens of roundings of numbers of order 1, which divisions by small numbers make larger.
#[test]
fn single_precision_gives_what_double_gives() {
    let beyond = every_equation::<f32>(1e-4);
    assert!(beyond.is_empty(), "{}", beyond.join("\n"));
}

/// A number that is none stays that, in the columns where it does on the CPU, and in its row alone.
#[test]
fn what_is_no_number_passes_as_on_the_processor() {
    let mut z = random_values(BATCH * WIDTH, 5);
    z[WIDTH + 2] = f64::NAN;
    let pairs = all::<f64, Cuda>().into_iter().zip(all::<f64, Cpu>());
    for (number, ((name, on_cuda), (_, on_cpu))) in pairs.enumerate() {
        let mut space = space(on_cuda);
        let (at, out) = (slot(&mut *space, &z), space.alloc().expect("memory"));
        space.apply(at, out).expect("it runs");
        let x = [random_matrix(&Cpu::default(), (BATCH, WIDTH), 9).expect("memory")];
        let program = probe(on_cpu, &Cpu::default()).row_map();
        let expected = OnRows::new(program.expect("a program"), WIDTH, &x).apply(&z);
        let places =
            |numbers: Vec<f64>| -> Vec<bool> { numbers.into_iter().map(f64::is_nan).collect() };
        assert_eq!(
            places(read(&*space, out)),
            places(expected),
            "{number}, {name}"
        );
    }
}

/// Where a barrier is missing, who comes first matters.
#[test]
fn the_order_of_threads_does_not_matter() {
    for (number, (name, equation)) in all::<f64, Cuda>().into_iter().enumerate() {
        let forwards = seen(equation).expect("it runs");
        if !run_backwards(true) {
            return;
        }
        let backwards = seen(equation);
        run_backwards(false);
        for ((what, forwards), (_, backwards)) in forwards.iter().zip(backwards.expect("it runs")) {
            let difference = relative_difference(&backwards, forwards);
            assert!(
                difference < 1e-13,
                "{number}, {name}, {what}: {difference:e}"
            );
        }
    }
}
