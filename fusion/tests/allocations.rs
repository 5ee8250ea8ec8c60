//! No kernel allocates once it has run: what a solve repeats costs no memory, and so neither do more steps.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dfdx::prelude::Cpu;
use equilibria_core::{to_host, AnyLayer, ImplicitLayer, KernelBlock, Matrix};
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
    }
}

/// Allocations of everything a solve repeats, the second time.
fn second_time<L: ImplicitLayer<f32, Cpu>>(layer: &L) -> usize {
    let dims = layer.input_dims();
    let x: Vec<_> = dims.iter().map(|&dim| random(dim, 1)).collect();
    let kernel = layer.kernel(&x).expect("it has one");
    let mut block = kernel.block(0..BATCH);
    let z = to_host(&random(layer.state_dim(), 2));
    let mut out = z.clone();
    let all = |block: &mut dyn KernelBlock<f32>, out: &mut [f32]| {
        block.apply(&z, out);
        block.linearize(&z, out);
        block.jvp(&z, out);
        block.vjp(&z, out);
        block.swap_rows(0, 1);
        let part = z.len() / BATCH * 5;
        block.apply(&z[..part], &mut out[..part]);
    };
    all(&mut *block, &mut out);
    let before = ALLOCATIONS.with(Cell::get);
    all(&mut *block, &mut out);
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn kernels_allocate_once() {
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
        assert_eq!(second_time(&layer), 0, "{name}");
    }
}
