//! Products of f32 beside those of factors rounded to bf16, on one thread: whether rounding pays on a processor.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use equilibria_compute::simd::{rounded_products, Packed, RoundedPacked};

/// Rows, and width of both sides.
const SIZES: [(usize, usize); 5] = [(1, 128), (64, 128), (128, 256), (306, 500), (512, 1024)];

fn products(criterion: &mut Criterion) {
    println!("in solves that may be rounded: {}", rounded_products());
    let numbers = |count: usize| (0..count).map(|i| ((7 * i) % 13) as f32 / 13.0 - 0.5);
    let mut group = criterion.benchmark_group("product");
    for (rows, width) in SIZES {
        let x: Vec<f32> = numbers(rows * width).collect();
        let b: Vec<f32> = numbers(width * width).collect();
        let mut y = vec![0.0; rows * width];
        let size = format!("{rows} x {width}");
        group.throughput(Throughput::Elements((2 * rows * width * width) as u64));
        let exact = Packed::new(&b, width, width);
        group.bench_function(BenchmarkId::new("f32", &size), |bencher| {
            bencher.iter(|| exact.multiply(black_box(&x), black_box(&mut y)));
        });
        let Some(rounded) = RoundedPacked::new(&exact) else {
            continue;
        };
        let mut scratch = Vec::new();
        group.bench_function(BenchmarkId::new("bf16", &size), |bencher| {
            bencher.iter(|| {
                rounded.multiply(black_box(&x), black_box(&mut y), black_box(&mut scratch))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, products);
criterion_main!(benches);
