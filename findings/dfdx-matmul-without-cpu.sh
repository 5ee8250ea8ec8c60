#!/usr/bin/env bash
# dfdx 0.13.0: with default-features = false and no `cpu` feature it builds and runs, and matmul gives the last term of every sum alone: its
# fallback for builds without the gemm crate overwrites the output at every step of the inner loop. No error and no warning.
# Seen: [[1, 2, 3]] times [[1], [1], [1]] is 3; with the default features 6.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/src/main.rs" <<'RUST'
use dfdx::prelude::*;

fn main() {
    let device = Cpu::default();
    let row = device.tensor([[1.0f32, 2.0, 3.0]]);
    let ones: Tensor<Rank2<3, 1>, f32, Cpu> = device.ones();
    let product = row.matmul(ones).array();
    println!("{product:?}");
    let expected: f32 = std::env::args().nth(1).expect("a number").parse().expect("a number");
    assert_eq!(product, [[expected]]);
}
RUST
manifest() { printf '[package]\nname = "finding"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\ndfdx = { version = "=0.13.0", %s }\n' "$1"; }
cd "$folder"
manifest 'default-features = false, features = ["std"]' > Cargo.toml
cargo run --quiet -- 3
manifest 'default-features = true' > Cargo.toml
cargo run --quiet -- 6
