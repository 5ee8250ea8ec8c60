//! Movies: the arrays of MM-IMDB as NumPy writes them.
//!
//! Reference: J. Arevalo, T. Solorio, M. Montes-y-Gómez, F. A. González, Gated Multimodal Units for Information Fusion, arXiv 1702.01992.

use std::path::{Path, PathBuf};

use super::text::read_optional_list;
use super::{files, DataError, DataSet, LabelSets, Split, Table, Targets};

/// Text and poster of movies, and their genres.
#[derive(Debug, Clone, PartialEq)]
pub struct Movies {
    /// Where they are from.
    path: PathBuf,
    /// All movies, in the order of the arrays.
    all: Split,
    /// Names of the genres.
    genres: Vec<String>,
}

impl Movies {
    /// Reads `features.npy`, one row of text features per movie, `vgg_features.npy`, one of its poster, and `genres.npy`, a 1 for each of
    /// its genres, from a folder; `genre_names.csv` may name the genres, one per line.
    ///
    /// # Errors
    /// [`DataError::InvalidArray`] for entries of the genres other than 0 and 1, and those of files that cannot be read.
    pub fn read(folder: &Path) -> Result<Self, DataError> {
        if !folder.is_dir() {
            return Err(DataError::NoFolder {
                path: folder.display().to_string(),
            });
        }
        let table = |stem: &str, name: &str| -> Result<Table, DataError> {
            let (columns, values) = files::read_table(&folder.join(format!("{stem}.npy")))?;
            Ok(Table {
                name: name.to_owned(),
                columns,
                values,
            })
        };
        let genres = table("genres", "genres")?;
        let numbered = || (0..genres.columns).map(|genre| genre.to_string()).collect();
        let named = read_optional_list(&folder.join("genre_names.csv"))?;
        let bit = |(entry, value): (usize, f64)| {
            match value {
            0.0 => Ok(false),
            1.0 => Ok(true),
            other => Err(DataError::InvalidArray {
                file: folder.join("genres.npy").display().to_string(),
                problem: format!(
                    "found {other} in row {}, column {}, expected 1 for the genres of a movie, else 0",
                    entry / genres.columns + 1,
                    entry % genres.columns + 1
                ),
            }),
        }
        };
        let values = genres.values.iter().copied().enumerate().map(bit);
        Ok(Self {
            path: folder.to_owned(),
            genres: named.unwrap_or_else(numbered),
            all: Split {
                modalities: vec![table("features", "text")?, table("vgg_features", "poster")?],
                targets: Targets::LabelSets(LabelSets {
                    columns: genres.columns,
                    values: values.collect::<Result<_, _>>()?,
                }),
            },
        })
    }

    /// The first `train` movies to learn from, and the others for the final evaluation.
    ///
    /// # Errors
    /// [`DataError::InvalidArray`] if there are no others, and those of [`DataSet::validate`].
    pub fn into_set(self, train: usize) -> Result<DataSet, DataError> {
        let rows = self.all.len();
        if train >= rows {
            return Err(DataError::InvalidArray {
                file: self.path.join("genres.npy").display().to_string(),
                problem: format!("found {rows} movies, expected more than {train}, those of `train` and `dev` together"),
            });
        }
        for table in &self.all.modalities {
            if table.rows() != rows {
                return Err(DataError::RowCount {
                    file: format!("{} of {}", table.name, self.path.display()),
                    rows: table.rows(),
                    expected: rows,
                    reference: self.path.join("genres.npy").display().to_string(),
                });
            }
        }
        let part = |rows: std::ops::Range<usize>| self.all.select(&rows.collect::<Vec<_>>());
        let set = DataSet {
            name: self.path.display().to_string(),
            classes: self.genres.clone(),
            train: part(0..train),
            test: part(train..rows),
        };
        set.validate()?;
        Ok(set)
    }
}
