//! Rebuilds the crate when the file of a golden folder appears or disappears; modules are found by folder.

fn main() {
    println!("cargo:rerun-if-changed=src/golden/zoo");
    println!("cargo:rerun-if-changed=src/golden/sites");
}
