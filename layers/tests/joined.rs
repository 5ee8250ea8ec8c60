//! A solve and its penalties in one call give what they give in two: values and gradients.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, AnyLayer, Equilibrium, StepOnly};
use equilibria_layers::plugins::affine_tanh::AffineTanhConfig;
use equilibria_layers::plugins::residual_block::ResidualBlockConfig;
use equilibria_layers::solvers::backward::dense::Dense;
use equilibria_layers::solvers::backward::implicit::Implicit;
use equilibria_layers::solvers::regularizers::fixed_point_correction::FixedPointCorrection;
use equilibria_layers::solvers::regularizers::jacobian::Jacobian;
use equilibria_layers::solvers::regularizers::spectral_radius::SpectralRadius;
use equilibria_layers::{Initializer, LayerRequest};
use equilibria_testing::{perturb, random_matrix, relative_difference};

const WIDTH: usize = 64;
/// Two blocks.
const BATCH: usize = 45;
const SEED: u64 = 4;

type Solvable<L = AnyLayer<f64, Cpu>> = Equilibrium<L>;

/// An equilibrium whose penalties wait at z*, wait twice, and go elsewhere.
fn equilibrium() -> Solvable {
    let request = LayerRequest {
        state: WIDTH,
        inputs: &[WIDTH],
        init: &mut Initializer::new(&Cpu::default(), 1),
    };
    let built = Build::build::<f64, Cpu>(&ResidualBlockConfig::default(), request);
    let mut layer = built.expect("it builds");
    perturb(&mut layer, 0.02, 2).expect("memory");
    let stop = Stop {
        max_evaluations: 300,
        on_unconverged: OnUnconverged::Error,
        ..Stop::at(Tolerance::relative(1e-13))
    };
    let backward: Arc<dyn BackwardStrategy> = Arc::new(Implicit {
        stop: stop.clone(),
        ..Implicit::default()
    });
    let solver = equilibria_layers::solvers::solver("anderson").expect("registered");
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.stop = stop;
    equilibrium.regularizers = vec![
        Arc::new(Jacobian {
            weight: 0.5,
            probes: 2,
            ..Jacobian::default()
        }),
        Arc::new(FixedPointCorrection::default()),
        Arc::new(SpectralRadius {
            weight: 0.3,
            bound: 0.01,
            iterations: 3,
            ..SpectralRadius::default()
        }),
    ];
    equilibrium
}

/// The gradients of ⟨c, z*⟩ + 0.7 penalty by parameters and inputs.
fn gradients<L: ImplicitLayer<f64, Cpu>>(
    equilibrium: &Solvable<L>,
    x: &[Matrix<f64, Cpu>],
    (z, penalty): (&Matrix<f64, Cpu>, Matrix<f64, Cpu>),
    tape: OwnedTape<f64, Cpu>,
) -> Vec<Vec<f64>> {
    let weights = random_matrix(&Cpu::default(), (BATCH, WIDTH), 3).expect("memory");
    let loss = (z.clone().put_tape(tape) * weights).sum::<Rank0, _>();
    let (loss, tape) = loss.split_tape();
    let mut gradients = ((penalty.put_tape(tape) * 0.7).sum::<Rank0, _>() + loss).backward();
    let parameters = equilibrium.layer.named().into_iter();
    let parameters = parameters.map(|(_, tensor)| tensor);
    let gradient = |tensor: Matrix<f64, Cpu>| {
        gradients.try_alloc_for(&tensor).expect("memory");
        to_host(&gradients.get(&tensor))
    };
    parameters.chain(x.to_vec()).map(gradient).collect()
}

#[test]
fn penalties_in_the_same_call_are_those_of_their_own() {
    let equilibrium = equilibrium();
    let x = [random_matrix(&Cpu::default(), (BATCH, WIDTH), 5).expect("inputs")];

    let solved = equilibrium.forward(&x, OwnedTape::default());
    let (z, tape) = solved.expect("solvable").z.split_tape();
    let penalty = equilibrium.penalty(&z, &x, tape, SEED).expect("a value");
    let (penalty, tape) = penalty.split_tape();
    let expected = gradients(&equilibrium, &x, (&z, penalty.clone()), tape);

    let start = equilibrium.zero_start(&x).expect("memory");
    let all = std::slice::from_ref(&equilibrium);
    let tape = OwnedTape::default();
    let joined = Equilibrium::forward_each(all, vec![start], &[&x], tape, Some(&[SEED]));
    let joined = joined.expect("solvable");
    assert_eq!(to_host(&joined.solved[0].z), to_host(&z));
    let value = joined.penalties[0].clone();
    assert_eq!(to_host(&value), to_host(&penalty));
    let z = &joined.solved[0].z;
    let got = gradients(&equilibrium, &x, (z, value), joined.tape);

    // The same terms in another order: some 100 roundings of terms that may cancel by a factor of a hundred.
    for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let difference = relative_difference(got, expected);
        assert!(difference < 1e-12, "array {index}: {difference:e}");
        assert!(expected.iter().any(|g| g.abs() > 1e-6), "array {index}");
    }
}

#[test]
fn equilibria_that_share_parameters_add_their_gradients() {
    let equilibrium = equilibrium();
    let device = Cpu::default();
    let x = [6, 7].map(|seed| [random_matrix(&device, (BATCH, WIDTH), seed).expect("inputs")]);
    let start = equilibrium.zero_start(&x[0]).expect("memory");
    let run = |inputs: &[&[Matrix<f64, Cpu>]]| {
        let count = inputs.len();
        let all = vec![equilibrium.clone(); count];
        let starts = vec![start.clone(); count];
        let tape = OwnedTape::default();
        let seeds = vec![SEED; count];
        let joined = Equilibrium::forward_each(&all, starts, inputs, tape, Some(&seeds));
        let joined = joined.expect("solvable");
        let (mut z, mut penalty) = (joined.solved[0].z.clone(), joined.penalties[0].clone());
        let mut tape = joined.tape;
        for (solved, other) in joined.solved.iter().zip(&joined.penalties).skip(1) {
            let (sum, next) = (z.put_tape(tape) + solved.z.clone()).split_tape();
            let (penalties, last) = (penalty.put_tape(next) + other.clone()).split_tape();
            (z, penalty, tape) = (sum, penalties, last);
        }
        gradients(&equilibrium, inputs[0], (&z, penalty), tape)
    };
    let alone = x.each_ref().map(|x| run(&[x]));
    let together = run(&[&x[0], &x[1]]);
    let (input, parameters) = together.split_last().expect("gradients");
    for (index, got) in parameters.iter().enumerate() {
        let terms = alone[0][index].iter().zip(&alone[1][index]);
        let expected: Vec<f64> = terms.map(|(a, b)| a + b).collect();
        let difference = relative_difference(got, &expected);
        assert!(difference < 1e-12, "array {index}: {difference:e}");
    }
    // That of the first input does not know of the second.
    let difference = relative_difference(input, &alone[0][parameters.len()]);
    assert!(difference < 1e-12, "{difference:e}");
}

/// A linearization that the solve has kept is the one at its best iterates, whichever samples are solved: all, some, or none.
#[test]
fn what_a_solve_keeps_is_the_linearization_at_its_solution() {
    let mut kernels = equilibrium();
    // Their gradients are differences where there are no kernels.
    kernels.regularizers.clear();
    let x = [random_matrix(&Cpu::default(), (BATCH, WIDTH), 8).expect("inputs")];
    let mut solved = Vec::new();
    for max_evaluations in [3, 8, 9, 300] {
        kernels.stop = Stop {
            max_evaluations,
            on_unconverged: OnUnconverged::Accept,
            ..Stop::at(Tolerance::relative(1e-7))
        };
        let steps = kernels.with_layer(StepOnly(kernels.layer.clone()));
        let with = states_and_gradients(&kernels, &x);
        let without = states_and_gradients(&steps, &x);
        let done = |s: &&equilibria_core::SampleReport| s.status == Status::Converged;
        solved.push(with.0.samples.iter().filter(done).count());
        for (index, (got, expected)) in with.1.iter().zip(&without.1).enumerate() {
            // An adjoint equation solved to 1e-13, whose solution is up to a hundred times that off.
            let difference = relative_difference(got, expected);
            assert!(
                difference < 1e-10,
                "{max_evaluations}, array {index}: {difference:e}"
            );
        }
    }
    assert_eq!((solved[0], solved[3]), (0, BATCH), "{solved:?}");
    assert!(
        solved[1..3].iter().any(|count| (1..BATCH).contains(count)),
        "{solved:?}"
    );
}

fn states_and_gradients<L: ImplicitLayer<f64, Cpu>>(
    equilibrium: &Solvable<L>,
    x: &[Matrix<f64, Cpu>],
) -> (Report, Vec<Vec<f64>>) {
    let start = equilibrium.zero_start(x).expect("memory");
    let all = std::slice::from_ref(equilibrium);
    let tape = OwnedTape::default();
    let joined = Equilibrium::forward_each(all, vec![start], &[x], tape, Some(&[SEED]));
    let mut joined = joined.expect("solvable");
    let solved = joined.solved.swap_remove(0);
    let penalty = joined.penalties.swap_remove(0);
    let all = gradients(equilibrium, x, (&solved.z, penalty), joined.tape);
    (solved.report, all)
}

/// f(z) = tanh(w z + x) at z* = 1/2 with ∂f/∂z = −1.05: Picard iteration, nearly solved, leads away. The best iterate is the
/// start, where the second evaluation has kept another point.
#[test]
fn an_evaluation_that_is_kept_need_not_be_the_best() {
    let device = Cpu::default();
    let request = LayerRequest {
        state: 1,
        inputs: &[1],
        init: &mut Initializer::new(&device, 1),
    };
    let built = Build::build::<f64, Cpu>(&AffineTanhConfig::default(), request);
    let mut layer = built.expect("it builds");
    let values = [-1.4, 0.0, 1.0];
    let mut parameters = values
        .map(|value| device.tensor_from_vec(vec![value], (1, 1)))
        .into_iter();
    layer.visit_mut("", &mut |_, tensor| {
        *tensor = parameters.next().expect("w, b and u")
    });
    let x = [device.tensor_from_vec(vec![0.5_f64.atanh() + 0.7], (1, 1))];
    let start: Matrix<f64, Cpu> = device.tensor_from_vec(vec![0.5 + 5e-4], (1, 1));

    let solver = equilibria_layers::solvers::solver("picard").expect("registered");
    let backward: Arc<dyn BackwardStrategy> = Arc::new(Dense::default());
    let mut kernels = Equilibrium::new(layer, solver, backward);
    kernels.stop = Stop {
        max_evaluations: 2,
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::relative(1e-4))
    };
    let gradient = |tape: OwnedTape<f64, Cpu>, z: &Matrix<f64, Cpu>| {
        let loss = z.clone().put_tape(tape).sum::<Rank0, _>();
        to_host(&loss.backward().get(&x[0]))[0]
    };
    let tape = OwnedTape::default();
    let solved = kernels
        .forward_from(start.clone(), &x, tape)
        .expect("accepted");
    let (z, tape) = solved.z.split_tape();
    assert_eq!(to_host(&z), to_host(&start));
    let got = gradient(tape, &z);
    let steps = kernels.with_layer(StepOnly(kernels.layer.clone()));
    let tape = OwnedTape::default();
    let (z, tape) = steps
        .forward_from(start, &x, tape)
        .expect("accepted")
        .z
        .split_tape();
    let expected = gradient(tape, &z);
    assert!((got - expected).abs() < 1e-14, "{got} {expected}");
}
