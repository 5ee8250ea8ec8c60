//! No map allocates once it has run: what a solve repeats costs no memory, and so neither do more steps.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dfdx::prelude::Cpu;
use equilibria_core::plumbing::SliceSpace;
use equilibria_core::prelude::*;
use equilibria_core::{to_host, AnyLayer};
use equilibria_fusion::deq::{FuseBlock, JointLayer};
use equilibria_fusion::layers::modules::{GroupNorm, Linear};
use equilibria_fusion::layers::plugins::residual_block::ResidualBlock;
use equilibria_fusion::layers::{Initializer, Masked};
use equilibria_testing::random_matrix;

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

const WIDTH: usize = 16;
const BATCH: usize = 14;

fn random(columns: usize, seed: u64) -> Matrix<f32, Cpu> {
    random_matrix(&Cpu::default(), (BATCH, columns), seed).expect("a matrix")
}

fn residual(skip: bool, init: &mut Initializer<Cpu>) -> ResidualBlock<f32, Cpu> {
    let mut norm = || GroupNorm::new(WIDTH, 4, init).expect("4 divides 16");
    let (gn1, gn2, gn3) = (norm(), norm(), norm());
    let mut linear = || Linear::normal(WIDTH, WIDTH, 0.1, init).expect("memory");
    ResidualBlock {
        hat: linear(),
        tilde: linear(),
        gn1,
        gn2,
        gn3,
        skip,
        tokens: 1,
    }
}

/// Allocations of everything a solve repeats, the third time.
fn third_time<L: ImplicitLayer<f32, Cpu>>(layer: &L) -> usize {
    let dims = layer.input_dims();
    let x: Vec<_> = dims.iter().map(|&dim| random(dim, 1)).collect();
    let on_host: Vec<Vec<f32>> = x.iter().map(to_host).collect();
    let inputs: Vec<&[f32]> = on_host.iter().map(Vec::as_slice).collect();
    let (map, none) = (
        layer.row_map().expect("it has one"),
        RowGradients::default(),
    );
    let mut space = SliceSpace::new(map, layer.state_dim(), 0..BATCH, &inputs, none);
    let [z, out] = [(); 2].map(|()| space.alloc().expect("memory"));
    let values = to_host(&random(layer.state_dim(), 2));
    space.state_mut(z).copy_from_slice(&values);
    let mut all = || -> Result<()> {
        // Some rows leave and come back.
        for batch in [5, BATCH] {
            space.vectors_mut().permute(&[(0, BATCH - 1)], batch)?;
            space.apply(z, out)?;
            space.linearize(z)?;
            space.jvp(z, out)?;
            space.vjp(z, out)?;
        }
        // Another point, so that the next linearization has something to do.
        space.combine(z, &[(Coef::Same(0.5), z)])
    };
    all().expect("it runs");
    all().expect("it runs");
    let before = ALLOCATIONS.with(Cell::get);
    all().expect("it runs");
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn maps_allocate_once() {
    let device = Cpu::default();
    let init = &mut Initializer::new(&device, 0);
    let fuse = FuseBlock::new(WIDTH, 2, 4, 0.1, init).expect("memory");
    let layers = [
        ("residual block", AnyLayer::new(residual(false, init))),
        ("with skip", AnyLayer::new(residual(true, init))),
        ("masked", AnyLayer::new(Masked(residual(false, init)))),
        ("f_fuse", AnyLayer::new(fuse.clone())),
        (
            "joint",
            AnyLayer::new(JointLayer {
                theta: (0..2)
                    .map(|_| AnyLayer::new(residual(false, init)))
                    .collect(),
                fuse,
            }),
        ),
    ];
    assert!(ALLOCATIONS.with(Cell::get) > 0, "the counter counts");
    for (name, layer) in layers {
        assert_eq!(third_time(&layer), 0, "{name}");
    }
}
