//! A data set as a folder of files.

use super::check::{check, check_features, check_split, Source, SplitName};
use super::column_facts::ColumnFacts;
use super::column_numbers::check_alike;
use super::dataset::warn_of_unused_classes;
use super::feature_names::{check_feature_names, check_headers, names_by_modality};
use super::files::{self, Reading};
use super::modality_files::modality_names;
use super::row_index::{self, Tables};
use super::target_files::{find_kind, read_targets};
use super::text::{header_of, read_optional_list};
use super::{ids, DataError, DataSet, Split, Table, TargetKind, Targets};
use std::path::Path;

impl DataSet {
    /// Reads a folder with any number of modalities, made of these files:
    ///
    /// | file | content |
    /// |---|---|
    /// | `K_tr.csv`, `K_te.csv` | modality K = 1, 2, ...: comma-separated numbers, one sample per row, under a line of feature names or none |
    /// | `labels_tr.csv`, `labels_te.csv` | one class number, 0, 1, ..., or one class name per line, in the row order of the modalities |
    /// | or `multilabels_tr.csv`, `multilabels_te.csv` | a line with the names of the labels, then for each sample 1 where it has the label and 0 elsewhere |
    /// | or `targets_tr.csv`, `targets_te.csv` | one number per line |
    /// | `K_featname.csv` (optional) | one feature name per line, as many as `K_tr.csv` has columns |
    /// | `classes.csv` (optional) | one class or label name per line; line number from 0 = class number |
    /// | `modalities.csv` (optional) | one modality name per line; line number from 1 = K |
    /// | `K_tr_ids.csv`, `labels_tr_ids.csv`, ... (optional) | one sample name per line, for the rows of the file of that name; rows are put in the order of the targets |
    /// | `samples_tr.csv`, `samples_te.csv` (optional) | the same for all files of the split that have none of their own |
    ///
    /// A table may also be a `K_tr.npy` of two dimensions, or a `K_tr.npz` or
    /// `K_tr.safetensors` that holds one such array and no other: integers,
    /// truth values or floating-point numbers, in C or Fortran order. So may
    /// labels, as class numbers in one dimension, targets, in one dimension,
    /// and multilabels, as 0 and 1 in two dimensions with names from
    /// `classes.csv`.
    ///
    /// The set is named after the folder. Without `modalities.csv`, modalities
    /// are counted by their files and named by number; without `classes.csv`,
    /// classes are named by number up to the largest training label, or are the
    /// sorted names among the training labels. A whole number is a class however
    /// it is written, as 2, 2.0 or 2e0. Windows line ends, blank lines at the end
    /// of a file, quotes and spaces around a cell are accepted. Values are
    /// returned as they are, unscaled.
    ///
    /// # Errors
    ///
    /// If a file is missing, unreadable, empty or malformed, if there are two
    /// of the same content, if a table cannot be meant as it stands (a header of
    /// column numbers, a row index as a column), or if the files do not fit
    /// together; the error names the file and, where there is one, the row and
    /// column.
    pub fn from_folder(path: &Path) -> Result<Self, DataError> {
        let modalities = modality_names(path, &SplitName::BOTH)?;
        let (targets, classes) = read_targets(path, &SplitName::BOTH, None)?;
        let tables = read_tables(path, &modalities, &SplitName::BOTH)?;
        let splits = tables.into_iter().zip(targets);
        let mut splits = splits.map(|(modalities, targets)| Split {
            modalities,
            targets,
        });
        let empty = || Split {
            modalities: Vec::new(),
            targets: Targets::Classes(Vec::new()),
        };
        let mut set = Self {
            name: folder_name(path),
            classes,
            train: splits.next().unwrap_or_else(empty),
            test: splits.next().unwrap_or_else(empty),
        };
        check(&set, Source::Folder(path))?;
        check_feature_names(path, SplitName::Train, columns(&set.train.modalities))?;
        for (part, split) in [
            (SplitName::Train, &mut set.train),
            (SplitName::Test, &mut set.test),
        ] {
            align(path, part, split)?;
        }
        ids::warn_of_shared(path)?;
        if let Targets::Classes(labels) = &set.train.targets {
            let used = labels.iter().copied().collect();
            warn_of_unused_classes(&set.name, &set.classes, &used);
        }
        Ok(set)
    }
}

/// Reads the modalities of one split of a folder as of [`DataSet::from_folder`].
/// Labels, and the files of the other split, are not looked at and need not be
/// there. With names of samples, rows are put in the order of the labels or, without these, of the first modality.
///
/// # Errors
///
/// Those of [`DataSet::from_folder`] for the files it reads.
pub fn features_from_folder(path: &Path, part: SplitName) -> Result<Vec<Table>, DataError> {
    let modalities = modality_names(path, &[part])?;
    let tables = read_tables(path, &modalities, &[part])?;
    let mut tables = tables.into_iter().next().unwrap_or_default();
    check_features(&tables, part, Source::Folder(path))?;
    check_feature_names(path, part, columns(&tables))?;
    ids::align(path, part, ids::named_targets(path, part)?, &mut tables)?;
    Ok(tables)
}

/// Reads one split of a folder as of [`DataSet::from_folder`], for a model trained on the given classes. The files of the
/// other split are not looked at and need not be there; nor need every class.
///
/// # Errors
///
/// Those of [`DataSet::from_folder`] for the files it reads, and [`DataError::OtherClasses`] if `classes.csv` lists others.
pub fn split_from_folder(
    path: &Path,
    part: SplitName,
    classes: &[String],
) -> Result<Split, DataError> {
    let modalities = modality_names(path, &[part])?;
    // A model that predicts numbers has no classes; what it is to say of labels is for its head.
    let trained = Some(classes).filter(|classes| !classes.is_empty());
    let (targets, names) = read_targets(path, &[part], trained)?;
    let tables = read_tables(path, &modalities, &[part])?;
    let read = tables.into_iter().zip(targets).next();
    let (modalities, targets) = read.unwrap_or((Vec::new(), Targets::Classes(Vec::new())));
    let mut split = Split {
        modalities,
        targets,
    };
    let expected = (split.targets.kind(), names.len());
    check_split(&split, expected, part, Source::Folder(path))?;
    check_feature_names(path, part, columns(&split.modalities))?;
    align(path, part, &mut split)?;
    Ok(split)
}

/// The file of a modality, from 1, or of the targets, and the line or row in it, from 1, of a row, from 0, of what is read
/// from a folder.
pub fn place_in_folder(
    path: &Path,
    part: SplitName,
    modality: Option<usize>,
    row: usize,
) -> (String, usize) {
    let kind = find_kind(path, &[part]).unwrap_or(TargetKind::Class);
    let named = ids::named_targets(path, part).ok().flatten();
    let reference = named.map_or_else(|| part.table_stem(1), |(stem, _)| stem);
    let stem = modality.map_or_else(|| part.targets_stem(kind), |k| part.table_stem(k));
    let row = ids::row_in_file(path, part, &reference, &stem, row).unwrap_or(row);
    let file = files::locate(path, &stem).unwrap_or_else(|_| path.join(&stem));
    let named = files::is_text(&file) && matches!(header_of(&file), Ok(Some(_)));
    (file.display().to_string(), row + 1 + usize::from(named))
}

/// Puts the rows of the modalities in the order of the targets, by the names of the samples.
fn align(path: &Path, part: SplitName, split: &mut Split) -> Result<(), DataError> {
    let targets = (part.targets_stem(split.targets.kind()), Some(split.len()));
    ids::align(path, part, Some(targets), &mut split.modalities)
}

/// Numbers of features.
fn columns(tables: &[Table]) -> impl Iterator<Item = usize> + '_ {
    tables.iter().map(|table| table.columns)
}

pub(super) fn folder_name(path: &Path) -> String {
    // A path such as `.` has a last component only once it is resolved.
    let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    full.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The tables of the given splits, as they are in the files; errors are those of [`scan_tables`].
fn read_tables(
    path: &Path,
    modalities: &[String],
    parts: &[SplitName],
) -> Result<Vec<Vec<Table>>, DataError> {
    let table = |name: &String| Table {
        name: name.clone(),
        columns: 0,
        values: Vec::new(),
    };
    let tables = || modalities.iter().map(table).collect();
    let mut all: Vec<Vec<Table>> = parts.iter().map(|_| tables()).collect();
    scan_tables(
        path,
        (modalities.len(), parts),
        Reading::Whole,
        &mut |place, row| {
            let table = &mut all[place.part][place.modality];
            table.columns = row.len();
            table.values.extend_from_slice(row);
            Ok(())
        },
    )?;
    Ok(all)
}

/// Where a row of a table is from; all numbers count from 0.
pub(super) struct RowPlace {
    /// The split among those that are read.
    pub part: usize,
    pub modality: usize,
    pub row: usize,
}

/// What is done with each row.
pub(super) type SeePlacedRow<'a> = dyn FnMut(RowPlace, &[f64]) -> Result<(), DataError> + 'a;

/// Shows the rows of so many tables of the given splits, as they are in the files and table by table; returns what is known of their
/// columns.
///
/// # Errors
/// Besides those of single files, [`DataError::Header`] if all begin with column numbers, [`DataError::RowIndex`], and
/// [`DataError::FeatureName`] if headers disagree.
pub(super) fn scan_tables(
    path: &Path,
    (modalities, parts): (usize, &[SplitName]),
    reading: Reading,
    see: &mut SeePlacedRow<'_>,
) -> Result<Vec<Vec<ColumnFacts>>, DataError> {
    let mut splits = Vec::with_capacity(parts.len());
    let (mut headers, mut firsts) = (Vec::new(), Vec::new());
    let named: Vec<_> = (1..=modalities).map(|k| named(path, parts, k)).collect();
    for (index, &part) in parts.iter().enumerate() {
        let mut tables = Vec::with_capacity(modalities);
        for k in 1..=modalities {
            let file = files::locate(path, &part.table_stem(k))?;
            let mut facts = None;
            let table = files::scan_table(&file, reading, &mut |row| {
                let facts = facts.get_or_insert_with(|| ColumnFacts::new(row.len(), &named[k - 1]));
                let place = RowPlace {
                    part: index,
                    modality: k - 1,
                    row: facts.rows,
                };
                facts.see(row);
                see(place, row)
            })?;
            if table.long_numbers && !files::there(&path.join(format!("{k}_featname.csv"))) {
                let problem = "it identifies the samples by whole numbers, which are too long to be told apart as numbers";
                return Err(row_index::refused(path, part, k, 0, problem.to_owned()));
            }
            firsts.push((k, file.clone(), table.first));
            headers.push((k, file, table.header));
            tables.push(facts.unwrap_or_else(|| ColumnFacts::new(table.columns, &[])));
        }
        splits.push((part, tables));
    }
    check_headers(path, &headers)?;
    check_alike(&firsts)?;
    let names = names_by_modality(path, &headers)?;
    Tables {
        folder: path,
        splits: &splits,
        names: &names,
    }
    .check()?;
    Ok(splits.into_iter().map(|(_, tables)| tables).collect())
}

/// The columns of modality `k` that may be an index by their names, in any of the files.
fn named(path: &Path, parts: &[SplitName], k: usize) -> Vec<usize> {
    let header = |part: &SplitName| {
        let file = files::locate(path, &part.table_stem(k)).ok()?;
        // A header that is faulty is refused when its table is read.
        header_of(&file).ok().filter(|_| files::is_text(&file))?
    };
    let listed = read_optional_list(&path.join(format!("{k}_featname.csv")));
    let lists = parts.iter().filter_map(header).chain(listed.ok().flatten());
    lists.flat_map(|names| row_index::named(&names)).collect()
}
