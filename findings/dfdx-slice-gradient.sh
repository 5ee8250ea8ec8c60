#!/usr/bin/env bash
# dfdx 0.13.0, CPU: the backward pass of slice sets gradients where it should add to them. Two overlapping slices of one tensor, as in a sliding
# window, lose one another's gradients, and a slice also wipes out what an operation recorded later has already contributed.
# Seen for x = [1, 2, 3], L = sum(x[0..2]) + sum(x[1..3]): gradient [1, 1, 1], in truth [1, 2, 1]. For L = sum(x[0..2]) + sum(x²), the
# second term recorded last: [1, 1, 6], in truth [3, 5, 6].
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/src/main.rs" <<'RUST'
use dfdx::prelude::*;

fn main() {
    let x = Cpu::default().tensor([1.0f64, 2.0, 3.0]);
    let first = x.leaky_trace().slice((0..2,)).sum::<Rank0, _>();
    let (first, tape) = first.split_tape();
    let windows = x.clone().put_tape(tape).slice((1..3,)).sum::<Rank0, _>() + first;
    let windows = windows.backward().get(&x).array();

    let first = x.leaky_trace().slice((0..2,)).sum::<Rank0, _>();
    let (first, tape) = first.split_tape();
    let squares = x.clone().put_tape(tape).square().sum::<Rank0, _>() + first;
    let squares = squares.backward().get(&x).array();

    println!("{windows:?} {squares:?}");
    assert_eq!(windows, [1.0, 1.0, 1.0]);
    assert_eq!(squares, [1.0, 1.0, 6.0]);
}
RUST
printf '[package]\nname = "finding"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\ndfdx = "=0.13.0"\n' > "$folder/Cargo.toml"
cd "$folder"
cargo run --quiet
