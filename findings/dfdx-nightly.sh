#!/usr/bin/env bash
# dfdx 0.13.0 does not compile with a nightly compiler of 2026 (seen: rustc 1.101.0-nightly of 2026-10-29, error E0310 throughout `nn`): its
# build script looks for "nightly" in the version of the compiler, and turns on code for unstable features that have changed since. No feature
# of dfdx turns that off. The stable compiler builds it, also with RUSTC_BOOTSTRAP=1, which allows the options that sanitizers and fuzzers need.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
rustup toolchain list | grep -q '^nightly-2026-10-30' || rustup toolchain install nightly-2026-10-30 --profile minimal
mkdir "$folder/src"
echo 'use dfdx as _;' > "$folder/src/lib.rs"
cd "$folder"
cat > Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
dfdx = { version = "=0.13.0", default-features = false, features = ["std", "cpu"] }
TOML
RUSTC_BOOTSTRAP=1 cargo check --quiet
if cargo +nightly-2026-10-30 check --quiet 2> errors; then
    echo "it compiles with nightly-2026-10-30" >&2
    exit 1
fi
grep -q 'error\[E0310\].*may not live long enough' errors
grep -c '^error\[E0310\]' errors
