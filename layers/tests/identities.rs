//! One tensor in two places: gradients of a state are its own, whatever else the same tensor is.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::{separate, to_host, AnyLayer, Equilibrium, StepOnly};
use equilibria_layers::modules::Linear;
use equilibria_layers::plugins::affine_tanh::AffineTanh;
use equilibria_layers::{Initializer, LayerConfig, LayerRequest, Layers};
use equilibria_solvers::regularizers::jacobian::Jacobian;
use equilibria_testing::{random_matrix, relative_difference};

const WIDTH: usize = 6;
const BATCH: usize = 5;

type Array = Matrix<f64, Cpu>;

fn matrix(rows: usize, seed: u64) -> Array {
    random_matrix(&Cpu::default(), (rows, WIDTH), seed).expect("memory")
}

/// tanh(W z + x + b) and what it is solved with, in the tensor space.
fn equilibrium() -> Equilibrium<StepOnly<AffineTanh<f64, Cpu>>> {
    let eye = (0..WIDTH * WIDTH).map(|i| f64::from(u8::from(i % (WIDTH + 1) == 0)));
    let layer = AffineTanh {
        w: Linear::new(matrix(WIDTH, 1) * 0.2, matrix(1, 2)),
        u: Cpu::default().tensor_from_vec(eye.collect(), (WIDTH, WIDTH)),
    };
    let solver = equilibria_solvers::solver("anderson").expect("registered");
    let backward = equilibria_solvers::backward("implicit").expect("registered");
    let mut equilibrium = Equilibrium::new(StepOnly(layer), solver, backward);
    equilibrium.regularizers = vec![Arc::new(Jacobian::default())];
    equilibrium
}

/// Jᵀ u at `z` with u = 1.
fn pulled(z: &Array, x: &Array) -> Vec<f64> {
    let u: Array = Cpu::default().ones_like(&(BATCH, WIDTH));
    let states = [z.clone(), u];
    let job = |space: &mut dyn DifferentiableMap, slots: &[Slot]| {
        space.linearize(slots[0])?;
        let out = space.alloc()?;
        space.vjp(slots[1], out)?;
        space.vectors().read(out)
    };
    let found = equilibrium().inspect(&states, std::slice::from_ref(x), job);
    found.expect("it runs").concat()
}

#[test]
fn the_jacobian_at_the_injected_tensor_is_that_of_the_state_alone() {
    let x = matrix(BATCH, 3);
    let apart = relative_difference(&pulled(&x, &x), &pulled(&separate(x.clone()), &x));
    assert!(apart < 1e-14, "{apart:e}");
}

#[test]
fn a_penalty_at_the_injected_tensor_is_that_at_a_copy() {
    let x = matrix(BATCH, 3);
    let everything = |z: &Array| {
        let model = equilibrium();
        let penalty = model.penalty(z, std::slice::from_ref(&x), OwnedTape::default(), 7);
        let penalty = penalty.expect("it runs");
        let value = penalty.as_vec();
        let mut gradients = penalty.sum::<Rank0, _>().backward();
        let parameters = model.named().into_iter().map(|(_, parameter)| parameter);
        let found = parameters.chain([x.clone()]).flat_map(|tensor| {
            gradients.get_or_alloc_mut(&tensor).expect("memory");
            gradients.get(&tensor).as_vec()
        });
        value
            .into_iter()
            .chain(found.collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let apart = relative_difference(&everything(&x), &everything(&separate(x.clone())));
    assert!(apart < 1e-12, "{apart:e}");
}

/// f(z; x) = x leaves the injected tensor itself as the state, with J = 0: the gradient by x is that of z*, once.
#[test]
fn a_solution_that_is_the_injected_tensor_has_its_own_gradient() {
    let config = registry::default::<dyn LayerConfig>("identity").expect("registered");
    let request = LayerRequest {
        state: WIDTH,
        inputs: &[WIDTH],
        init: &mut Initializer::new(&Cpu::default(), 1),
    };
    let layer: AnyLayer<f64, Cpu> =
        <Cpu as Backend<f64>>::build::<Layers>(&*config, request).expect("it builds");
    let model = equilibrium().with_layer(StepOnly(layer));
    let x = matrix(BATCH, 3);
    let solved = model.forward(std::slice::from_ref(&x), OwnedTape::default());
    let solved = solved.expect("it runs");
    assert_eq!(to_host(&solved.z.retaped::<NoneTape>()), x.as_vec());
    let gradients = (solved.z * 3.0).sum::<Rank0, _>().backward();
    assert_eq!(gradients.get(&x).as_vec(), vec![3.0; BATCH * WIDTH]);
}

/// What dfdx refuses of one tensor, and what a layer without a hand-written kernel may do with an input.
#[test]
fn an_input_may_meet_itself_and_is_on_the_tape() {
    #[derive(Clone)]
    struct Square;
    impl Parameters<f64, Cpu> for Square {
        fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Array)) {}
        fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Array)) {}
    }
    impl ImplicitLayer<f64, Cpu> for Square {
        fn state_dim(&self) -> usize {
            WIDTH
        }
        fn input_dims(&self) -> Vec<usize> {
            vec![WIDTH]
        }
        fn step(&self, z: &Value<f64, Cpu>, x: &[Value<f64, Cpu>]) -> Result<Value<f64, Cpu>> {
            Ok(z * 0.5 + &x[0] * 0.5 + &x[0] * &x[0])
        }
    }
    let x = matrix(BATCH, 3);
    let model = equilibrium().with_layer(Square);
    let solved = model.forward(std::slice::from_ref(&x), OwnedTape::default());
    let gradients = solved.expect("it runs").z.sum::<Rank0, _>().backward();
    // z* = x + 2 x².
    let expected: Vec<f64> = x.as_vec().iter().map(|x| 1.0 + 4.0 * x).collect();
    let apart = relative_difference(&gradients.get(&x).as_vec(), &expected);
    assert!(apart < 1e-3, "{apart:e}");
}
