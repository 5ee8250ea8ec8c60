//! Rebuilds the crate when a plugin file appears or disappears; modules are found by folder.

fn main() {
    for folder in ["src/fusions", "src/backbones", "src/heads", "src/sources"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
