//! What modalities and their features are called, by which other data is compared with that of a trained model.
//!
//! A model knows columns by their place alone: the same features in another order would be read as others without a word.

use super::check::SplitName;
use super::text::{self, read_optional_list};
use super::{files, DataError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// What a modality and its features are called, where the data says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Number of the modality, from 1.
    pub number: usize,
    /// Name of the modality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modality: Option<String>,
    /// Names of its features, one per column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
    /// The file of these names, for errors.
    #[serde(skip)]
    pub file: String,
}

/// The names of the modalities of a folder as of [`DataSet::from_folder`](super::DataSet::from_folder), of each split that is
/// there: from `modalities.csv`, and from the headers of the tables or `K_featname.csv`. Modalities without any are left out.
///
/// # Errors
/// Those of the files it reads.
pub fn names_in_folder(path: &Path) -> Result<Vec<Names>, DataError> {
    let listed = read_optional_list(&path.join("modalities.csv"))?;
    let mut all = Vec::new();
    for part in SplitName::BOTH {
        for number in 1.. {
            let table = files::locate(path, &part.table_stem(number))?;
            if !files::there(&table) {
                break;
            }
            let list = path.join(format!("{number}_featname.csv"));
            let header = match files::is_text(&table) {
                true => text::header_of(&table)?,
                false => None,
            };
            let (features, file) = match header {
                Some(names) => (Some(names), &table),
                None => (read_optional_list(&list)?, &list),
            };
            let file = if features.is_some() { file } else { &table };
            let modality = (listed.as_ref()).and_then(|names| names.get(number - 1).cloned());
            if features.is_none() && modality.is_none() {
                continue;
            }
            all.push(Names {
                number,
                modality,
                features,
                file: file.display().to_string(),
            });
        }
    }
    Ok(all)
}

/// Compares names with those a model was trained on, modality by modality, where both are known.
///
/// A modality that has a name no modality had in training is warned of: it may have been renamed.
///
/// # Errors
/// [`DataError::OtherFeature`] for the first feature that differs, [`DataError::OtherModality`] for a modality in the place of
/// another.
pub fn check_names(trained: &[Names], found: &[Names]) -> Result<(), DataError> {
    for names in found {
        let same = || (trained.iter()).filter(|known| known.number == names.number);
        let modality = same().find_map(|known| known.modality.as_ref());
        if let Some((name, expected)) = names.modality.as_ref().zip(modality) {
            check_modality(trained, names, name, expected)?;
        }
        let features = same().find_map(|known| known.features.as_ref());
        if let Some((features, expected)) = names.features.as_ref().zip(features) {
            check_features(&names.file, features, expected)?;
        }
    }
    Ok(())
}

fn check_modality(
    trained: &[Names],
    names: &Names,
    name: &String,
    expected: &String,
) -> Result<(), DataError> {
    if name == expected {
        return Ok(());
    }
    let (file, number) = (names.file.clone(), names.number);
    if trained
        .iter()
        .any(|known| known.modality.as_ref() == Some(name))
    {
        return Err(DataError::OtherModality {
            file,
            number,
            name: name.clone(),
            expected: expected.clone(),
        });
    }
    log::warn!(
        "{file}: modality {number} is called {name:?}, and was called {expected:?} in training"
    );
    Ok(())
}

fn check_features(file: &str, names: &[String], expected: &[String]) -> Result<(), DataError> {
    let differs = |column: &usize| names.get(*column) != expected.get(*column);
    let Some(column) = (0..names.len().max(expected.len())).find(differs) else {
        return Ok(());
    };
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    let remedy = match set(names) == set(expected) {
        true => "put the columns in the order of training",
        false => "give the model the features it was trained on, in the same order",
    };
    let name = |names: &[String]| {
        names
            .get(column)
            .map_or("nothing".to_owned(), |name| format!("{name:?}"))
    };
    Err(DataError::OtherFeature {
        file: file.to_owned(),
        column: column + 1,
        name: name(names),
        expected: name(expected),
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(number: usize, modality: Option<&str>, features: Option<&[&str]>) -> Names {
        Names {
            number,
            modality: modality.map(str::to_owned),
            features: features.map(|names| names.iter().map(|name| name.to_string()).collect()),
            file: String::new(),
        }
    }

    #[test]
    fn names_are_compared_where_both_are_known() {
        let trained = [
            names(1, Some("rna"), Some(&["a", "b", "c"])),
            names(2, Some("protein"), None),
        ];
        for (found, message) in [
            (names(1, None, None), None),
            (names(2, Some("protein"), Some(&["x"])), None),
            (names(2, Some("proteome"), None), None),
            (names(3, Some("rna"), Some(&["b"])), None),
            (
                names(1, None, Some(&["a", "c", "b"])),
                Some("feature 2: found \"c\""),
            ),
            (
                names(1, None, Some(&["a", "c", "b"])),
                Some("order of training"),
            ),
            (
                names(1, None, Some(&["a", "b", "d"])),
                Some("features it was trained on"),
            ),
            (
                names(1, None, Some(&["a", "b"])),
                Some("feature 3: found nothing"),
            ),
            (
                names(2, Some("rna"), None),
                Some("modality 2 is called \"rna\""),
            ),
        ] {
            let outcome = check_names(&trained, &[found]).map_err(|error| error.to_string());
            match message {
                None => assert_eq!(outcome, Ok(())),
                Some(part) => assert!(outcome.unwrap_err().contains(part)),
            }
        }
    }
}
