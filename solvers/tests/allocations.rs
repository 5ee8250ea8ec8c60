//! No solver allocates in the steady state: a solve twice as long allocates as often.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use equilibria_core::plumbing::SliceSpace;
use equilibria_core::prelude::*;
use equilibria_solvers as _;
use equilibria_testing::random_values;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator as it is; the counter needs no allocation.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        System.alloc(layout)
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        System.dealloc(pointer, layout);
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        System.realloc(pointer, layout, size)
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DIM: usize = 24;
const BATCH: usize = 8;

/// f(z) = cos(D z + x) with a diagonal D: smooth, never solved exactly, nothing on the heap.
struct Cosine {
    slopes: Vec<f64>,
}

impl Cosine {
    /// D z + x.
    fn phases<'p>(&'p self, x: &'p [f64], z: &'p [f64]) -> impl Iterator<Item = (f64, f64)> + 'p {
        let slopes = self.slopes.iter().cycle().zip(z.iter().zip(x));
        slopes.map(|(slope, (z, x))| (*slope, slope * z + x))
    }
}

impl RowMap<f64> for Cosine {
    fn record(&self) -> Vec<usize> {
        vec![DIM]
    }
    fn apply(&self, x: &[&[f64]], z: &[f64], out: &mut [f64], _: &mut Scratch<f64>) {
        let numbers = out.iter_mut().zip(self.phases(x[0], z));
        numbers.for_each(|(out, (_, phase))| *out = phase.cos());
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
    fn vjp(&self, _: &[&[f64]], _: &[&[f64]], _: &[f64], _: &mut [f64], _: &mut Scratch<f64>) {}
    fn pull_back(
        &self,
        _: &[&[f64]],
        _: &[&[f64]],
        _: &[f64],
        _: &mut RowGradients<f64>,
        _: &mut Scratch<f64>,
    ) {
    }
    fn tangents(&self) -> Option<&dyn Tangents<f64>> {
        Some(self)
    }
}

impl Tangents<f64> for Cosine {
    fn jvp(
        &self,
        x: &[&[f64]],
        record: &[&[f64]],
        v: &[f64],
        out: &mut [f64],
        _: &mut Scratch<f64>,
    ) {
        let numbers = out.iter_mut().zip(v).zip(self.phases(x[0], record[0]));
        numbers.for_each(|((out, v), (slope, phase))| *out = -slope * phase.sin() * v);
    }
    fn pull_back_tangent(
        &self,
        _: &[&[f64]],
        _: &[&[f64]],
        _: &[f64],
        _: [&[f64]; 2],
        _: &mut RowGradients<f64>,
        _: &mut Scratch<f64>,
    ) {
    }
}

/// Allocations of a solve of this many evaluations that nothing else ends.
fn allocations(solver: &dyn FixedPointSolver, evaluations: usize) -> usize {
    let map = Arc::new(Cosine {
        slopes: random_values(DIM, 1)
            .iter()
            .map(|v| 0.95 * v.tanh())
            .collect(),
    });
    let x: Vec<f64> = (0..BATCH * DIM).map(|i| (i / DIM) as f64).collect();
    let mut space = SliceSpace::new(map, DIM, 0..BATCH, &[&x], RowGradients::default());
    let z = space.alloc().expect("memory");
    let stop = Stop {
        max_evaluations: evaluations,
        patience: evaluations,
        ..Stop::at(Tolerance::absolute(0.0))
    };
    let before = ALLOCATIONS.with(Cell::get);
    let report = solve(solver, &mut space, z, &stop).expect("a solve");
    let after = ALLOCATIONS.with(Cell::get);
    assert!(report.max_evaluations() >= evaluations, "{report:?}");
    after - before
}

#[test]
fn the_steady_state_does_not_allocate() {
    for plugin in registry::of_kind("solver").expect("linked") {
        let solver = registry::make::<dyn FixedPointSolver>(&plugin.default).expect("defaults");
        let [short, long] = [150, 600].map(|count| allocations(&*solver, count));
        assert!(short > 0, "the counter counts");
        assert_eq!(short, long, "{}", plugin.name);
    }
}
