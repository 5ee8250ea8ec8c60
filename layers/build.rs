//! Rebuilds the crate when a layer file appears or disappears; modules are found by folder.

fn main() {
    println!("cargo:rerun-if-changed=src/plugins");
}
