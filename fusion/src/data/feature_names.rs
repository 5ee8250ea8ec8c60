//! Names of features: the headers of tables and the lists beside them.

use super::check::SplitName;
use super::header::{self, Header};
use super::text::{read_list, read_optional_list};
use super::{files, DataError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Checks what the first lines of the tables say, each with the number of its modality.
///
/// # Errors
/// [`DataError::Header`] if all hold column numbers, [`DataError::FeatureName`] if names disagree.
pub(super) fn check_headers(
    path: &Path,
    headers: &[(usize, PathBuf, Header)],
) -> Result<(), DataError> {
    // One such line may be a sample; in every file it cannot be meant.
    let telling = Header::Numbers { telling: true };
    let all_numbers =
        (headers.iter()).all(|(_, _, header)| matches!(header, Header::Numbers { .. }));
    if let Some((_, file, _)) = headers.iter().find(|(_, _, header)| *header == telling) {
        if all_numbers {
            return Err(header::column_numbers(file));
        }
    }
    for (index, (k, file, found)) in headers.iter().enumerate() {
        let Some(names) = found.names() else {
            continue;
        };
        let listed = path.join(format!("{k}_featname.csv"));
        if let Some(expected) = read_optional_list(&listed)? {
            same_features(file, names, &listed, &expected)?;
        }
        let mut earlier = headers[..index].iter().filter(|(other, _, _)| other == k);
        if let Some((reference, expected)) =
            earlier.find_map(|(_, file, header)| Some((file, header.names()?)))
        {
            same_features(file, names, reference, expected)?;
        }
    }
    Ok(())
}

/// The names of the columns of each modality that has some: those of a header, or listed ones.
pub(super) fn names_by_modality(
    path: &Path,
    headers: &[(usize, PathBuf, Header)],
) -> Result<BTreeMap<usize, Vec<String>>, DataError> {
    let mut all = BTreeMap::new();
    for (k, _, header) in headers {
        let listed = || read_optional_list(&path.join(format!("{k}_featname.csv")));
        let names = match header.names() {
            Some(names) => Some(names.to_vec()),
            None => listed()?,
        };
        if let Some(names) = names {
            all.entry(*k).or_insert(names);
        }
    }
    Ok(all)
}

fn same_features(
    file: &Path,
    names: &[String],
    reference: &Path,
    expected: &[String],
) -> Result<(), DataError> {
    let mut pairs = (1..).zip(names.iter().zip(expected));
    match pairs.find(|(_, (name, expected))| name != expected) {
        None => Ok(()),
        Some((column, (name, expected))) => Err(DataError::FeatureName {
            file: file.display().to_string(),
            column,
            name: name.clone(),
            reference: reference.display().to_string(),
            expected: expected.clone(),
        }),
    }
}

/// Checks that lists of feature names are as long as the tables are wide, which have so many `columns`.
pub(super) fn check_feature_names(
    path: &Path,
    part: SplitName,
    columns: impl Iterator<Item = usize>,
) -> Result<(), DataError> {
    for (k, columns) in (1..).zip(columns) {
        let file = path.join(format!("{k}_featname.csv"));
        if !files::there(&file) {
            continue;
        }
        let names = read_list(&file)?.len();
        if names != columns {
            return Err(DataError::FeatureNames {
                file: file.display().to_string(),
                names,
                table: files::shown(path, &part.table_stem(k)),
                columns,
            });
        }
    }
    Ok(())
}
