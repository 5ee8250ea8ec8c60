//! Derivatives are those at the point that was linearized last, whatever has become of its slot since an earlier one.

use std::sync::Arc;

use equilibria_core::plumbing::SliceSpace;
use equilibria_core::prelude::*;

const ROWS: usize = 3;

/// f(z) = z² / 2 for every number, so that Jᵀu = z ⊙ u.
struct Square;

impl RowMap<f64> for Square {
    fn record(&self) -> Vec<usize> {
        vec![1]
    }

    fn apply(&self, _: &[&[f64]], z: &[f64], out: &mut [f64], _: &mut Scratch<f64>) {
        let numbers = out.iter_mut().zip(z);
        numbers.for_each(|(out, z)| *out = z * z / 2.0);
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
        _: &[&[f64]],
        record: &[&[f64]],
        u: &[f64],
        out: &mut [f64],
        _: &mut Scratch<f64>,
    ) {
        let factors = record[0].iter().zip(u);
        (out.iter_mut().zip(factors)).for_each(|(out, (z, u))| *out = z * u);
    }

    fn pull_back(
        &self,
        _: &[&[f64]],
        _: &[&[f64]],
        _: &[f64],
        _: &mut RowGradients<f64>,
        _: &mut Scratch<f64>,
    ) {
    }
}

fn space() -> (SliceSpace<f64>, [Slot; 3]) {
    let (map, none) = (Arc::new(Square), RowGradients::default());
    let mut space = SliceSpace::new(map, 1, 0..ROWS, &[], none);
    let slots = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [1.0; 3]].map(|values| {
        let slot = space.alloc().expect("memory");
        space.vectors_mut().write(slot, &values).expect("it fits");
        slot
    });
    (space, slots)
}

/// Linearizes at the contents of `z` and compares the product of ones with them.
fn check(space: &mut SliceSpace<f64>, z: Slot, ones: Slot, after: &str) {
    space.linearize(z).expect("a point");
    let product = space.alloc().expect("memory");
    space.vjp(ones, product).expect("a product");
    let point = space.vectors().read(z).expect("host");
    assert_eq!(
        space.vectors().read(product).expect("host"),
        point,
        "after {after}"
    );
    space.release(product);
}

type Write = fn(&mut SliceSpace<f64>, Slot, Slot) -> Result<()>;

#[test]
fn whatever_writes_to_the_point_makes_it_another_one() {
    let writes: [(&str, Write); 10] = [
        ("apply", |space, z, other| space.apply(other, z)),
        ("write", |space, z, _| {
            space.vectors_mut().write(z, &[7.0, 8.0, 9.0])
        }),
        ("difference", |space, z, other| {
            let [mut squares, mut lengths] = [[0.0; ROWS]; 2];
            let store = space.vectors_mut();
            store.difference(other, z, z, &mut squares, &mut lengths)
        }),
        ("combine", |space, z, other| {
            space.combine(z, &[(Coef::Same(2.0), other)])
        }),
        ("combine in place", |space, z, other| {
            space.combine(z, &[(Coef::Same(1.0), z), (Coef::Same(1.0), other)])
        }),
        ("copy_rows", |space, z, other| {
            space.copy_rows(other, z, &[1])
        }),
        ("fill_normal", |space, z, _| space.fill_normal(z, 7)),
        ("state_mut", |space, z, _| {
            space.state_mut(z).fill(9.0);
            Ok(())
        }),
        ("jvp", |space, z, other| space.jvp(other, z).map(|_| ())),
        ("vjp", |space, z, other| space.vjp(other, z)),
    ];
    for (name, write) in writes {
        let (mut space, [z, other, ones]) = space();
        check(&mut space, z, ones, "nothing");
        write(&mut space, z, other).expect(name);
        assert_ne!(
            space.vectors().read(z).expect("host"),
            [1.0, 2.0, 3.0],
            "{name}"
        );
        check(&mut space, z, ones, name);
    }
}

#[test]
fn a_slot_in_use_again_is_another_point() {
    let (mut space, [z, _, ones]) = space();
    check(&mut space, z, ones, "nothing");
    space.release(z);
    let again = space.alloc().expect("memory");
    assert_eq!(again, z);
    check(&mut space, again, ones, "its release");
}

#[test]
fn rows_may_leave_and_come_back() {
    let (mut space, [z, other, ones]) = space();
    check(&mut space, z, ones, "nothing");
    space.vectors_mut().permute(&[(0, 2)], 2).expect("memory");
    check(&mut space, z, ones, "one has left");
    check(
        &mut space,
        other,
        ones,
        "another point of those that are left",
    );
    space
        .vectors_mut()
        .permute(&[(0, 2)], ROWS)
        .expect("memory");
    check(&mut space, other, ones, "all are back");
    check(&mut space, z, ones, "all are back");
}
