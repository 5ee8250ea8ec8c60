//! Names of samples, by which the rows of a folder's files are aligned.
//!
//! `K_tr_ids.csv` names the rows of `K_tr.csv`, `labels_tr_ids.csv` those of `labels_tr.csv`; `samples_tr.csv` names the
//! rows of all files that have no list of their own. The rows of a split take the order of its targets, if these are there.

use super::check::SplitName;
use super::target_files::find_kind;
use super::text::read_list;
use super::{files, DataError, IdsError, Table};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The names of the rows of a file.
#[derive(Debug)]
pub(super) struct Ids {
    file: PathBuf,
    ids: Vec<String>,
    /// The row of each name, from 0.
    rows: HashMap<String, usize>,
}

impl Ids {
    /// Those of `stem`, if they are known.
    fn read(folder: &Path, stem: &str, part: SplitName) -> Result<Option<Self>, DataError> {
        let own = folder.join(format!("{stem}_ids.csv"));
        let common = folder.join(format!("samples_{}.csv", part.suffix()));
        match [own, common].into_iter().find(|file| files::there(file)) {
            Some(file) => Self::of(file).map(Some),
            None => Ok(None),
        }
    }

    fn of(file: PathBuf) -> Result<Self, DataError> {
        let ids = read_list(&file)?;
        let mut rows = HashMap::with_capacity(ids.len());
        for (row, id) in ids.iter().enumerate() {
            if let Some(first) = rows.insert(id.clone(), row) {
                return Err(DataError::from(IdsError::RepeatedId {
                    file: file.display().to_string(),
                    row: row + 1,
                    first: first + 1,
                    id: id.clone(),
                }));
            }
        }
        Ok(Self { file, ids, rows })
    }

    fn check_count(&self, folder: &Path, stem: &str, rows: usize) -> Result<(), DataError> {
        if self.ids.len() == rows {
            return Ok(());
        }
        Err(DataError::from(IdsError::IdCount {
            file: self.file.display().to_string(),
            ids: self.ids.len(),
            table: files::shown(folder, stem),
            rows,
        }))
    }

    /// For every name of `reference` its row here.
    fn order(&self, reference: &Self) -> Result<Vec<usize>, IdsError> {
        let missing = |without: &Self, with: &Self, row: usize| IdsError::MissingId {
            file: without.file.display().to_string(),
            id: with.ids[row].clone(),
            reference: with.file.display().to_string(),
            row: row + 1,
        };
        if let Some(row) = (self.ids.iter()).position(|id| !reference.rows.contains_key(id)) {
            return Err(missing(reference, self, row));
        }
        let row = |(row, id)| {
            self.rows
                .get(id)
                .copied()
                .ok_or_else(|| missing(self, reference, row))
        };
        reference.ids.iter().enumerate().map(row).collect()
    }
}

/// A file, and its rows where they have been counted.
pub(super) type Counted = (String, Option<usize>);

/// The targets of a split, if there is a file of them whose rows have names.
pub(super) fn named_targets(folder: &Path, part: SplitName) -> Result<Option<Counted>, DataError> {
    // Faults of targets are of no concern to those who need none.
    let Ok(kind) = find_kind(folder, &[part]) else {
        return Ok(None);
    };
    let stem = part.targets_stem(kind);
    let ids = Ids::read(folder, &stem, part)?;
    Ok(ids.map(|_| (stem, None)))
}

/// The order in which each file's rows come after alignment: for each of the `stems`, beside the first, the rows that
/// describe the samples of the first; `None` without any names.
///
/// # Errors
/// [`DataError::MissingFile`] if only some of the files have names, and the errors of a list that is faulty or lacks a
/// sample.
pub(super) fn orders(
    folder: &Path,
    part: SplitName,
    stems: &[Counted],
) -> Result<Option<Vec<Vec<usize>>>, DataError> {
    let mut lists = Vec::with_capacity(stems.len());
    for (stem, rows) in stems {
        let ids = Ids::read(folder, stem, part)?;
        if let (Some(ids), &Some(rows)) = (&ids, rows) {
            ids.check_count(folder, stem, rows)?;
        }
        lists.push(ids);
    }
    let Some(present) = lists.iter().flatten().next() else {
        return Ok(None);
    };
    if let Some(absent) = lists.iter().position(Option::is_none) {
        let stem = &stems[absent].0;
        return Err(DataError::MissingFile {
            file: folder.join(format!("{stem}_ids.csv")).display().to_string(),
            reason: format!(
                "{} is there, and rows are aligned by the names of samples only if every file of the split has them, or if \
                 samples_{}.csv has those of the others",
                present.file.display(),
                part.suffix()
            ),
        });
    }
    let lists: Vec<Ids> = lists.into_iter().flatten().collect();
    let orders = lists.iter().map(|ids| ids.order(&lists[0]));
    Ok(Some(orders.collect::<Result<_, IdsError>>()?))
}

/// Puts the rows of the tables of a split in the order of its targets, or of the first table.
pub(super) fn align(
    folder: &Path,
    part: SplitName,
    targets: Option<Counted>,
    tables: &mut [Table],
) -> Result<(), DataError> {
    let aligned = usize::from(targets.is_some());
    let stems = (1..)
        .zip(tables.iter())
        .map(|(k, table)| (part.table_stem(k), Some(table.rows())));
    let stems: Vec<_> = targets.into_iter().chain(stems).collect();
    let Some(orders) = orders(folder, part, &stems)? else {
        return Ok(());
    };
    for (table, order) in tables.iter_mut().zip(&orders[aligned..]) {
        if !order.is_sorted() {
            *table = table.select(order);
        }
    }
    Ok(())
}

/// Where in the file of `stem` the sample stands that is in `row` of the file of `reference`, both from 0.
pub(super) fn row_in_file(
    folder: &Path,
    part: SplitName,
    reference: &str,
    stem: &str,
    row: usize,
) -> Result<usize, DataError> {
    let ids = Ids::read(folder, stem, part)?;
    let id = Ids::read(folder, reference, part)?.and_then(|ids| ids.ids.get(row).cloned());
    let found = ids.zip(id).and_then(|(ids, id)| ids.rows.get(&id).copied());
    Ok(found.unwrap_or(row))
}

/// Warns of a sample that both splits name: what is learned of it is measured on it.
pub(super) fn warn_of_shared(folder: &Path) -> Result<(), DataError> {
    let [train, test] =
        SplitName::BOTH.map(|part| folder.join(format!("samples_{}.csv", part.suffix())));
    if !files::there(&train) || !files::there(&test) {
        return Ok(());
    }
    let (train, test) = (Ids::of(train)?, Ids::of(test)?);
    if let Some(id) = test.ids.iter().find(|id| train.rows.contains_key(*id)) {
        log::warn!(
            "{}: the sample {id:?} is among the training samples, too; test scores are too good then",
            test.file.display()
        );
    }
    Ok(())
}
