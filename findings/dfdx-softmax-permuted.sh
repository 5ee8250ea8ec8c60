#!/usr/bin/env bash
# dfdx 0.13.0, CPU: the gradient of softmax, and of log_softmax likewise, of a permuted tensor has the right numbers in the wrong places. The
# values are right, and a copy in row-major order (.contiguous()) before it makes the gradient right. Hence both cross-entropy losses.
# Seen for x of shape [3, 2], L = Σ c ⊙ softmax(xᵀ) along its second axis: largest difference of dL/dx with and without .contiguous() 1.3;
# central differences side with .contiguous(), to 1e-9.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/src/main.rs" <<'RUST'
use dfdx::prelude::*;

type Matrix<T> = Tensor<Rank2<3, 2>, f64, Cpu, T>;

const X: [[f64; 2]; 3] = [[0.1, 1.2], [-0.7, 0.3], [0.9, -1.1]];

fn loss<T: Tape<f64, Cpu>>(x: Matrix<T>, copied: bool) -> Tensor<Rank0, f64, Cpu, T> {
    let factors = Cpu::default().tensor([[1.0, 2.0, -1.0], [0.5, -3.0, 1.5]]);
    let turned: Tensor<Rank2<2, 3>, f64, Cpu, T> = x.permute();
    let turned = if copied { turned.contiguous() } else { turned };
    (turned.softmax::<Axis<1>>() * factors).sum()
}

fn gradient(copied: bool) -> [[f64; 2]; 3] {
    let x = Cpu::default().tensor(X);
    loss(x.leaky_trace(), copied).backward().get(&x).array()
}

fn distance(a: [[f64; 2]; 3], b: [[f64; 2]; 3]) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).fold(0.0, |d, (a, b)| d.max((a - b).abs()))
}

fn main() {
    let mut differences = [[0.0; 2]; 3];
    for row in 0..3 {
        for column in 0..2 {
            let at = |step: f64| {
                let mut x = X;
                x[row][column] += step;
                loss(Cpu::default().tensor(x), false).array()
            };
            differences[row][column] = (at(1e-5) - at(-1e-5)) / 2e-5;
        }
    }
    let (plain, copied) = (gradient(false), gradient(true));
    println!("permuted {plain:?}\ncopied {copied:?}\ndifferences {differences:?}");
    assert!(distance(copied, differences) < 1e-8);
    assert!(distance(plain, differences) > 0.1);
}
RUST
printf '[package]\nname = "finding"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\ndfdx = "=0.13.0"\n' > "$folder/Cargo.toml"
cd "$folder"
cargo run --quiet
