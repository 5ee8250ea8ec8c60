//! Rebuilds the crate when a plugin file appears or disappears; modules are found by folder.

fn main() {
    for folder in ["src/forward", "src/backward", "src/regularizers"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
