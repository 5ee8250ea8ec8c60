//! A data folder whose tables are read batch by batch.
//!
//! Each file is read once, row by row, with all checks of [`DataSet::from_folder`](super::DataSet::from_folder), and its numbers are put
//! into a file of rows of fixed width, of which any can be read.

use super::check::{
    check_class_names, check_measured, check_same_columns, Measured, Source, SplitName,
};
use super::column_facts::ColumnFacts;
use super::dataset::warn_of_unused_classes;
use super::feature_names::check_feature_names;
use super::files::{self, Reading};
use super::folder::{folder_name, scan_tables, RowPlace};
use super::modality_files::modality_names;
use super::row_file::RowFile;
use super::streamed::{Modality, Streamed, StreamedFeatures, StreamedTargets, MOST_ROWS};
use super::target_files::{scan_targets, TargetsScan};
use super::{ids, DataError, Features, Rows, Samples, StreamError, TargetKind};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// A data folder and the folder that files of rows are put into.
#[derive(Debug, Clone, Copy)]
pub struct StreamedFolder<'a> {
    /// The data, as of [`DataSet::from_folder`](super::DataSet::from_folder).
    pub path: &'a Path,
    /// Where there is room for 8 bytes for each number of the tables, and as much again where names of samples put rows into another
    /// order. Nothing is left there. A folder for reading only is left alone, and that of temporary files is taken.
    pub scratch: &'a Path,
}

impl StreamedFolder<'_> {
    /// Both splits.
    ///
    /// Training takes 4 bytes of memory for each row, and 4 more for each that is held out. Before, while the files are read, class
    /// labels take 4 bytes a row, and lists of samples all their names.
    ///
    /// # Errors
    /// Those of [`DataSet::from_folder`](super::DataSet::from_folder), [`StreamError`]; and
    /// [`DataError::InvalidArray`] for an array whose columns follow one another.
    pub fn samples(self) -> Result<Samples, DataError> {
        let mut splits = self.read(&SplitName::BOTH, None)?;
        let (train, test) = (splits.rows.remove(0), splits.rows.remove(0));
        let columns = [&train, &test].map(|rows| (rows as &dyn Features).columns());
        let [of_train, of_test] = columns;
        check_same_columns(&of_train, &of_test, Source::Folder(self.path))?;
        check_feature_names(self.path, SplitName::Train, of_train.into_iter())?;
        ids::warn_of_shared(self.path)?;
        let name = folder_name(self.path);
        if splits.kind == TargetKind::Class {
            warn_of_unused_classes(&name, &splits.classes, &splits.used);
        }
        Ok(Samples {
            name,
            classes: splits.classes,
            train: Box::new(train),
            test: Box::new(test),
        })
    }

    /// One split with its targets, as of [`split_from_folder`](super::split_from_folder).
    ///
    /// # Errors
    /// Those of [`split_from_folder`](super::split_from_folder) and of [`samples`](Self::samples).
    pub fn rows(self, part: SplitName, classes: &[String]) -> Result<Box<dyn Rows>, DataError> {
        let trained = Some(classes).filter(|classes| !classes.is_empty());
        let mut splits = self.read(&[part], trained)?;
        let rows = splits.rows.remove(0);
        let columns = (&rows as &dyn Features).columns();
        check_feature_names(self.path, part, columns.into_iter())?;
        Ok(Box::new(rows))
    }

    /// The modalities of one split, as of [`features_from_folder`](super::features_from_folder).
    ///
    /// # Errors
    /// Those of [`features_from_folder`](super::features_from_folder) and of [`samples`](Self::samples).
    pub fn features(self, part: SplitName) -> Result<Box<dyn Features>, DataError> {
        let names = modality_names(self.path, &[part])?;
        let mut stored = self.tables(&names, &[part])?;
        let (file, facts) = stored.remove(0);
        let rows = facts.first().map_or(0, |table| table.rows);
        let reference = || Source::Folder(self.path).table(part, 1);
        self.check_tables(&facts, part, (rows, reference))?;
        let columns = facts.iter().map(|table| table.columns);
        check_feature_names(self.path, part, columns)?;
        let targets = ids::named_targets(self.path, part)?;
        let features = self.aligned((file, &facts), &names, (part, targets))?;
        Ok(Box::new(features))
    }

    /// The given splits.
    fn read(self, parts: &[SplitName], trained: Option<&[String]>) -> Result<Splits, DataError> {
        let names = modality_names(self.path, parts)?;
        let targets = self.targets(parts, trained)?;
        let stored = self.tables(&names, parts)?;
        let TargetsScan {
            kind,
            names: classes,
            used,
            ..
        } = targets.scan;
        let source = Source::Folder(self.path);
        if trained.is_none() {
            check_class_names(&classes, kind, source)?;
        }
        let mut rows = Vec::new();
        let files = targets.files.into_iter().zip(targets.rows);
        for ((&part, (file, facts)), (targets, count)) in parts.iter().zip(stored).zip(files) {
            if count == 0 {
                let file = source.targets(part, kind);
                return Err(DataError::EmptyFile { file });
            }
            let reference = || source.targets(part, kind);
            self.check_tables(&facts, part, (count, reference))?;
            let stem = (part.targets_stem(kind), Some(count));
            rows.push(Streamed {
                features: self.aligned((file, &facts), &names, (part, Some(stem)))?,
                targets: StreamedTargets {
                    kind,
                    file: Arc::new(targets),
                },
            });
        }
        Ok(Splits {
            kind,
            classes,
            used,
            rows,
        })
    }

    /// The targets of the given splits, in files.
    fn targets(
        self,
        parts: &[SplitName],
        trained: Option<&[String]>,
    ) -> Result<StoredTargets, DataError> {
        let (mut files, mut rows) = (Vec::new(), vec![0; parts.len()]);
        let mut stray = None;
        let scan = scan_targets(
            self.path,
            parts,
            trained,
            Reading::Streamed,
            &mut |part, row| {
                while files.len() <= part {
                    files.push(RowFile::create(self.scratch, row.len())?);
                }
                if let Some(&value) = row.iter().find(|value| !value.is_finite()) {
                    stray.get_or_insert((part, rows[part] + 1, value));
                }
                files[part].write(rows[part], 0, row)?;
                rows[part] += 1;
                Ok(())
            },
        )?;
        if let Some((part, row, value)) = stray {
            return Err(DataError::NotFinite {
                file: Source::Folder(self.path).targets(parts[part], scan.kind),
                row,
                column: 1,
                value,
            });
        }
        while files.len() < parts.len() {
            files.push(RowFile::create(self.scratch, scan.columns)?);
        }
        Ok(StoredTargets { scan, files, rows })
    }

    /// The tables of the given splits, in files, and what is known of their columns.
    fn tables(
        self,
        names: &[String],
        parts: &[SplitName],
    ) -> Result<Vec<(RowFile, Vec<ColumnFacts>)>, DataError> {
        let mut stored: Vec<Stored> = Vec::new();
        for &part in parts {
            stored.push(self.room(names.len(), part)?);
        }
        let shape = (names.len(), parts);
        let facts = scan_tables(self.path, shape, Reading::Streamed, &mut |place, row| {
            let RowPlace { part, modality, .. } = place;
            let own = &stored[part];
            let file = || files::shown(self.path, &parts[part].table_stem(modality + 1));
            if row.len() != own.widths[modality] {
                return Err(DataError::RaggedRow {
                    file: file(),
                    row: place.row + 1,
                    expected: own.widths[modality],
                    found: row.len(),
                });
            }
            if place.row >= MOST_ROWS {
                return Err(DataError::from(StreamError::TooManyRows {
                    file: file(),
                    rows: place.row + 1,
                    most: MOST_ROWS,
                }));
            }
            let start = own.widths[..modality].iter().sum();
            own.file.write(place.row, start, row)
        })?;
        let stored = stored.into_iter().map(|own| own.file);
        Ok(stored.zip(facts).collect())
    }

    /// An empty file for the rows of a split.
    fn room(self, modalities: usize, part: SplitName) -> Result<Stored, DataError> {
        let width = |k: usize| {
            let file = files::locate(self.path, &part.table_stem(k))?;
            // What cannot be read is refused when it is.
            Ok(files::width(&file).unwrap_or(0))
        };
        let widths = (1..=modalities).map(width);
        let widths: Vec<usize> = widths.collect::<Result<_, DataError>>()?;
        Ok(Stored {
            file: RowFile::create(self.scratch, widths.iter().sum())?,
            widths,
        })
    }

    fn check_tables(
        self,
        facts: &[ColumnFacts],
        part: SplitName,
        (rows, reference): (usize, impl Fn() -> String),
    ) -> Result<(), DataError> {
        for (k, table) in (1..).zip(facts) {
            let measured = Measured {
                rows: table.rows,
                not_finite: table.not_finite,
            };
            let samples = (rows, &reference);
            check_measured(&measured, k, samples, part, Source::Folder(self.path))?;
        }
        Ok(())
    }

    /// The features of a file, in the order of the targets, or else of the first table.
    fn aligned(
        self,
        (file, facts): (RowFile, &[ColumnFacts]),
        names: &[String],
        (part, targets): (SplitName, Option<ids::Counted>),
    ) -> Result<StreamedFeatures, DataError> {
        let mut modalities: Vec<Modality> = Vec::new();
        for (name, table) in names.iter().zip(facts) {
            modalities.push(Modality {
                name: name.clone(),
                columns: table.columns,
                start: modalities
                    .last()
                    .map_or(0, |last| last.start + last.columns),
                scale: None,
            });
        }
        let before = usize::from(targets.is_some());
        let tables = (1..).zip(facts);
        let tables = tables.map(|(k, table)| (part.table_stem(k), Some(table.rows)));
        let stems: Vec<_> = targets.into_iter().chain(tables).collect();
        let rows = facts.first().map_or(0, |table| table.rows);
        let orders = ids::orders(self.path, part, &stems)?;
        let orders = orders.filter(|orders| !orders.iter().all(|order| order.is_sorted()));
        let file = match orders {
            Some(orders) => self.ordered(&file, &modalities, &orders[before..], rows)?,
            None => file,
        };
        Ok(StreamedFeatures::new(file, modalities, rows))
    }

    /// The same rows, of each modality in an order of its own.
    fn ordered(
        self,
        file: &RowFile,
        modalities: &[Modality],
        orders: &[Vec<usize>],
        rows: usize,
    ) -> Result<RowFile, DataError> {
        let ordered = RowFile::create(self.scratch, file.width())?;
        for row in 0..rows {
            for (modality, order) in modalities.iter().zip(orders) {
                let values = file.read(&[order[row]])?;
                let own = &values[modality.start..][..modality.columns];
                ordered.write(row, modality.start, own)?;
            }
        }
        Ok(ordered)
    }
}

/// Splits that have been read.
struct Splits {
    kind: TargetKind,
    classes: Vec<String>,
    /// Classes of the first split.
    used: HashSet<usize>,
    rows: Vec<Streamed>,
}

/// Targets that have been read.
struct StoredTargets {
    scan: TargetsScan,
    /// By split.
    files: Vec<RowFile>,
    /// By split.
    rows: Vec<usize>,
}

/// Room for the tables of a split.
struct Stored {
    file: RowFile,
    /// By modality.
    widths: Vec<usize>,
}
