//! Rows that are read from a file batch by batch.

use super::row_file::RowFile;
use super::sampling::all_but;
use super::scale::FeatureRange;
use super::{
    select_modalities, DataError, Features, MinMax, Rows, Table, Tables, TargetKind, Targets,
};
use equilibria_core::parallel::lock;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// The most rows of a split: the numbers of those that are shuffled or left out take 4 bytes each.
pub(super) const MOST_ROWS: usize = u32::MAX as usize;

/// The features of samples in a file.
#[derive(Debug, Clone)]
pub(super) struct StreamedFeatures {
    file: Arc<RowFile>,
    modalities: Vec<Modality>,
    chosen: Chosen,
    ahead: Arc<Mutex<Option<Ahead>>>,
}

/// A modality, and where its features are in a row.
#[derive(Debug, Clone)]
pub(super) struct Modality {
    pub name: String,
    pub columns: usize,
    /// The place of the first.
    pub start: usize,
    /// How they are scaled, where they are.
    pub scale: Option<Arc<[FeatureRange]>>,
}

/// Which rows of a file are meant.
#[derive(Debug, Clone)]
enum Chosen {
    /// The first so many.
    All(usize),
    /// These.
    Only(Arc<[u32]>),
    /// The first so many without these, which ascend.
    Without(usize, Arc<[u32]>),
}

impl Chosen {
    fn len(&self) -> usize {
        match self {
            Self::All(rows) => *rows,
            Self::Only(rows) => rows.len(),
            Self::Without(rows, without) => rows - without.len(),
        }
    }

    /// The row of the file.
    fn row(&self, index: usize) -> usize {
        match self {
            Self::All(_) => index,
            Self::Only(rows) => rows[index] as usize,
            Self::Without(_, without) => {
                // Before the row left out that is number j from 0 there are as many kept ones as its number less j.
                let (mut low, mut high) = (0, without.len());
                while low < high {
                    let middle = low.midpoint(high);
                    match without[middle] as usize - middle <= index {
                        true => low = middle + 1,
                        false => high = middle,
                    }
                }
                index + low
            }
        }
    }

    fn rows(&self, indices: &[usize]) -> Vec<usize> {
        indices.iter().map(|&index| self.row(index)).collect()
    }

    /// All but some, which ascend.
    fn without(&self, indices: &[usize]) -> Self {
        match self {
            Self::All(rows) => Self::Without(*rows, narrow(indices.iter().copied())),
            _ => {
                let kept = all_but(self.len(), indices).map(|index| self.row(index));
                Self::Only(narrow(kept))
            }
        }
    }
}

/// Rows are below [`MOST_ROWS`].
fn narrow(rows: impl Iterator<Item = usize>) -> Arc<[u32]> {
    rows.map(|row| row as u32).collect()
}

/// Rows that another thread reads.
#[derive(Debug)]
struct Ahead {
    rows: Vec<usize>,
    reader: JoinHandle<Result<Vec<f64>, DataError>>,
}

impl StreamedFeatures {
    /// All rows of a file.
    pub fn new(file: RowFile, modalities: Vec<Modality>, rows: usize) -> Self {
        Self {
            file: Arc::new(file),
            modalities,
            chosen: Chosen::All(rows),
            ahead: Arc::default(),
        }
    }

    /// Rows of the file, which may have been read ahead.
    fn rows(&self, rows: &[usize]) -> Result<Vec<f64>, DataError> {
        let ahead = lock(&self.ahead).take_if(|ahead| ahead.rows == rows);
        match ahead.map(|ahead| ahead.reader.join()) {
            Some(Ok(values)) => values,
            // A thread that has failed leaves the rows to this one.
            Some(Err(_)) | None => self.file.read(rows),
        }
    }
}

impl Features for StreamedFeatures {
    fn len(&self) -> usize {
        self.chosen.len()
    }

    fn modalities(&self) -> Vec<(&str, usize)> {
        let modalities = self.modalities.iter();
        modalities.map(|own| (&own.name[..], own.columns)).collect()
    }

    fn tables<'a>(&'a self, rows: &'a [usize]) -> Result<Tables<'a>, DataError> {
        let values = self.rows(&self.chosen.rows(rows))?;
        let table = |modality: &Modality| {
            let mut own = Vec::with_capacity(rows.len() * modality.columns);
            for row in values.chunks_exact(self.file.width().max(1)) {
                let row = &row[modality.start..][..modality.columns];
                match &modality.scale {
                    Some(ranges) => {
                        let pairs = row.iter().zip(&ranges[..]);
                        own.extend(pairs.map(|(&value, feature)| feature.scale(value)));
                    }
                    None => own.extend_from_slice(row),
                }
            }
            Table {
                name: modality.name.clone(),
                columns: modality.columns,
                values: own,
            }
        };
        Ok(Tables::Alone(self.modalities.iter().map(table).collect()))
    }

    fn announce(&self, rows: &[usize]) {
        let (file, rows) = (self.file.clone(), self.chosen.rows(rows));
        let asked = rows.clone();
        let reader = thread::Builder::new().spawn(move || file.read(&asked));
        // Without a thread they are read when they are asked for.
        *lock(&self.ahead) = reader.ok().map(|reader| Ahead { rows, reader });
    }

    fn choose(&mut self, selection: &[usize]) -> Result<(), DataError> {
        self.modalities = select_modalities(&self.modalities, selection)?;
        Ok(())
    }

    /// As of the features in the file: they may be scaled once.
    fn scale(&mut self, scaling: &MinMax) -> Result<(), DataError> {
        scaling.check_columns(&self.modalities())?;
        for (modality, ranges) in self.modalities.iter_mut().zip(&scaling.modalities) {
            modality.scale = Some(ranges[..].into());
        }
        Ok(())
    }
}

/// Samples in files, with what is to be predicted of them.
#[derive(Debug, Clone)]
pub(super) struct Streamed {
    pub features: StreamedFeatures,
    pub targets: StreamedTargets,
}

/// What is to be predicted, in a file.
#[derive(Debug, Clone)]
pub(super) struct StreamedTargets {
    pub kind: TargetKind,
    pub file: Arc<RowFile>,
}

impl Streamed {
    fn chosen(&self, chosen: Chosen) -> Box<dyn Rows> {
        let mut other = self.clone();
        other.features.chosen = chosen;
        Box::new(other)
    }
}

impl Features for Streamed {
    fn len(&self) -> usize {
        self.features.len()
    }

    fn modalities(&self) -> Vec<(&str, usize)> {
        self.features.modalities()
    }

    fn tables<'a>(&'a self, rows: &'a [usize]) -> Result<Tables<'a>, DataError> {
        self.features.tables(rows)
    }

    fn announce(&self, rows: &[usize]) {
        self.features.announce(rows);
    }

    fn choose(&mut self, selection: &[usize]) -> Result<(), DataError> {
        self.features.choose(selection)
    }

    fn scale(&mut self, scaling: &MinMax) -> Result<(), DataError> {
        self.features.scale(scaling)
    }
}

impl Rows for Streamed {
    fn kind(&self) -> TargetKind {
        self.targets.kind
    }

    fn targets(&self, rows: &[usize]) -> Result<Targets, DataError> {
        let StreamedTargets { kind, file } = &self.targets;
        let values = file.read(&self.features.chosen.rows(rows))?;
        let targets = Targets::of_rows(*kind, file.width(), &values);
        // Only kinds of a folder are written.
        Ok(targets.unwrap_or(Targets::Numbers(values)))
    }

    fn select(&self, rows: &[usize]) -> Box<dyn Rows> {
        let rows = self.features.chosen.rows(rows);
        self.chosen(Chosen::Only(narrow(rows.into_iter())))
    }

    fn without(&self, rows: &[usize]) -> Box<dyn Rows> {
        self.chosen(self.features.chosen.without(rows))
    }

    fn features(&self) -> &dyn Features {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_left_out_are_passed_over() {
        for (rows, without) in [
            (6, &[][..]),
            (6, &[0]),
            (6, &[5]),
            (9, &[0, 1, 2]),
            (9, &[1, 3, 4, 8]),
            (3, &[0, 1, 2]),
        ] {
            let kept: Vec<usize> = (0..rows).filter(|row| !without.contains(row)).collect();
            let chosen = Chosen::All(rows).without(without);
            let all: Vec<usize> = (0..chosen.len()).collect();
            assert_eq!(chosen.rows(&all), kept, "{without:?} of {rows}");
        }
        // Twice.
        let chosen = Chosen::All(9).without(&[1, 3]).without(&[0, 6]);
        assert_eq!(chosen.rows(&[0, 1, 4]), [2, 4, 7]);
    }
}
