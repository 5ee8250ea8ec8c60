//! The files of a data folder that hold one table or one list of labels, in whichever format.

use super::array::{self, read_integers};
use super::{lines, npy, DataError};
use safetensors::tensor::Dtype;
use safetensors::SafeTensors;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::{fs, io};
use zip::ZipArchive;

/// The endings such a file may have.
const FORMATS: [&str; 4] = ["csv", "npy", "npz", "safetensors"];

/// The file `stem.csv`, `stem.npy`, ... of a folder; the CSV file where there is none.
///
/// # Errors
///
/// If there are two.
pub(super) fn locate(folder: &Path, stem: &str) -> Result<PathBuf, DataError> {
    let files = FORMATS.map(|format| folder.join(format!("{stem}.{format}")));
    let mut there = files.iter().filter(|file| file.exists());
    match (there.next(), there.next()) {
        (Some(first), Some(second)) => Err(DataError::TwoFiles {
            first: first.display().to_string(),
            second: second.display().to_string(),
        }),
        (file, _) => Ok(file.unwrap_or(&files[0]).clone()),
    }
}

/// The name of that file, for errors.
pub(super) fn shown(folder: &Path, stem: &str) -> String {
    let file = locate(folder, stem).unwrap_or_else(|_| folder.join(stem));
    file.display().to_string()
}

/// The name of a file without its ending, if that is the ending of a format.
pub(super) fn stem(file: &str) -> Option<&str> {
    let (stem, ending) = file.rsplit_once('.')?;
    FORMATS.contains(&ending).then_some(stem)
}

/// The columns and the row-major values of a table.
///
/// NaN and infinities are read as such; the common checks refuse them.
pub(super) fn read_table(path: &Path) -> Result<(usize, Vec<f64>), DataError> {
    if is_text(path) {
        return lines::read_numbers(path);
    }
    let array = ArrayFile::read(path)?;
    let &[rows, columns] = &array.shape[..] else {
        return Err(array.invalid(path, "2 dimensions (samples by features)"));
    };
    if rows == 0 {
        return Err(empty(path));
    }
    let values = array.numbers(path)?;
    if !array.fortran {
        return Ok((columns, values));
    }
    let place = |index| values[index % columns * rows + index / columns];
    Ok((columns, (0..values.len()).map(place).collect()))
}

/// An array of one dimension, with at least one number.
fn read_list(path: &Path) -> Result<ArrayFile, DataError> {
    let array = ArrayFile::read(path)?;
    match array.shape[..] {
        [0] => Err(empty(path)),
        [_] => Ok(array),
        _ => Err(array.invalid(path, "1 dimension (samples)")),
    }
}

/// The class ids of a list of labels.
pub(super) fn read_labels(path: &Path) -> Result<Vec<usize>, DataError> {
    if is_text(path) {
        return lines::read_labels(path);
    }
    let array = read_list(path)?;
    let labels = read_integers(array.dtype, &array.data)
        .ok_or_else(|| array.invalid(path, "a type of whole numbers such as U8 or I64"))?;
    let label = |(row, label): (usize, i128)| {
        usize::try_from(label).map_err(|_| DataError::NotALabel {
            file: path.display().to_string(),
            row,
            cell: label.to_string(),
        })
    };
    (1..).zip(labels).map(label).collect()
}

/// The numbers of a list.
///
/// NaN and infinities are read as such; the common checks refuse them.
pub(super) fn read_numbers(path: &Path) -> Result<Vec<f64>, DataError> {
    if is_text(path) {
        return lines::read_column(path);
    }
    let array = read_list(path)?;
    array.numbers(path)
}

/// Whether it is a CSV file.
pub(super) fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "csv")
}

fn empty(path: &Path) -> DataError {
    DataError::EmptyFile {
        file: path.display().to_string(),
    }
}

/// The one array of a file.
struct ArrayFile {
    dtype: Dtype,
    shape: Vec<usize>,
    /// Whether the first index runs fastest.
    fortran: bool,
    data: Vec<u8>,
}

impl ArrayFile {
    fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = fs::read(path).map_err(|source| DataError::Unreadable {
            file: path.display().to_string(),
            source,
        })?;
        let ending = path.extension().and_then(|ending| ending.to_str());
        let array = match ending {
            Some("safetensors") => Self::from_safetensors(&bytes),
            Some("npz") => unpack(&bytes).and_then(|bytes| Self::from_npy(&bytes)),
            _ => Self::from_npy(&bytes),
        };
        array.map_err(|problem| DataError::InvalidArray {
            file: path.display().to_string(),
            problem,
        })
    }

    fn from_npy(bytes: &[u8]) -> Result<Self, String> {
        let array = npy::parse(bytes)?;
        Ok(Self {
            dtype: array.dtype,
            shape: array.shape,
            fortran: array.fortran,
            data: array.data.to_vec(),
        })
    }

    fn from_safetensors(bytes: &[u8]) -> Result<Self, String> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| format!("not a whole safetensors file ({error})"))?;
        let mut names = file.names();
        names.sort_unstable();
        let name = only(&names)?;
        let view = file.tensor(name).map_err(|error| error.to_string())?;
        Ok(Self {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            fortran: false,
            data: view.data().to_vec(),
        })
    }

    fn numbers(&self, path: &Path) -> Result<Vec<f64>, DataError> {
        array::read_numbers(self.dtype, &self.data)
            .ok_or_else(|| self.invalid(path, "a type of numbers such as F32 or I64"))
    }

    /// The error for an array other than `expected`.
    fn invalid(&self, path: &Path, expected: &str) -> DataError {
        let (shape, dtype) = (&self.shape, self.dtype);
        DataError::InvalidArray {
            file: path.display().to_string(),
            problem: format!("found shape {shape:?} and type {dtype:?}, expected {expected}"),
        }
    }
}

/// The bytes of the one NPY file in an NPZ file, which is a ZIP archive.
fn unpack(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let damaged = |error: io::Error| format!("not a whole NPZ file ({error})");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| damaged(e.into()))?;
    let names: Result<Vec<_>, _> = archive.file_names().collect();
    only(&names.map_err(|e| damaged(e.into()))?)?;
    let mut entry = archive.by_index(0).map_err(|e| damaged(e.into()))?;
    let mut array = Vec::new();
    entry.read_to_end(&mut array).map_err(damaged)?;
    Ok(array)
}

/// The one name of an array.
fn only<Name: AsRef<str>>(names: &[Name]) -> Result<&str, String> {
    match names {
        [name] => Ok(name.as_ref()),
        [] => Err("the file holds no array".to_owned()),
        more => {
            let names: Vec<&str> = more.iter().map(AsRef::as_ref).collect();
            let (count, names) = (names.len(), names.join(", "));
            Err(format!("found {count} arrays ({names}), expected one"))
        }
    }
}
