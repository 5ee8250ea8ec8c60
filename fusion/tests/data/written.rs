//! Files as other tools write them: each kind is read rightly, or refused with what to do about it.
//!
//! `written.py` makes the files. The page of the book has the table of what becomes of them.

use equilibria_fusion::data::DataSet;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A kind of file, as in kinds.json.
#[derive(serde::Deserialize)]
struct Kind {
    folder: String,
    tool: String,
    /// One of its files.
    file: String,
    code: String,
    /// What is to be predicted: the stem of its files.
    targets: String,
}

fn written() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/written")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The beginning of a file's name, `1_tr` of `1_tr.csv.gz`.
fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// The sound data set with these targets, its files replaced by those of a kind.
fn folder_of(targets: &str, kind: Option<&Kind>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let replacing = kind.map_or(Vec::new(), |kind| files(&written().join(&kind.folder)));
    let replaced: Vec<String> = replacing.iter().map(|file| stem(file)).collect();
    for file in files(&written().join("base")) {
        let stem = stem(&file);
        let is_table = stem.as_bytes()[0].is_ascii_digit();
        let needed = is_table || stem.rsplit_once('_').unwrap().0 == targets;
        if needed && !replaced.contains(&stem) {
            fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
        }
    }
    for file in replacing {
        fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    dir
}

/// What becomes of a kind; what is read must be the sound data set.
fn outcome(kind: &Kind) -> String {
    let dir = folder_of(&kind.targets, Some(kind));
    let sound = DataSet::from_folder(folder_of(&kind.targets, None).path()).unwrap();
    match DataSet::from_folder(dir.path()) {
        Ok(set) => {
            assert_eq!(set.train, sound.train, "{}: misread", kind.folder);
            assert_eq!(set.test, sound.test, "{}: misread", kind.folder);
            assert_eq!(set.classes.len(), sound.classes.len(), "{}", kind.folder);
            "read".to_owned()
        }
        Err(error) => {
            let place = format!("{}{}", dir.path().display(), std::path::MAIN_SEPARATOR);
            format!("refused: {}", error.to_string().replace(&place, ""))
        }
    }
}

#[test]
fn files_of_other_tools_are_read_rightly_or_refused_with_the_remedy() {
    let kinds = fs::read_to_string(written().join("kinds.json")).unwrap();
    let kinds: Vec<Kind> = serde_json::from_str(&kinds).unwrap();
    assert!(kinds.len() >= 30, "{} kinds", kinds.len());
    let cell = |text: &str| text.replace('|', "\\|");
    let mut table =
        String::from("| tool | file | code | what becomes of it |\n|---|---|---|---|\n");
    for kind in &kinds {
        let (Kind { tool, file, .. }, code) = (kind, cell(&kind.code));
        let outcome = cell(&outcome(kind));
        table += &format!("| {tool} | `{file}` | `` {code} `` | {outcome} |\n");
    }
    let page = include_str!("../../../docs/src/own-data.md");
    let (_, rest) = page
        .split_once("<!-- files -->\n")
        .expect("the first marker");
    let (found, _) = rest
        .split_once("<!-- /files -->")
        .expect("the second marker");
    assert!(
        found == table,
        "docs/src/own-data.md should have this table:\n{table}"
    );
}
