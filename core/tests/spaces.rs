//! The two spaces offer the same operations with the same results.

use equilibria_core::dfdx::prelude::*;
use equilibria_core::plumbing::{SliceSpace, TensorSpace};
use equilibria_core::prelude::*;
use equilibria_core::to_host;
use equilibria_testing::{check_row_map, random_matrix, AffineMap};

const BATCH: usize = 5;
const DIM: usize = 2;

/// Runs a check in both spaces.
fn in_both(check: impl Fn(&mut dyn Map)) {
    let device = Cpu::default();
    let map: AffineMap<f64, Cpu> = AffineMap::new(&device, &[0.5, 0.2], 1).expect("a map");
    let x = [random_matrix(&device, (BATCH, DIM), 2).expect("inputs")];
    let rows = map.row_map().expect("it has one");
    let (on_host, none) = (to_host(&x[0]), RowGradients::default());
    let mut slices = SliceSpace::new(rows, DIM, 0..BATCH, &[&on_host], none);
    check(&mut slices);
    check(&mut TensorSpace::new(&map, device, &x, BATCH));
}

fn slot(space: &mut dyn Map, values: &[f64]) -> Slot {
    let slot = space.alloc().expect("memory");
    space.vectors_mut().write(slot, values).expect("it fits");
    slot
}

/// Equal to the last bit; NaN equals NaN.
fn assert_same(a: &[f64], b: &[f64]) {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(a), bits(b), "{a:?} is not {b:?}");
}

const COUNT: [f64; 10] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];

#[test]
fn combinations_may_differ_per_sample_and_overwrite_a_term() {
    in_both(|space| {
        let (a, b) = (slot(space, &COUNT), slot(space, &[1.0; 10]));
        let c = [0.0, 1.0, 2.0, 3.0, 4.0];
        let terms = [(Coef::Same(2.0), a), (Coef::PerSample(&c), b)];
        space.combine(a, &terms).expect("memory");
        let expected = [0.0, 2.0, 5.0, 7.0, 10.0, 12.0, 15.0, 17.0, 20.0, 22.0];
        assert_same(&space.vectors().read(a).expect("host"), &expected);
        space.combine(a, &[]).expect("memory");
        assert_same(&space.vectors().read(a).expect("host"), &[0.0; 10]);
    });
}

#[test]
fn inner_products_are_per_sample() {
    in_both(|space| {
        let (a, b) = (slot(space, &COUNT), slot(space, &[1.0; 10]));
        let mut out = [f64::NAN; 10];
        space.dots(a, &[a, b], &mut out).expect("host");
        assert_same(
            &out,
            &[1.0, 1.0, 13.0, 5.0, 41.0, 9.0, 85.0, 13.0, 145.0, 17.0],
        );
    });
}

#[test]
fn rows_are_selected_not_multiplied() {
    in_both(|space| {
        let mut bad = COUNT;
        bad[2] = f64::NAN;
        let (from, to) = (slot(space, &bad), slot(space, &[-1.0; 10]));
        space.copy_rows(from, to, &[0, 3]).expect("memory");
        let expected = [0.0, 1.0, -1.0, -1.0, -1.0, -1.0, 6.0, 7.0, -1.0, -1.0];
        assert_same(&space.vectors().read(to).expect("host"), &expected);
        space.copy_rows(from, to, &[]).expect("memory");
        assert_same(&space.vectors().read(to).expect("host"), &expected);
        space.copy_rows(from, to, &[0, 1, 2, 3, 4]).expect("memory");
        assert_same(&space.vectors().read(to).expect("host"), &bad);
    });
}

#[test]
fn rows_that_are_done_are_left_alone_and_come_back() {
    in_both(|space| {
        let a = slot(space, &COUNT);
        // Samples 1 and 3 are done: the order is 0, 4, 2, 3, 1.
        space.vectors_mut().permute(&[(1, 4)], 3).expect("memory");
        assert_eq!(space.batch(), 3);
        assert_same(
            &space.vectors().read(a).expect("host"),
            &[0.0, 1.0, 8.0, 9.0, 4.0, 5.0],
        );
        space.combine(a, &[(Coef::Same(-1.0), a)]).expect("memory");
        // A slot made meanwhile has room for all.
        let late = slot(space, &[7.0; 6]);
        // Then all others.
        space.vectors_mut().permute(&[], 0).expect("memory");
        assert_eq!(space.batch(), 0);
        space
            .vectors_mut()
            .permute(&[(1, 4)], BATCH)
            .expect("memory");
        let expected = [0.0, -1.0, 2.0, 3.0, -4.0, -5.0, 6.0, 7.0, -8.0, -9.0];
        assert_eq!(space.vectors().read(a).expect("host").len(), 10);
        for (got, expected) in space.vectors().read(a).expect("host").iter().zip(expected) {
            assert!((got - expected).abs() == 0.0, "{got} is not {expected}");
        }
        let late = space.vectors().read(late).expect("host");
        assert_eq!(late.len(), 10);
        assert_same(&late[..2], &[7.0; 2]);
        assert_same(&late[4..6], &[7.0; 2]);
    });
}

#[test]
fn random_numbers_belong_to_samples() {
    let seen = std::cell::RefCell::new(Vec::new());
    in_both(|space| {
        let a = slot(space, &COUNT);
        space.fill_normal(a, 3).expect("memory");
        let all = space.vectors().read(a).expect("host");
        space
            .vectors_mut()
            .permute(&[(1, 4), (0, 2)], 3)
            .expect("memory");
        space.fill_normal(a, 3).expect("memory");
        let active = space.vectors().read(a).expect("host");
        let row = |sample: usize| all[sample * DIM..][..DIM].to_vec();
        assert_same(&active, &[row(2), row(4), row(0)].concat());
        space.fill_normal(a, 4).expect("memory");
        let other = space.vectors().read(a).expect("host");
        assert!(other.iter().zip(&active).all(|(a, b)| (a - b).abs() > 0.0));
        seen.borrow_mut().push(all);
    });
    let seen = seen.into_inner();
    assert_same(&seen[0], &seen[1]);
}

/// Exact on slices, a difference over tensors. The map is affine: J v = f(v) − f(0).
#[test]
fn products_with_the_jacobian_agree() {
    in_both(|space| {
        let (z, v) = (slot(space, &COUNT), slot(space, &[0.5; 10]));
        let [zero, product, expected] = [(); 3].map(|()| slot(space, &[0.0; 10]));
        space.linearize(z).expect("a point");
        space.jvp(v, product).expect("a product");
        space.apply(zero, expected).expect("a value");
        space.apply(v, zero).expect("a value");
        let terms = [(Coef::Same(1.0), zero), (Coef::Same(-1.0), expected)];
        space.combine(expected, &terms).expect("memory");
        let expected = space.vectors().read(expected).expect("host");
        for (a, b) in space
            .vectors()
            .read(product)
            .expect("host")
            .iter()
            .zip(&expected)
        {
            // Rounding of f, some 1e-15 for states up to 10, over a step of ∛ε · ‖z‖ / ‖v‖ > 6e-6.
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    });
}

#[test]
fn the_affine_map_in_rows_agrees_with_its_step() {
    let device = Cpu::default();
    let map: AffineMap<f64, Cpu> = AffineMap::new(&device, &[0.9, -0.5, 0.2], 1).expect("a map");
    let z = random_matrix(&device, (7, 3), 2).expect("a state");
    let x = [random_matrix(&device, (7, 3), 3).expect("inputs")];
    let difference = check_row_map(&map, &z, &x).expect("both work");
    // Sums of at most 14 products, ε = 2e-16 each.
    assert!(difference.is_some_and(|d| d < 1e-14), "{difference:?}");
}

/// A slot that is given back with NaN in it, even of a sample that has left, comes back as zeros.
#[test]
fn recycled_slots_hold_zeros() {
    in_both(|space| {
        let a = slot(space, &[f64::NAN; 10]);
        space.vectors_mut().permute(&[(0, 4)], 3).expect("memory");
        space.release(a);
        let b = space.alloc().expect("memory");
        space.vectors_mut().permute(&[(0, 4)], 5).expect("memory");
        assert_same(&space.vectors().read(b).expect("host"), &[0.0; 10]);
    });
}

/// One tensor as two inputs has the sum of two gradients, once.
#[test]
fn a_tensor_used_twice_has_one_gradient() {
    #[derive(Clone)]
    struct Sum;

    impl Parameters<f64, Cpu> for Sum {
        fn visit(&self, _: &str, _: &mut dyn FnMut(&str, &Matrix<f64, Cpu>)) {}
        fn visit_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, &mut Matrix<f64, Cpu>)) {}
    }

    impl ImplicitLayer<f64, Cpu> for Sum {
        fn state_dim(&self) -> usize {
            DIM
        }
        fn input_dims(&self) -> Vec<usize> {
            vec![DIM; 2]
        }
        fn step(&self, z: &Value<f64, Cpu>, x: &[Value<f64, Cpu>]) -> Result<Value<f64, Cpu>> {
            Ok(z * 0.5 + &x[0] + &x[1])
        }
    }

    let device = Cpu::default();
    let x: Matrix<f64, Cpu> = random_matrix(&device, (BATCH, DIM), 2).expect("inputs");
    let inputs = [x.clone(), x.clone()];
    let mut space = TensorSpace::new(&Sum, device, &inputs, BATCH);
    let u = slot(&mut space, &COUNT);
    space.linearize(u).expect("memory");
    space.pull_back(u).expect("memory");
    let gradients = space.into_gradients().inputs;
    let total: Vec<f64> = (0..10)
        .map(|i| gradients.iter().flatten().map(|g| g.as_vec()[i]).sum())
        .collect();
    let expected: Vec<f64> = COUNT.iter().map(|u| 2.0 * u).collect();
    assert_same(&total, &expected);
}
