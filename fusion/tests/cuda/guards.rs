//! What devices are known to hide or to refuse.

use dfdx::prelude::*;
use equilibria_core::prelude::*;
use equilibria_core::serde_json::json;
use equilibria_core::{cuda, to_host, AnyLayer, Equilibrium, StepOnly};
use equilibria_testing::random_matrix;

use crate::solved::Solve;

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
        let solved = equilibrium(layer).forward(&[x.clone()], NoneTape);
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

/// Kernels of our own add up in a fixed order, not by atomic operations.
#[test]
fn solves_in_kernels_of_our_own_are_the_same_from_run_to_run() {
    let (device, layer) = block();
    let equilibrium = equilibrium(layer);
    let x = random_matrix(&device, (7, 12), 4).expect("memory");
    let solve = || {
        let solved = equilibrium.forward(&[x.clone()], NoneTape);
        to_host(&solved.expect("it runs").z)
    };
    let (first, second) = (solve(), solve());
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&first), bits(&second));
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
