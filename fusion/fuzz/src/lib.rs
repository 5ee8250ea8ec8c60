//! Files that users hand over, broken at random: whatever is in them, they are read or refused with an error; nothing panics, hangs or
//! takes memory without bound. README.md says how to run the targets.

use std::fs;
use std::path::{Path, PathBuf};

use equilibria_core::registry;
use equilibria_fusion::data::Samples;
use equilibria_fusion::DataSource;
use serde_json::{json, Value};

pub mod arrays;

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

    /// Writes a file in the place of a sound one, or of none, for the time of a job.
    pub fn with(&self, name: &str, bytes: &[u8], job: impl FnOnce()) {
        let path = self.0.join(name);
        let before = fs::read(&path).ok();
        self.write(name, bytes);
        job();
        match before {
            Some(before) => self.write(name, &before),
            None => fs::remove_file(path).expect("removed"),
        }
    }

    /// Takes sound files away for the time of a job.
    pub fn lacking(&self, names: &[&str], job: impl FnOnce()) {
        let files: Vec<_> = (names.iter())
            .map(|name| (name, fs::read(self.0.join(name)).expect("a sound file")))
            .collect();
        for (name, _) in &files {
            fs::remove_file(self.0.join(name)).expect("removed");
        }
        job();
        for (name, bytes) in files {
            self.write(name, &bytes);
        }
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
            Samples::from(set).digest().expect("in memory");
        }
        let _ = source.names();
    }
}

/// Which of some files a byte stands for: seeds have `0` for the first one.
pub fn chosen<T>(byte: u8, files: &[T]) -> &T {
    &files[usize::from(byte.wrapping_sub(b'0')) % files.len()]
}

fn without<'f>(except: &str, files: &[(&'f str, &'f [u8])]) -> Folder {
    let kept = files.iter().filter(|(name, _)| !name.starts_with(except));
    Folder::new(&kept.copied().collect::<Vec<_>>())
}

/// Two modalities of two columns and one, four rows to learn from and two to be tested with, without `except`.
pub fn tables(except: &str) -> Folder {
    let files: [(&str, &[u8]); 6] = [
        ("1_tr.csv", b"1,2\n3,4\n5,6\n7,8\n"),
        ("1_te.csv", b"7,8\n9,1\n"),
        ("2_tr.csv", b"0.5\n-1.5\n2e-3\n4\n"),
        ("2_te.csv", b"0\n1\n"),
        ("labels_tr.csv", b"0\n1\n1\n0\n"),
        ("labels_te.csv", b"0\n1\n"),
    ];
    without(except, &files)
}

/// Three questions about two images, each with answers and two regions of two features, without `except`.
pub fn questions(except: &str) -> Folder {
    let files: [(&str, &[u8]); 4] = [
        (
            "v2_OpenEnded_mscoco_train2014_questions.json",
            include_bytes!("../../tests/data/vqa/v2_OpenEnded_mscoco_train2014_questions.json"),
        ),
        (
            "v2_mscoco_train2014_annotations.json",
            include_bytes!("../../tests/data/vqa/v2_mscoco_train2014_annotations.json"),
        ),
        (
            "answer_dict.json",
            include_bytes!("../../tests/data/vqa/answer_dict.json"),
        ),
        (
            "regions.tsv",
            b"9\t640\t480\t2\t\tAACAPwAAAEAAAEBAAACAQA==\n25\t640\t480\t2\t\tAACAPwAAAEAAAEBAAACAQA==\n",
        ),
    ];
    without(except, &files)
}

/// The source of [`questions`]; regions are looked for in these places.
pub fn vqa(features: &[&str]) -> Value {
    json!({
        "type": "vqa",
        "test": "train2014",
        "features": features,
        "regions": 4,
        "occurrences": 0,
    })
}
