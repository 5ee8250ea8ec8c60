//! DEQ fusion around its solves: evaluation, and one training step with loss, penalty, gradients and optimizer.

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion};
use dfdx::prelude::*;
use equilibria_core::{Backend, Matrix};
use equilibria_fusion::fusions::deq::Deq;
use equilibria_fusion::layers::optimizer::{Adam, Optimizer, OptimizerConfig};
use equilibria_fusion::layers::Initializer;
use equilibria_fusion::solvers::regularizers::jacobian::Jacobian;
use equilibria_fusion::{Fusion, FusionRequest, Fusions, Pass};
use equilibria_testing::random_matrix;

const MODALITIES: usize = 3;

fn fusion(width: usize) -> Box<dyn Fusion<f32, Cpu>> {
    let config = Deq {
        deviation: 0.4 / (width as f64).sqrt(),
        regularizer: vec![Box::new(Jacobian::default())],
        ..Deq::default()
    };
    let request = FusionRequest {
        modalities: MODALITIES,
        width,
        widths: &[],
        init: &mut Initializer::new(&Cpu::default(), 1),
    };
    <Cpu as Backend<f32>>::build::<Fusions>(&config, request).expect("4 divides the width")
}

fn fuse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deq-fusion");
    for (batch, width) in [(1, 128), (32, 64), (64, 128), (128, 256)] {
        let (device, name) = (Cpu::default(), format!("{batch}x{width}"));
        let x: Vec<Matrix<f32, Cpu>> = (0..MODALITIES as u64)
            .map(|seed| random_matrix(&device, (batch, width), seed).expect("memory"))
            .collect();
        let mut fusion = fusion(width);
        group.bench_function(BenchmarkId::new("evaluate", &name), |bencher| {
            bencher.iter(|| fusion.fuse(&x, &mut Pass::evaluation()).expect("a state"));
        });
        let adam = OptimizerConfig::Adam(Adam {
            rate: 1e-9,
            ..Adam::default()
        });
        let mut optimizer = Optimizer::new(adam).expect("a positive rate");
        group.bench_function(BenchmarkId::new("train", &name), |bencher| {
            bencher.iter(|| {
                let mut pass = Pass::training(1);
                let z = fusion.fuse(&x, &mut pass).expect("a state");
                let loss = pass.run(&z, |z| {
                    z.square().sum::<Rank0, Axes2<0, 1>>().reshape_like(&(1, 1))
                });
                let mut gradients = pass.backward(&loss).expect("gradients").gradients;
                (optimizer.step(&mut *fusion, &mut gradients, 1.0, 1.0)).expect("memory");
            });
        });
    }
}

criterion_group!(benches, fuse);
criterion_main!(benches);
