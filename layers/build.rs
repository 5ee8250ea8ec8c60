//! Rebuilds the crate when a plugin file appears or disappears; modules are found by folder.

fn main() {
    for folder in ["src/plugins", "src/stabilizers"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
