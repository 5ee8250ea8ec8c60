//! A data set as a folder of files.

use super::check::{check, check_features, Part, Source};
use super::files::{self, read_table};
use super::lines::{read_lines, read_optional_lines};
use super::target_files::read_targets;
use super::{DataError, DataSet, Split, Table};
use std::fs;
use std::path::{Path, PathBuf};

impl DataSet {
    /// Reads a folder with any number of modalities, made of these files:
    ///
    /// | file | content |
    /// |---|---|
    /// | `K_tr.csv`, `K_te.csv` | modality K = 1, 2, ...: comma-separated numbers, no header, one sample per row |
    /// | `labels_tr.csv`, `labels_te.csv` | one class id per line, in the row order of the modalities |
    /// | or `multilabels_tr.csv`, `multilabels_te.csv` | a line with the names of the labels, then for each sample 1 where it has the label and 0 elsewhere |
    /// | or `targets_tr.csv`, `targets_te.csv` | one number per line, no header |
    /// | `K_featname.csv` (optional) | one feature name per line, as many as `K_tr.csv` has columns |
    /// | `classes.csv` (optional) | one class or label name per line; line number from 0 = class id |
    /// | `modalities.csv` (optional) | one modality name per line; line number from 1 = K |
    ///
    /// A table may also be a `K_tr.npy` of two dimensions, or a `K_tr.npz` or
    /// `K_tr.safetensors` that holds one such array and no other: little-endian
    /// numbers, in C or Fortran order. So may labels, as whole numbers in one
    /// dimension, targets, in one dimension, and multilabels, as 0 and 1 in two
    /// dimensions with names from `classes.csv`.
    ///
    /// The set is named after the folder. Without `modalities.csv`, modalities
    /// are counted by their files and named by number; without `classes.csv`,
    /// classes are named by number up to the largest training label. Windows
    /// line ends, blank lines at the end of a file and spaces around a cell are
    /// accepted. Values are returned as they are, unscaled.
    ///
    /// # Errors
    ///
    /// If a file is missing, unreadable, empty or malformed, if there are two
    /// of the same content, or if the files do not fit together; the error
    /// names the file and, where there is one, the row and column.
    pub fn from_folder(path: &Path) -> Result<Self, DataError> {
        let modalities = modality_names(path, &Part::BOTH)?;
        let ([train, test], classes) = read_targets(path)?;
        let split = |part, targets| -> Result<Split, DataError> {
            Ok(Split {
                modalities: read_tables(path, &modalities, part)?,
                targets,
            })
        };
        let set = Self {
            name: folder_name(path),
            classes,
            train: split(Part::Train, train)?,
            test: split(Part::Test, test)?,
        };
        check(&set, Source::Folder(path))?;
        check_feature_names(path, &set.train)?;
        Ok(set)
    }
}

/// Reads the modalities of one split of a folder as of [`DataSet::from_folder`].
/// Labels, and the files of the other split, are not looked at and need not be
/// there.
///
/// # Errors
///
/// Those of [`DataSet::from_folder`] for the files it reads.
pub fn features_from_folder(path: &Path, part: Part) -> Result<Vec<Table>, DataError> {
    let modalities = modality_names(path, &[part])?;
    let modalities = read_tables(path, &modalities, part)?;
    check_features(&modalities, part, Source::Folder(path))?;
    Ok(modalities)
}

fn folder_name(path: &Path) -> String {
    // A path such as `.` has a last component only once it is resolved.
    let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    full.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The names of the modalities, after making sure that the files of each of
/// them are there for the given splits.
fn modality_names(path: &Path, parts: &[Part]) -> Result<Vec<String>, DataError> {
    if !path.is_dir() {
        return Err(DataError::NoFolder {
            path: path.display().to_string(),
        });
    }
    let numbers = modality_numbers(path, parts)?;
    let listed = read_optional_lines(&path.join("modalities.csv"))?;
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
fn modality_numbers(path: &Path, parts: &[Part]) -> Result<Vec<(usize, String)>, DataError> {
    let unreadable = |source| DataError::Unreadable {
        file: path.display().to_string(),
        source,
    };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.file_name();
        let file = file.to_string_lossy();
        if let Some(k) = modality_number(&file, parts) {
            numbers.push((k, file.into_owned()));
        }
    }
    Ok(numbers)
}

fn modality_number(file: &str, parts: &[Part]) -> Option<usize> {
    let (number, suffix) = files::stem(file)?.split_once('_')?;
    let known = parts.iter().any(|part| part.suffix() == suffix);
    known.then(|| number.parse().ok()).flatten()
}

/// Asks for the files of modality `k`; `reason` tells why there should be one.
fn require_modality(path: &Path, k: usize, parts: &[Part], reason: &str) -> Result<(), DataError> {
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
    if file.exists() {
        return Ok(file);
    }
    Err(DataError::MissingFile {
        file: file.display().to_string(),
        reason: reason.to_owned(),
    })
}

fn read_tables(path: &Path, modalities: &[String], part: Part) -> Result<Vec<Table>, DataError> {
    let read = |(k, name): (usize, &String)| {
        let file = files::locate(path, &part.table_stem(k))?;
        let (columns, values) = read_table(&file)?;
        Ok(Table {
            name: name.clone(),
            columns,
            values,
        })
    };
    (1..).zip(modalities).map(read).collect()
}

fn check_feature_names(path: &Path, train: &Split) -> Result<(), DataError> {
    for (k, table) in (1..).zip(&train.modalities) {
        let file = path.join(format!("{k}_featname.csv"));
        if !file.exists() {
            continue;
        }
        let names = read_lines(&file)?.len();
        if names != table.columns {
            return Err(DataError::FeatureNames {
                file: file.display().to_string(),
                names,
                table: files::shown(path, &Part::Train.table_stem(k)),
                columns: table.columns,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{modality_number, Part};

    #[test]
    fn only_modality_files_are_numbered() {
        let number = |file| modality_number(file, &Part::BOTH);
        assert_eq!(number("12_tr.csv"), Some(12));
        assert_eq!(number("3_te.npz"), Some(3));
        assert_eq!(modality_number("3_te.npz", &[Part::Train]), None);
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
