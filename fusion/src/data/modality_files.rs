//! Which modalities a data folder has, by its files.

use super::check::SplitName;
use super::endings::{self, Group};
use super::text::read_optional_list;
use super::{files, DataError};
use std::path::{Path, PathBuf};

/// The names of the modalities, after making sure that the files of each of
/// them are there for the given splits.
pub(super) fn modality_names(path: &Path, parts: &[SplitName]) -> Result<Vec<String>, DataError> {
    if !path.is_dir() {
        return Err(DataError::NoFolder {
            path: path.display().to_string(),
        });
    }
    endings::check(path, parts, Group::Features)?;
    let numbers = modality_numbers(path, parts)?;
    let listed = read_optional_list(&path.join("modalities.csv"))?;
    let largest = numbers.iter().map(|&(k, _)| k).max().unwrap_or(0);
    let count = listed.as_ref().map_or(largest.max(1), Vec::len);
    let reason = match (&listed, largest) {
        (Some(_), _) => format!("modalities.csv lists {count} modalities, perhaps too many"),
        (None, 0) => {
            let files = parts.iter().map(|part| format!("K_{}.csv", part.suffix()));
            let files = files.collect::<Vec<_>>().join(" and ");
            format!("each modality K = 1, 2, ... needs {files}")
        }
        (None, _) => format!("modalities are numbered without gaps, and the last is {largest}"),
    };
    for k in 1..=count {
        require_modality(path, k, parts, &reason)?;
    }
    if let Some((_, file)) = numbers.iter().find(|(k, _)| !(1..=count).contains(k)) {
        return Err(DataError::UnexpectedModality {
            file: path.join(file).display().to_string(),
            count,
        });
    }
    Ok(listed.unwrap_or_else(|| (1..=count).map(|k| format!("modality {k}")).collect()))
}

/// The modality files present, with their numbers.
fn modality_numbers(path: &Path, parts: &[SplitName]) -> Result<Vec<(usize, String)>, DataError> {
    let names = endings::file_names(path)?.into_iter();
    Ok(names
        .filter_map(|file| Some((modality_number(&file, parts)?, file)))
        .collect())
}

fn modality_number(file: &str, parts: &[SplitName]) -> Option<usize> {
    numbered(files::stem(file)?, parts)
}

/// The number of the modality whose files have this name, without ending.
fn numbered(stem: &str, parts: &[SplitName]) -> Option<usize> {
    let (number, suffix) = stem.split_once('_')?;
    let known = parts.iter().any(|part| part.suffix() == suffix);
    known.then(|| number.parse().ok()).flatten()
}

/// Asks for the files of modality `k`; `reason` tells why there should be one.
fn require_modality(
    path: &Path,
    k: usize,
    parts: &[SplitName],
    reason: &str,
) -> Result<(), DataError> {
    let mut reason = reason.to_owned();
    for part in parts {
        let file = require(path, &part.table_stem(k), &reason)?;
        let file = file.file_name().unwrap_or_default().display();
        reason = format!("{file} is there, and every modality needs both splits");
    }
    Ok(())
}

fn require(path: &Path, stem: &str, reason: &str) -> Result<PathBuf, DataError> {
    let file = files::locate(path, stem)?;
    if files::there(&file) {
        return Ok(file);
    }
    Err(DataError::MissingFile {
        file: file.display().to_string(),
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{modality_number, SplitName};

    #[test]
    fn only_modality_files_are_numbered() {
        let number = |file| modality_number(file, &SplitName::BOTH);
        assert_eq!(number("12_tr.csv"), Some(12));
        assert_eq!(number("3_te.npz"), Some(3));
        assert_eq!(modality_number("3_te.npz", &[SplitName::Train]), None);
        for other in [
            "labels_tr.csv",
            "samples_te.csv",
            "1_featname.csv",
            "_tr.csv",
            "1_tr.txt",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
