//! Data from a folder.

use std::path::Path;

use equilibria_core::prelude::*;

use crate::data::{features_from_folder, DataError, DataSet, Part, Table};
use crate::model::DataSource;

plugin! {
    /// A folder of comma-separated files, `K_tr.csv` and `K_te.csv` for modality K = 1..N, `labels_tr.csv`, `labels_te.csv`.
    ///
    /// In place of the labels, one class per line, there may be `multilabels_tr.csv` and `multilabels_te.csv`, columns of 0 and
    /// 1 under a line with their names, or `targets_tr.csv` and `targets_te.csv`, one number per line.
    /// Optional: `classes.csv`, `modalities.csv`, `K_featname.csv`. No other headers; one sample per row. A table or
    /// list of targets may be an `.npy`, `.npz` or `.safetensors` file in place of `.csv`.
    pub struct Folder: DataSource {
        /// The folder; `--data DIR` overrides it.
        pub path: String = ".".to_owned(),
    }
}

#[typetag::serde(name = "folder")]
impl DataSource for Folder {
    fn load(&self) -> Result<DataSet, DataError> {
        DataSet::from_folder(Path::new(&self.path))
    }

    fn features(&self, part: Part) -> Result<Vec<Table>, DataError> {
        features_from_folder(Path::new(&self.path), part)
    }
}
