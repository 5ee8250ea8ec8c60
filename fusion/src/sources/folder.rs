//! Data from a folder.

use std::path::Path;

use equilibria_core::prelude::*;

use crate::data::{
    features_from_folder, names_in_folder, place_in_folder, split_from_folder, DataError, DataSet,
    Features, Names, OsPath, Rows, Samples, Split, SplitName, StreamedFolder, Table,
};
use crate::model::DataSource;

plugin! {
    /// A folder of comma-separated files, `K_tr.csv` and `K_te.csv` for modality K = 1..N, `labels_tr.csv`, `labels_te.csv`.
    ///
    /// In place of the labels, one class number or name per line, there may be `multilabels_tr.csv` and `multilabels_te.csv`,
    /// columns of 0 and 1 under a line with their names, or `targets_tr.csv` and `targets_te.csv`, one number per line.
    /// Optional: `classes.csv`, `modalities.csv`, `K_featname.csv`, and names of samples by which rows are aligned,
    /// `K_tr_ids.csv`, `labels_tr_ids.csv` or `samples_tr.csv`. One sample per row, under a line of feature names or none. A
    /// table or list of targets may be an `.npy`, `.npz` or `.safetensors` file in place of `.csv`.
    pub struct Folder: DataSource {
        /// The folder; `--data DIR` overrides it.
        pub path: OsPath = OsPath::from("."),
        /// Whether tables are read batch by batch, for those that are larger than memory. The numbers stay the same. Each file is read
        /// once, with all checks, into a file that takes 8 bytes for each number, is on the disk of the run folder, has no name, and is
        /// gone when the program ends.
        pub stream: bool = false,
    }
}

impl Folder {
    fn streamed<'a>(&'a self, scratch: &'a Path) -> StreamedFolder<'a> {
        let path = self.path.as_ref();
        StreamedFolder { path, scratch }
    }
}

#[typetag::serde(name = "folder")]
impl DataSource for Folder {
    fn load(&self) -> Result<DataSet, DataError> {
        DataSet::from_folder(self.path.as_ref())
    }

    fn features(&self, part: SplitName) -> Result<Vec<Table>, DataError> {
        features_from_folder(self.path.as_ref(), part)
    }

    fn split(&self, part: SplitName, classes: &[String]) -> Result<Split, DataError> {
        split_from_folder(self.path.as_ref(), part, classes)
    }

    fn samples(&self, scratch: &Path) -> Result<Samples, DataError> {
        match self.stream {
            true => self.streamed(scratch).samples(),
            false => Ok(self.load()?.into()),
        }
    }

    fn stored_features(
        &self,
        part: SplitName,
        scratch: &Path,
    ) -> Result<Box<dyn Features>, DataError> {
        match self.stream {
            true => self.streamed(scratch).features(part),
            false => Ok(Box::new(self.features(part)?)),
        }
    }

    fn stored_split(
        &self,
        part: SplitName,
        classes: &[String],
        scratch: &Path,
    ) -> Result<Box<dyn Rows>, DataError> {
        match self.stream {
            true => self.streamed(scratch).rows(part, classes),
            false => Ok(Box::new(self.split(part, classes)?)),
        }
    }

    fn streams(&self) -> bool {
        self.stream
    }

    fn names(&self) -> Result<Vec<Names>, DataError> {
        names_in_folder(self.path.as_ref())
    }

    fn place(
        &self,
        part: SplitName,
        modality: Option<usize>,
        (row, _): (usize, usize),
    ) -> (String, usize) {
        place_in_folder(self.path.as_ref(), part, modality, row)
    }
}
