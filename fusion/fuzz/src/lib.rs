//! Files that users hand over, broken at random: whatever is in them, they are read or refused with an error; nothing panics, hangs or
//! takes memory without bound.
//!
//! `cargo +nightly fuzz run NAME` in this folder, with a NAME of `fuzz_targets`.

use std::fs;
use std::path::{Path, PathBuf};

use equilibria_core::registry;
use equilibria_fusion::DataSource;
use serde_json::Value;

/// A folder of one process, whose files every run writes anew.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it, with files that stay as they are.
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let path = std::env::temp_dir().join(format!("equilibria-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        let folder = Self(path);
        for (name, bytes) in files {
            folder.write(name, bytes);
        }
        folder
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("in the folder")).expect("a folder");
        fs::write(path, bytes).expect("written");
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads all that a data source makes of it: errors are as good as data.
    pub fn load(&self, mut source: Value) {
        source["path"] = self.0.to_string_lossy().into();
        let source = registry::make::<dyn DataSource>(&source).expect("a data source");
        if let Ok(set) = source.load() {
            assert_eq!(
                set.train.len(),
                set.train.modalities[0].rows(),
                "a row for each target"
            );
        }
        let _ = source.names();
    }
}

/// Two modalities of two columns and one, four rows to learn from and two to be tested with, without `except`.
pub fn tables(except: &str) -> Folder {
    let files: [(&str, &str); 6] = [
        ("1_tr.csv", "1,2\n3,4\n5,6\n7,8\n"),
        ("1_te.csv", "7,8\n9,1\n"),
        ("2_tr.csv", "0.5\n-1.5\n2e-3\n4\n"),
        ("2_te.csv", "0\n1\n"),
        ("labels_tr.csv", "0\n1\n1\n0\n"),
        ("labels_te.csv", "0\n1\n"),
    ];
    let kept = files.iter().filter(|(name, _)| !name.starts_with(except));
    let kept: Vec<(&str, &[u8])> = kept.map(|(name, text)| (*name, text.as_bytes())).collect();
    Folder::new(&kept)
}
