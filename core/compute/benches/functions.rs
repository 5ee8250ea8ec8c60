//! Elementary functions of 4096 numbers, beside those of the standard library: time of a whole loop.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use equilibria_compute::simd::functions;
use equilibria_compute::{vectorized, Element};

const COUNT: usize = 4096;

macro_rules! loops {
    ($($name:ident)*) => { $( vectorized! {
        fn $name<'a, E, S>(_simd: S, x: &'a [E], y: &'a mut [E]) {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = functions::$name(x);
            }
        }
    } )* };
}

loops!(exp expm1 ln tanh sigmoid softplus erf sin cos);

type Loop<E> = fn(&[E], &mut [E]);

/// Times a loop from this crate and, if the standard library has the function, the loop over that one.
fn time<E: Element>(
    criterion: &mut Criterion,
    name: &str,
    ours: Loop<E>,
    standard: Option<impl Fn(E) -> E>,
) {
    let mut group = criterion.benchmark_group(format!("{name} {}", std::any::type_name::<E>()));
    group.throughput(Throughput::Elements(COUNT as u64));
    let x: Vec<E> = (0..COUNT)
        .map(|i| E::of(i as f64 / COUNT as f64 * 10.0 - 5.0))
        .collect();
    let mut y = vec![E::zero(); COUNT];
    group.bench_function("vectorized", |bencher| {
        bencher.iter(|| ours(black_box(&x), black_box(&mut y)))
    });
    if let Some(standard) = standard {
        group.bench_function("standard", |bencher| {
            bencher.iter(|| {
                for (y, &x) in y.iter_mut().zip(black_box(&x)) {
                    *y = standard(x);
                }
                black_box(&mut y);
            });
        });
    }
}

fn all<E: Element>(criterion: &mut Criterion) {
    time::<E>(criterion, "exp", exp, Some(E::exp));
    time::<E>(criterion, "expm1", expm1, Some(E::exp_m1));
    time::<E>(criterion, "ln", ln, Some(E::ln));
    time::<E>(criterion, "tanh", tanh, Some(E::tanh));
    time::<E>(
        criterion,
        "sigmoid",
        sigmoid,
        Some(|x: E| (E::one() + (-x).exp()).recip()),
    );
    time::<E>(
        criterion,
        "softplus",
        softplus,
        Some(|x: E| x.max(E::zero()) + (-x.abs()).exp().ln_1p()),
    );
    time::<E>(criterion, "erf", erf, None::<fn(E) -> E>);
    time::<E>(criterion, "sin", sin, Some(E::sin));
    time::<E>(criterion, "cos", cos, Some(E::cos));
}

fn functions(criterion: &mut Criterion) {
    all::<f32>(criterion);
    all::<f64>(criterion);
}

criterion_group!(benches, functions);
criterion_main!(benches);
