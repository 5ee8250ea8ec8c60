//! The movies of MM-IMDB.

use std::ops::Range;

use equilibria_core::prelude::*;

use crate::data::{DataError, DataSet, Movies, OsPath};
use crate::model::DataSource;

plugin! {
    /// Movies with two modalities, text and poster, and several genres each: the arrays of MM-IMDB in a folder.
    ///
    /// `features.npy`, `vgg_features.npy` and `genres.npy` have a row for each movie, in one order; `genre_names.csv` may name the genres.
    /// One line makes them of the original file:
    /// `python -c "import h5py, json, numpy as n; f = h5py.File('multimodal_imdb.hdf5'); [n.save(k, f[k]) for k in ('features', 'vgg_features', 'genres')]; open('genre_names.csv', 'w').write('\n'.join(json.loads(f['genres'].attrs['target_names'])))"`.
    /// Rows to learn from come first, then those for validation, which are used so where `training.validation` is above 0 and learned from
    /// else, then those for the final evaluation. Nothing is scaled.
    ///
    /// Reference: J. Arevalo et al., Gated Multimodal Units for Information Fusion, arXiv 1702.01992.
    pub struct MmImdb: DataSource {
        /// The folder.
        pub path: OsPath = OsPath::from("."),
        /// Movies to learn from.
        pub train: usize = 15_552,
        /// Movies for validation.
        pub dev: usize = 2_608,
    }
}

#[typetag::serde(name = "mm-imdb")]
impl DataSource for MmImdb {
    fn load(&self) -> Result<DataSet, DataError> {
        Movies::read(self.path.as_ref())?.into_set(self.train + self.dev)
    }

    fn validation(&self) -> Option<Range<usize>> {
        (self.dev > 0).then(|| self.train..self.train + self.dev)
    }

    fn scaled(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Targets;

    /// An array of F64 numbers as NumPy writes it.
    fn npy(rows: usize, columns: usize, values: &[f64]) -> Vec<u8> {
        let header =
            format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16 + 1).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.push(b'\n');
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    #[test]
    fn movies_are_divided_by_their_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, columns: usize, value: fn(usize) -> f64| {
            let values: Vec<f64> = (0..4 * columns).map(value).collect();
            std::fs::write(folder.path().join(name), npy(4, columns, &values)).expect("written");
        };
        write("features.npy", 3, |entry| entry as f64);
        write("vgg_features.npy", 2, |entry| -(entry as f64));
        write("genres.npy", 2, |entry| (entry % 3 % 2) as f64);
        std::fs::write(folder.path().join("genre_names.csv"), "Drama\nCrime\n").expect("written");
        let source = |train, dev| MmImdb {
            path: OsPath::from(folder.path()),
            train,
            dev,
        };
        let set = source(2, 1).load().expect("four movies");
        assert_eq!(set.classes, ["Drama", "Crime"]);
        assert_eq!((set.train.len(), set.test.len()), (3, 1));
        assert_eq!(set.test.modalities[0].values, [9.0, 10.0, 11.0]);
        assert_eq!(set.train.modalities[1].columns, 2);
        let Targets::LabelSets(sets) = &set.train.targets else {
            panic!("several genres");
        };
        assert_eq!(sets.values, [false, true, false, false, true, false]);
        assert_eq!(source(2, 1).validation(), Some(2..3));
        assert_eq!(source(2, 0).validation(), None);

        let error = source(3, 1)
            .load()
            .expect_err("no movie is left")
            .to_string();
        assert!(
            error.contains("found 4 movies, expected more than 4"),
            "{error}"
        );
        write("genres.npy", 2, |entry| entry as f64);
        let error = source(2, 1).load().expect_err("2 is no bit").to_string();
        assert!(error.contains("found 2 in row 2, column 1"), "{error}");
    }
}
