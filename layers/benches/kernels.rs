//! The parts CPU kernels are made of, and one evaluation of a whole map, on one thread.

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use dfdx::prelude::Cpu;
use equilibria_core::plumbing::SliceSpace;
use equilibria_core::prelude::*;
use equilibria_core::simd::{Packed, RoundedPacked};
use equilibria_core::{to_host, AnyLayer};
use equilibria_layers::kernel::{self, Rectify};
use equilibria_layers::plugins::residual_block::ResidualBlockConfig;
use equilibria_layers::{Initializer, LayerRequest, Layers};
use equilibria_testing::random_matrix;

const ROWS: usize = 30;
const WIDTHS: [usize; 4] = [64, 128, 256, 500];

/// Numbers between −1 and 1; which ones does not matter.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32).sin()).collect()
}

/// Multiplications and additions a second.
fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("product");
    for width in WIDTHS {
        let (weight, x) = (numbers(width * width), numbers(ROWS * width));
        let packed = Packed::new(&weight, width, width);
        let mut y = vec![0.0; ROWS * width];
        group.throughput(Throughput::Elements((2 * ROWS * width * width) as u64));
        group.bench_function(BenchmarkId::new("multiply", width), |bencher| {
            bencher.iter(|| packed.multiply(&x, &mut y));
        });
        // Where the processor has them: what says whether rounding pays on it.
        if let Some(rounded) = RoundedPacked::new(&packed) {
            let mut scratch = Vec::new();
            group.bench_function(BenchmarkId::new("multiply-rounded", width), |bencher| {
                bencher.iter(|| rounded.multiply(&x, &mut y, &mut scratch));
            });
        }
        group.bench_function(BenchmarkId::new("pack", width), |bencher| {
            bencher.iter(|| Packed::transposed(&weight, width, width));
        });
    }
}

/// Normalized numbers a second.
fn group_norm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("group-norm");
    for width in WIDTHS {
        let norm = kernel::GroupNorm::new(vec![1.0_f32; width], vec![0.0; width], 4, 1e-5);
        let [x, injected, mut y] = [(); 3].map(|()| numbers(ROWS * width));
        group.throughput(Throughput::Elements((ROWS * width) as u64));
        group.bench_function(BenchmarkId::new("forward", width), |bencher| {
            bencher.iter(|| norm.forward(&x, &mut y, (&injected, Rectify::After), None));
        });
    }
}

/// f(z), and Jᵀu at a linearization, of the residual block.
fn residual_block(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("residual-block");
    for width in WIDTHS {
        let device = Cpu::default();
        let layer: AnyLayer<f32, Cpu> = Build::<Layers>::build(
            &ResidualBlockConfig::default(),
            LayerRequest {
                state: width,
                inputs: &[width],
                init: &mut Initializer::new(&device, 0),
            },
        )
        .expect("4 divides the width");
        let x = random_matrix(&device, (ROWS, width), 1).expect("memory");
        let (map, none) = (
            layer.row_map().expect("it has one"),
            RowGradients::default(),
        );
        let mut space = SliceSpace::new(map, width, 0..ROWS, &[&to_host(&x)], none);
        let [z, out] = [(); 2].map(|()| space.alloc().expect("memory"));
        space.state_mut(z).copy_from_slice(&numbers(ROWS * width));
        group.bench_function(BenchmarkId::new("apply", width), |bencher| {
            bencher.iter(|| space.apply(z, out));
        });
        space.linearize(z).expect("a point");
        group.bench_function(BenchmarkId::new("vjp", width), |bencher| {
            bencher.iter(|| space.vjp(z, out));
        });
    }
}

criterion_group!(benches, products, group_norm, residual_block);
criterion_main!(benches);
