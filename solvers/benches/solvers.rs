//! Every registered solver, with its defaults, on test problems: time of a whole solve.

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion};
use equilibria_core::prelude::*;
use equilibria_solvers as _;
use equilibria_testing::problems::{find, Precision, Space};

fn solvers(criterion: &mut Criterion) {
    let stop = Stop {
        on_unconverged: OnUnconverged::Accept,
        ..Stop::at(Tolerance::relative(1e-6))
    };
    for name in ["linear-half", "tanh-wide", "fusion"] {
        let problem = find(name).expect("a known problem");
        let mut group = criterion.benchmark_group(name);
        for plugin in registry::of_kind("solver").expect("linked") {
            let solver = registry::make::<dyn FixedPointSolver>(&plugin.default).expect("defaults");
            let id = BenchmarkId::from_parameter(plugin.name);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let run = problem.solve(&*solver, Precision::Single, Space::Slice, &stop);
                    run.expect("nothing can fail here").report
                });
            });
        }
    }
}

criterion_group!(benches, solvers);
criterion_main!(benches);
