#!/usr/bin/env bash
# dfdx 0.13.0: the gradient of accurate_gelu is wrong everywhere but at 0. gelu(x) = x Φ(x) has the derivative Φ(x) + x φ(x); the second term
# is taken √2 times too large. Values are right, and so is the gradient of fast_gelu, the approximation by tanh.
# Seen at x = 1, f64: 1.183543 where Φ(1) + φ(1) and the central difference are 1.083315.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/src/main.rs" <<'RUST'
use dfdx::prelude::*;

fn value(x: f64) -> f64 {
    Cpu::default().tensor(x).accurate_gelu().array()
}

fn main() {
    let x = Cpu::default().tensor(1.0f64);
    let gradient = x.leaky_trace().accurate_gelu().backward().get(&x).array();
    let difference = (value(1.0 + 1e-5) - value(1.0 - 1e-5)) / 2e-5;
    println!("gradient {gradient:.6}, central difference {difference:.6}");
    let density = (-0.5f64).exp() / (2.0 * std::f64::consts::PI).sqrt();
    assert!((difference - 1.083315).abs() < 1e-5);
    assert!((gradient - difference - (2f64.sqrt() - 1.0) * density).abs() < 1e-5);
}
RUST
printf '[package]\nname = "finding"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\ndfdx = "=0.13.0"\n' > "$folder/Cargo.toml"
cd "$folder"
cargo run --quiet
