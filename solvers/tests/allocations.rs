//! No solver allocates in the steady state: a solve twice as long allocates as often.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

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
    point: Vec<f64>,
}

impl KernelBlock<f64> for Cosine {
    fn apply(&mut self, z: &[f64], out: &mut [f64]) {
        for (i, (z, out)) in z.iter().zip(out).enumerate() {
            *out = (self.slopes[i % DIM] * z + (i / DIM) as f64).cos();
        }
    }
    fn linearize(&mut self, z: &[f64], out: &mut [f64]) {
        self.point[..z.len()].copy_from_slice(z);
        self.apply(z, out);
    }
    fn jvp(&mut self, v: &[f64], out: &mut [f64]) -> bool {
        for (i, (v, out)) in v.iter().zip(out).enumerate() {
            let slope = self.slopes[i % DIM];
            *out = -slope * (slope * self.point[i] + (i / DIM) as f64).sin() * v;
        }
        true
    }
    fn vjp(&mut self, _: &[f64], _: &mut [f64]) {}
    fn pull_back(&mut self, _: &[f64], _: &mut KernelGradients<f64>) {}
    fn swap_rows(&mut self, a: usize, b: usize) {
        equilibria_core::kernel::swap_rows(&mut self.point, DIM, a, b);
    }
}

/// Allocations of a solve of this many evaluations that nothing else ends.
fn allocations(solver: &dyn FixedPointSolver, evaluations: usize) -> usize {
    let kernel = Cosine {
        slopes: random_values(DIM, 1)
            .iter()
            .map(|v| 0.95 * v.tanh())
            .collect(),
        point: vec![0.0; BATCH * DIM],
    };
    let gradients = KernelGradients::default();
    let mut space = SliceSpace::new(Box::new(kernel), DIM, 0..BATCH, gradients);
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
