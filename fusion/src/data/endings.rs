//! Files of a data folder that are there with an ending that is not read.

use super::files::FORMATS;
use super::DataError;
use std::path::Path;
use std::{fs, io};

/// What is to be done about a file with one of these endings, in lower case.
const REMEDIES: [(&str, &str); 12] = [
    ("gz", "unpack it"),
    ("bz2", "unpack it"),
    ("xz", "unpack it"),
    ("zip", "unpack it"),
    ("zst", "unpack it"),
    (
        "h5ad",
        "save its matrix, `numpy.save(\"1_tr.npy\", adata.X)`, `adata.X.toarray()` if it is sparse",
    ),
    (
        "h5mu",
        "save the matrix of each modality, `numpy.save(\"1_tr.npy\", mdata[\"rna\"].X)`",
    ),
    (
        "pt",
        "save the tensor, `numpy.save(\"1_tr.npy\", x.float().numpy())`",
    ),
    (
        "pth",
        "save the tensor, `numpy.save(\"1_tr.npy\", x.float().numpy())`",
    ),
    (
        "tsv",
        "write it with commas, `df.to_csv(\"1_tr.csv\", index=False)`",
    ),
    (
        "parquet",
        "write it as text, `pandas.read_parquet(file).to_csv(\"1_tr.csv\", index=False)`",
    ),
    (
        "xlsx",
        "write it as text, `pandas.read_excel(file).to_csv(\"1_tr.csv\", index=False)`",
    ),
];

/// Makes sure that no file of a folder that is `meant` for it, by its stem and ending in lower case, has an ending that is
/// not read, unless there is one of the same stem with an ending that is.
///
/// # Errors
/// [`DataError::OtherEnding`].
pub(super) fn check(folder: &Path, meant: impl Fn(&str, &str) -> bool) -> Result<(), DataError> {
    let names = file_names(folder)?;
    let readable = |stem: &str| {
        let mut files = FORMATS.iter().map(|ending| format!("{stem}.{ending}"));
        files.any(|file| names.contains(&file))
    };
    for name in &names {
        let lower = name.to_lowercase();
        let Some((stem, endings)) = lower.split_once('.') else {
            continue;
        };
        if meant(stem, endings) && !readable(stem) {
            return Err(other_ending(folder, name, stem, endings));
        }
    }
    Ok(())
}

fn other_ending(folder: &Path, name: &str, stem: &str, endings: &str) -> DataError {
    let last = endings.rsplit('.').next().unwrap_or_default();
    let known = REMEDIES.iter().find(|(ending, _)| *ending == last);
    let remedy = match known {
        Some((_, remedy)) => (*remedy).to_owned(),
        None if FORMATS.contains(&endings) => format!("call it {stem}.{endings}"),
        None => "write it in one of these formats".to_owned(),
    };
    DataError::OtherEnding {
        file: folder.join(name).display().to_string(),
        stem: stem.to_owned(),
        known: FORMATS.map(|ending| format!(".{ending}")).join(", "),
        remedy,
    }
}

/// The names of the files of a folder, sorted.
pub(super) fn file_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let unreadable = |source: io::Error| DataError::Unreadable {
        file: folder.display().to_string(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}
