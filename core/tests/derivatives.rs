//! Derivatives always work: where a map has nothing exact, a difference is taken at the point it was linearized at.

use std::sync::Arc;

use equilibria_core::dfdx::prelude::*;
use equilibria_core::plumbing::{SliceSpace, TensorSpace};
use equilibria_core::prelude::*;
use equilibria_core::to_host;

const ROWS: usize = 3;
const Z: [f64; ROWS] = [1.0, -2.0, 3.0];
const X: [f64; ROWS] = [0.5, 1.5, -1.0];

/// f(z; x) = x z² / 2, so that J v = x z v and ∂⟨p, J v⟩/∂x = p z v. Its differences are exact but for rounding.
struct Square;

impl RowMap<f64> for Square {
    fn record(&self) -> Vec<usize> {
        vec![1]
    }

    fn apply(&self, x: &[&[f64]], z: &[f64], out: &mut [f64], _: &mut Scratch<f64>) {
        let rows = out.iter_mut().zip(z).zip(x[0]);
        rows.for_each(|((out, z), x)| *out = x * z * z / 2.0);
    }

    fn linearize(
        &self,
        x: &[&[f64]],
        z: &[f64],
        out: &mut [f64],
        record: &mut [&mut [f64]],
        scratch: &mut Scratch<f64>,
    ) {
        record[0].copy_from_slice(z);
        self.apply(x, z, out, scratch);
    }

    fn vjp(
        &self,
        x: &[&[f64]],
        record: &[&[f64]],
        u: &[f64],
        out: &mut [f64],
        _: &mut Scratch<f64>,
    ) {
        let rows = out.iter_mut().zip(u).zip(x[0].iter().zip(record[0]));
        rows.for_each(|((out, u), (x, z))| *out = x * z * u);
    }

    fn pull_back(
        &self,
        _: &[&[f64]],
        record: &[&[f64]],
        u: &[f64],
        gradients: &mut RowGradients<f64>,
        _: &mut Scratch<f64>,
    ) {
        let rows = gradients.inputs[0].iter_mut().zip(u).zip(record[0]);
        rows.for_each(|((sum, u), z)| *sum += u * z * z / 2.0);
    }
}

/// The same map for tensors.
#[derive(Clone)]
struct SquareLayer;

impl Parameters<f64, Cpu> for SquareLayer {
    fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {}
    fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {}
}

impl ImplicitLayer<f64, Cpu> for SquareLayer {
    fn state_dim(&self) -> usize {
        1
    }

    fn input_dims(&self) -> Vec<usize> {
        vec![1]
    }

    fn step(&self, z: &Value<f64, Cpu>, x: &[Value<f64, Cpu>]) -> Result<Value<f64, Cpu>> {
        Ok(z * z * 0.5 * &x[0])
    }
}

/// Runs a check in both spaces; returns what was pulled back to x.
fn in_both(check: impl Fn(&mut dyn DifferentiableMap)) -> [Vec<f64>; 2] {
    let gradients = RowGradients::zeros([], [1], ROWS);
    let mut slices = SliceSpace::new(Arc::new(Square), 1, 0..ROWS, &[&X], gradients);
    check(&mut slices);
    let device = Cpu::default();
    let x = [device.tensor_from_vec(X.to_vec(), (ROWS, 1))];
    let mut tensors = TensorSpace::new(&SquareLayer, device, &x, ROWS);
    check(&mut tensors);
    let of_tensors = tensors.into_gradients().inputs.remove(0);
    [
        slices.into_gradients().inputs.remove(0),
        of_tensors.map_or_else(|| vec![0.0; ROWS], |x| to_host(&x)),
    ]
}

fn slot(space: &mut dyn DifferentiableMap, values: &[f64]) -> Slot {
    let slot = space.alloc().expect("memory");
    space.vectors_mut().write(slot, values).expect("it fits");
    slot
}

fn assert_near(got: &[f64], expected: [f64; ROWS], tolerance: f64) {
    assert_eq!(got.len(), ROWS);
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (got - expected).abs() < tolerance,
            "{got} is not {expected}"
        );
    }
}

/// Rounding of values up to 5, ε each, over steps ∛ε = 6e-6 or longer.
const PRODUCT: f64 = 1e-9;

#[test]
fn products_are_those_at_the_point_whatever_becomes_of_its_slot() {
    in_both(|space| {
        let (z, v) = (slot(space, &Z), slot(space, &[2.0, 0.0, -1.0]));
        space.linearize(z).expect("a point");
        space.vectors_mut().write(z, &[9.0; ROWS]).expect("it fits");
        let out = slot(space, &[f64::NAN; ROWS]);
        assert_eq!(space.jvp(v, out).expect("a product"), 2);
        let product = space.vectors().read(out).expect("host");
        assert_near(&product, [1.0, 0.0, 3.0], PRODUCT);
        // In place as well.
        space.jvp(v, v).expect("a product");
        assert_near(
            &space.vectors().read(v).expect("host"),
            [1.0, 0.0, 3.0],
            PRODUCT,
        );
        // The difference has moved nothing.
        let ones = slot(space, &[1.0; ROWS]);
        space.vjp(ones, out).expect("a product");
        let product = space.vectors().read(out).expect("host");
        assert_near(&product, [0.5, -3.0, -3.0], 1e-14);
        assert_eq!(space.vectors().held(), 4, "z, v, out, ones");
    });
}

#[test]
fn products_follow_their_rows() {
    in_both(|space| {
        let (z, ones) = (slot(space, &Z), slot(space, &[1.0; ROWS]));
        let out = slot(space, &[0.0; ROWS]);
        space.linearize(z).expect("a point");
        space.release(z);
        space.vectors_mut().permute(&[(0, 2)], 2).expect("memory");
        assert_eq!(space.vectors().samples(), [2, 1, 0]);
        space.jvp(ones, out).expect("a product");
        let product = space.vectors().read(out).expect("host");
        assert!((product[0] + 3.0).abs() < PRODUCT && (product[1] + 3.0).abs() < PRODUCT);
        space
            .vectors_mut()
            .permute(&[(0, 2)], ROWS)
            .expect("memory");
        space.jvp(ones, out).expect("a product");
        let product = space.vectors().read(out).expect("host");
        assert_near(&product, [0.5, -3.0, -3.0], PRODUCT);
    });
}

#[test]
fn gradients_of_products_leave_the_point_where_it_is() {
    let pulled = in_both(|space| {
        let (z, p) = (slot(space, &Z), slot(space, &[1.0, 2.0, 3.0]));
        let (v, out) = (slot(space, &[0.5, -1.0, 0.0]), slot(space, &[0.0; ROWS]));
        space.linearize(z).expect("a point");
        space.vectors_mut().write(z, &[9.0; ROWS]).expect("it fits");
        let factors = [1.0, 0.5, 1.0];
        let pulled = space.pull_back_tangent(p, v, &factors, 1e-3);
        pulled.expect("gradients");
        let ones = slot(space, &[1.0; ROWS]);
        space.vjp(ones, out).expect("a product");
        let product = space.vectors().read(out).expect("host");
        assert_near(&product, [0.5, -3.0, -3.0], 1e-14);
        assert_eq!(space.vectors().held(), 5, "z, p, v, out, ones");
    });
    for pulled in pulled {
        // c p z v; rounding of values up to 5 over steps of 1e-3.
        assert_near(&pulled, [0.5, 2.0, 0.0], 1e-11);
    }
}

#[test]
fn derivatives_without_a_point_are_an_error() {
    in_both(|space| {
        let (v, out) = (slot(space, &Z), slot(space, &Z));
        let message = |error: Error| error.to_string();
        let expected = "the point of linearization is missing; call `linearize` first";
        let product = space.jvp(v, out).expect_err("no point");
        assert_eq!(message(product), expected);
        let gradients = space
            .pull_back_tangent(v, v, &X, 1.0)
            .expect_err("no point");
        assert_eq!(message(gradients), expected);
    });
}
