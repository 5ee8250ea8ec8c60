//! Which points of a room stand for others, and who is near whom: 20 000 points, 2048 of them chosen, 64 neighbors of each within 0.2 m.

use criterion::{criterion_group, criterion_main, Criterion};
use equilibria_fusion::points::{ball_query, farthest_point_sampling, three_nearest};
use equilibria_testing::random_values;

/// Points of a room of 4 by 4 by 2 meters.
fn points(count: usize) -> Vec<f32> {
    let values = random_values(3 * count, 1);
    let place = |(entry, value): (usize, &f64)| match entry % 3 {
        // Normal numbers, bent into a room.
        2 => value.tanh() as f32,
        _ => 2.0 * value.tanh() as f32,
    };
    values.iter().enumerate().map(place).collect()
}

fn rooms(criterion: &mut Criterion) {
    let points = points(20_000);
    let mut group = criterion.benchmark_group("points");
    group.sample_size(20);
    group.bench_function("farthest-point-sampling", |bencher| {
        bencher.iter(|| farthest_point_sampling(&points, 2048));
    });
    let chosen = farthest_point_sampling(&points, 2048).into_iter();
    let place = |point: usize| points[3 * point..3 * point + 3].iter().copied();
    let centers: Vec<f32> = chosen.flat_map(place).collect();
    group.bench_function("ball-query", |bencher| {
        bencher.iter(|| ball_query(&points, &centers, 0.2, 64));
    });
    group.bench_function("three-nearest", |bencher| {
        bencher.iter(|| three_nearest(&centers, &centers[..3 * 512]));
    });
}

criterion_group!(benches, rooms);
criterion_main!(benches);
