//! A data set as a folder of CSV files.

use super::check::{check, Part, Source};
use super::lines::{read_labels, read_lines, read_numbers, read_optional_lines};
use super::{DataError, DataSet, Split, Table};
use std::fs;
use std::path::Path;

/// Without `classes.csv`, a label at or above this is taken for a mistake (a
/// sample number, say) rather than for a class to make room for.
const MOST_UNNAMED_CLASSES: usize = 1 << 16;

impl DataSet {
    /// Reads a folder with any number of modalities, made of these files:
    ///
    /// | file | content |
    /// |---|---|
    /// | `K_tr.csv`, `K_te.csv` | modality K = 1, 2, ...: comma-separated numbers, no header, one sample per row |
    /// | `labels_tr.csv`, `labels_te.csv` | one class id per line, in the row order of the modalities |
    /// | `K_featname.csv` (optional) | one feature name per line, as many as `K_tr.csv` has columns |
    /// | `classes.csv` (optional) | one class name per line; line number from 0 = class id |
    /// | `modalities.csv` (optional) | one modality name per line; line number from 1 = K |
    ///
    /// The set is named after the folder. Without `modalities.csv`, modalities
    /// are counted by their files and named by number; without `classes.csv`,
    /// classes are named by number up to the largest training label. Windows
    /// line ends, blank lines at the end of a file and spaces around a cell are
    /// accepted. Values are returned as they are, unscaled.
    ///
    /// # Errors
    ///
    /// If a file is missing, unreadable, empty or malformed, or if the files
    /// do not fit together; the error names the file and, where there is one,
    /// the row and column.
    pub fn from_folder(path: &Path) -> Result<Self, DataError> {
        if !path.is_dir() {
            return Err(DataError::NoFolder {
                path: path.display().to_string(),
            });
        }
        let modalities = modality_names(path)?;
        let train = read_split(path, &modalities, Part::Train)?;
        let test = read_split(path, &modalities, Part::Test)?;
        let set = Self {
            name: folder_name(path),
            classes: class_names(path, &train.labels)?,
            train,
            test,
        };
        check(&set, Source::Folder(path))?;
        check_feature_names(path, &set.train)?;
        Ok(set)
    }
}

fn folder_name(path: &Path) -> String {
    // A path such as `.` has a last component only once it is resolved.
    let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    full.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The names of the modalities, after making sure that the files of each of
/// them are there.
fn modality_names(path: &Path) -> Result<Vec<String>, DataError> {
    let numbers = modality_numbers(path)?;
    let listed = read_optional_lines(&path.join("modalities.csv"))?;
    let largest = numbers.iter().map(|&(k, _)| k).max().unwrap_or(0);
    let count = listed.as_ref().map_or(largest.max(1), Vec::len);
    let reason = match (&listed, largest) {
        (Some(_), _) => format!("modalities.csv lists {count} modalities, perhaps too many"),
        (None, 0) => "each modality K = 1, 2, ... needs K_tr.csv and K_te.csv".into(),
        (None, _) => format!("modalities are numbered without gaps, and the last is {largest}"),
    };
    for k in 1..=count {
        require_modality(path, k, &reason)?;
    }
    for part in Part::BOTH {
        let reason = "both splits need their labels, one class id per line";
        require(path, &part.labels_file(), reason)?;
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
fn modality_numbers(path: &Path) -> Result<Vec<(usize, String)>, DataError> {
    let unreadable = |source| DataError::Unreadable {
        file: path.display().to_string(),
        source,
    };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.file_name();
        let file = file.to_string_lossy();
        if let Some(k) = modality_number(&file) {
            numbers.push((k, file.into_owned()));
        }
    }
    Ok(numbers)
}

fn modality_number(file: &str) -> Option<usize> {
    let stem = file
        .strip_suffix("_tr.csv")
        .or_else(|| file.strip_suffix("_te.csv"))?;
    stem.parse().ok()
}

/// Asks for both files of modality `k`; `reason` tells why there should be one.
fn require_modality(path: &Path, k: usize, reason: &str) -> Result<(), DataError> {
    let [train, test] = Part::BOTH.map(|part| part.table_file(k));
    if path.join(&train).exists() {
        let reason = format!("{train} is there, and every modality needs both splits");
        return require(path, &test, &reason);
    }
    require(path, &train, reason)
}

fn require(path: &Path, file: &str, reason: &str) -> Result<(), DataError> {
    let file = path.join(file);
    if file.exists() {
        return Ok(());
    }
    Err(DataError::MissingFile {
        file: file.display().to_string(),
        reason: reason.to_owned(),
    })
}

fn read_split(path: &Path, modalities: &[String], part: Part) -> Result<Split, DataError> {
    let labels = read_labels(&path.join(part.labels_file()))?;
    let read_table = |(k, name): (usize, &String)| {
        let (columns, values) = read_numbers(&path.join(part.table_file(k)))?;
        Ok(Table {
            name: name.clone(),
            columns,
            values,
        })
    };
    let modalities = (1..).zip(modalities).map(read_table);
    Ok(Split {
        modalities: modalities.collect::<Result<_, DataError>>()?,
        labels,
    })
}

fn class_names(path: &Path, train_labels: &[usize]) -> Result<Vec<String>, DataError> {
    if let Some(names) = read_optional_lines(&path.join("classes.csv"))? {
        return Ok(names);
    }
    let too_large = |&(_, &label): &(usize, &usize)| label >= MOST_UNNAMED_CLASSES;
    if let Some((row, &label)) = (1..).zip(train_labels).find(too_large) {
        return Err(DataError::LabelOutOfRange {
            file: path.join(Part::Train.labels_file()).display().to_string(),
            row,
            label,
            classes: MOST_UNNAMED_CLASSES,
        });
    }
    let count = train_labels.iter().max().map_or(0, |largest| largest + 1);
    Ok((0..count).map(|class| class.to_string()).collect())
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
                table: path.join(Part::Train.table_file(k)).display().to_string(),
                columns: table.columns,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::modality_number;

    #[test]
    fn only_modality_files_are_numbered() {
        assert_eq!(modality_number("12_tr.csv"), Some(12));
        assert_eq!(modality_number("3_te.csv"), Some(3));
        for other in [
            "labels_tr.csv",
            "samples_te.csv",
            "1_featname.csv",
            "_tr.csv",
        ] {
            assert_eq!(modality_number(other), None, "{other}");
        }
    }
}
