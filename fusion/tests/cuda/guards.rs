//! What devices are known to hide or to refuse.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::json;
use equilibria_core::{cuda, to_host, AnyLayer, Equilibrium, StepOnly};
use equilibria_testing::{random_matrix, relative_difference, run_backwards};

use crate::solved::Solve;
use crate::trained::{Optimized, Stabilized, Train};
use crate::{Numbers, Work};

fn block() -> (Cuda, AnyLayer<f64, Cuda>) {
    let device = cuda::open(0).expect("a device");
    let solve = Solve {
        layer: json!({ "type": "residual-block" }),
        ..Solve::default()
    };
    let layer = solve.layer::<f64, _>(&device);
    (device, layer)
}

fn equilibrium<L>(layer: L) -> Equilibrium<L> {
    let solver = equilibria_fusion::layers::solvers::solver("anderson").expect("known");
    let backward = equilibria_fusion::layers::solvers::backward("implicit").expect("known");
    let mut equilibrium = Equilibrium::new(layer, solver, backward);
    equilibrium.stop.on_unconverged = OnUnconverged::Accept;
    equilibrium
}

/// dfdx's ReLU makes 0 of NaN on CUDA, and would make a solution of it.
#[test]
fn nan_inside_a_layer_is_no_solution() {
    fn statuses<L: ImplicitLayer<f64, Cuda>>(layer: L, x: &Matrix<f64, Cuda>) -> Vec<Status> {
        let solved = equilibrium(layer).forward(std::slice::from_ref(x), NoneTape);
        let samples = solved.expect("it runs").report.samples;
        samples.iter().map(|sample| sample.status).collect()
    }
    let (device, whole) = block();
    let x = random_matrix(&device, (3, 12), 4).expect("memory");
    for index in 0..whole.named().len() {
        let (mut layer, mut number) = (whole.clone(), 0);
        layer.visit_mut("", &mut |_, tensor| {
            if number == index {
                let mut values = to_host(tensor);
                values[0] = f64::NAN;
                <Cuda as Backend<f64>>::overwrite(tensor, &values).expect("memory");
            }
            number += 1;
        });
        assert_eq!(statuses(layer.clone(), &x), [Status::NonFinite; 3]);
        assert_eq!(statuses(StepOnly(layer), &x), [Status::NonFinite; 3]);
    }
}

#[test]
fn inputs_that_are_not_finite_are_named() {
    let (device, layer) = block();
    let mut values = vec![0.5; 3 * 12];
    values[2 * 12 + 5] = f64::INFINITY;
    let x: Matrix<f64, Cuda> = device.tensor_from_vec(values, (3, 12));
    let error = equilibrium(layer).forward(&[x], NoneTape).err();
    let message = error.expect("refused").to_string();
    assert!(message.ends_with("at row 3, column 6"), "{message}");
}

/// An empty launch is an error on a device.
#[test]
fn nothing_to_do_is_no_launch() {
    let (device, layer) = block();
    let x: Matrix<f64, Cuda> = device.zeros_like(&(0, 12));
    let error = equilibrium(layer).forward(&[x], NoneTape).err();
    assert!(matches!(error, Some(Error::Shape { .. })), "{error:?}");
    let table: Matrix<f64, Cuda> = device.zeros_like(&(2, 12));
    let on_device = <Cuda as Backend<f64>>::on_device().expect("CUDA");
    let none = on_device.gather_rows(&table, &[]).expect("nothing to do");
    assert_eq!(*none.shape(), (0, 12));
}

/// The stand-in runs from the last thread to the first, until this is dropped; for one test at a time.
struct Backwards(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Backwards {
    fn start() -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        run_backwards(true).then_some(Self(turn))
    }
}

impl Drop for Backwards {
    fn drop(&mut self) {
        run_backwards(false);
    }
}

/// Where a barrier is missing, who comes first matters; where atomic operations add up, it does to the last digits.
#[test]
fn the_order_of_blocks_and_threads_does_not_matter() {
    let device = cuda::open(0).expect("a device");
    let mut solve = Solve {
        layer: json!({ "type": "residual-block" }),
        regularizer: Some(json!({ "type": "jacobian" })),
        ..Solve::default()
    };
    let compare = |what: &str, work: &dyn Fn() -> Numbers| {
        let forwards = work();
        let Some(_backwards) = Backwards::start() else {
            return;
        };
        for ((name, forwards), (_, backwards)) in forwards.iter().zip(work()) {
            let difference = relative_difference(&backwards, forwards);
            assert!(difference < 1e-10, "{what}, {name}: {difference:e}");
        }
    };
    compare("a solve", &|| solve.on::<f64, _>(&device));
    solve.layer = json!({ "type": "transformer" });
    compare("attention", &|| solve.on::<f64, _>(&device));
    solve.step_only = true;
    compare("a layer in dfdx operations", &|| {
        solve.on::<f64, _>(&device)
    });
    for name in ["spectral-norm", "row-sum", "weight-norm"] {
        let stabilized = Stabilized(json!({ "type": name }));
        compare(name, &|| stabilized.on::<f64, _>(&device));
    }
    let optimized = Optimized(json!({ "type": "adam" }));
    compare("an optimizer", &|| optimized.on::<f64, _>(&device));
    let train = Train::default();
    compare("training", &|| train.on::<f64, _>(&device));
}

/// Kernels of our own add up in a fixed order, not by atomic operations.
#[test]
fn solves_in_kernels_of_our_own_are_the_same_from_run_to_run() {
    let (device, layer) = block();
    let equilibrium = equilibrium(layer);
    let x = random_matrix(&device, (7, 12), 4).expect("memory");
    let solve = || {
        let solved = equilibrium.forward(std::slice::from_ref(&x), NoneTape);
        to_host(&solved.expect("it runs").z)
    };
    let first = solve();
    let backwards = Backwards::start();
    let second = solve();
    drop(backwards);
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&first), bits(&second));
}

/// A launch runs in one order from beginning to end, whatever other tests ask for meanwhile: else some of its threads would run twice
/// and others never.
#[test]
fn the_order_of_a_launch_does_not_change_within_it() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let device = cuda::open(0).expect("a device");
    let x: Matrix<f64, Cuda> = random_matrix(&device, (200, 200), 4).expect("memory");
    let squares = || x.clone().square().as_vec();
    let expected = squares();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                drop(Backwards::start());
            }
        });
        let same = (0..200).all(|_| squares() == expected);
        ended.store(true, Ordering::Relaxed);
        assert!(same);
    });
}

/// A row that is not finite is not kept; new rows are 0.
#[test]
fn rows_by_number() {
    let (device, _) = block();
    let on_device = <Cuda as Backend<f64>>::on_device().expect("CUDA");
    let from: Matrix<f64, Cuda> =
        device.tensor_from_vec(vec![1.0, 2.0, 3.0, f64::NAN, 5.0, 6.0], (3, 2));
    let mut to: Matrix<f64, Cuda> = device.zeros_like(&(4, 2));
    let scattered = on_device.scatter_rows(&from, &[3, 1, 0], &mut to);
    scattered.expect("memory");
    assert_eq!(to.as_vec(), [5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
    let back = on_device.gather_rows(&to, &[3, 9, 0]).expect("memory");
    assert_eq!(back.as_vec(), [1.0, 2.0, 0.0, 0.0, 5.0, 6.0]);
}
