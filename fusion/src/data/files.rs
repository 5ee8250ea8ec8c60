//! The files of a data folder that hold one table or one list of labels, in whichever format.

use super::array_rows::ArrayRows;
use super::header::Header;
use super::text::{self, empty, Scan, SeeRow};
use super::{npy, DataError};
use crate::dtype;
use safetensors::tensor::Dtype;
use safetensors::SafeTensors;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::{fs, io};
use zip::ZipArchive;

/// The endings such a file may have.
pub(super) const FORMATS: [&str; 4] = ["csv", "npy", "npz", "safetensors"];

/// What an array is to hold.
pub(super) const NUMBERS: &str = "a type of numbers such as F32 or I64, so convert it";

/// The file `stem.csv`, `stem.npy`, ... of a folder; the CSV file where there is none.
///
/// # Errors
///
/// If there are two.
pub(super) fn locate(folder: &Path, stem: &str) -> Result<PathBuf, DataError> {
    let files = FORMATS.map(|format| folder.join(format!("{stem}.{format}")));
    let mut found = files.iter().filter(|file| there(file));
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => Err(DataError::TwoFiles {
            first: first.display().to_string(),
            second: second.display().to_string(),
        }),
        (file, _) => Ok(file.unwrap_or(&files[0]).clone()),
    }
}

/// Whether there is such a file. A link to one that is not there counts: the one it names is meant to be read.
pub(super) fn there(file: &Path) -> bool {
    file.symlink_metadata().is_ok()
}

/// Why the system refuses a file, and what to do about it.
pub(super) fn why_unreadable(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => {
            "it is not there, or a link to a file that is not there; put the file in its place"
        }
        io::ErrorKind::IsADirectory => {
            "it is a folder, expected a file; give the folder another name"
        }
        io::ErrorKind::PermissionDenied => "its permissions do not allow it; change them",
        io::ErrorKind::InvalidData => {
            "it is not UTF-8 text; write it so, `df.to_csv(encoding=\"utf-8\")`"
        }
        _ => "expected a readable file of UTF-8 text, so check its permissions and encoding",
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

/// How a file of numbers is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// At once, where it is an array.
    Whole,
    /// Some rows at a time.
    Streamed,
}

/// Shows the rows of a table, in order.
///
/// NaN and infinities of an array are shown as such; the common checks refuse them.
pub(super) fn scan_table(
    path: &Path,
    reading: Reading,
    see: &mut SeeRow<'_>,
) -> Result<Scan, DataError> {
    if is_text(path) {
        return text::scan_numbers(path, see);
    }
    let columns = match reading {
        Reading::Streamed => ArrayRows::open(path)?.scan_matrix(see)?,
        Reading::Whole => {
            let (columns, values) = read_table(path)?;
            values.chunks(columns).try_for_each(see)?;
            columns
        }
    };
    Ok(Scan {
        header: Header::None,
        first: None,
        long_numbers: false,
        columns,
    })
}

/// Columns of a table; `None` where it cannot be read.
pub(super) fn width(path: &Path) -> Option<usize> {
    match is_text(path) {
        true => text::width(path),
        false => ArrayRows::open(path).ok()?.columns(),
    }
}

/// The columns and the row-major values of an array of two dimensions, both at least 1.
pub(super) fn read_table(path: &Path) -> Result<(usize, Vec<f64>), DataError> {
    let array = ArrayFile::read(path)?;
    let &[rows, columns] = &array.shape[..] else {
        return Err(array.invalid(path, "2 dimensions (samples by features)"));
    };
    if rows == 0 {
        return Err(empty(path));
    }
    if columns == 0 {
        return Err(array.invalid(path, "at least one column"));
    }
    let values = array.row_major(path, [rows, columns])?;
    Ok((columns, values))
}

/// The shape, of at least 1 by 1, and the row-major numbers of the matrix of a name in an NPZ file.
pub(super) fn read_matrix(path: &Path, name: &str) -> Result<([usize; 2], Vec<f64>), DataError> {
    let array = ArrayFile::read_named(path, Some(name))?;
    match array.shape[..] {
        [rows, columns] if rows > 0 && columns > 0 => {
            let shape = [rows, columns];
            Ok((shape, array.row_major(path, shape)?))
        }
        _ => Err(array.invalid(path, "2 dimensions of at least 1")),
    }
}

/// The shape and the numbers of an array with any number of axes, the first of which runs slowest.
pub(super) fn read_array(path: &Path) -> Result<(Vec<usize>, Vec<f64>), DataError> {
    let array = ArrayFile::read(path)?;
    match array.fortran && array.shape.len() > 1 {
        true => Err(array.invalid(
            path,
            "rows one after the other, `numpy.ascontiguousarray(a)`",
        )),
        false => Ok((array.shape.clone(), array.numbers(path)?)),
    }
}

/// Shows the numbers of a list, in order.
///
/// NaN and infinities of an array are shown as such; the common checks refuse them.
pub(super) fn scan_list(
    path: &Path,
    reading: Reading,
    see: &mut SeeRow<'_>,
) -> Result<(), DataError> {
    if is_text(path) {
        return text::scan_column(path, see);
    }
    if reading == Reading::Streamed {
        return ArrayRows::open(path)?.scan_list(see);
    }
    let array = ArrayFile::read(path)?;
    match array.shape[..] {
        [0] | [0, 1] => Err(empty(path)),
        [_] | [_, 1] => array.numbers(path)?.chunks(1).try_for_each(see),
        _ => Err(array.invalid(path, "1 dimension (samples)")),
    }
}

/// Shows the cells of a list of labels, in order.
pub(super) fn scan_cells(
    path: &Path,
    reading: Reading,
    see: &mut dyn FnMut(&str) -> Result<(), DataError>,
) -> Result<(), DataError> {
    if is_text(path) {
        return text::scan_cells(path, see);
    }
    // All digits of a number beyond those of classes would hide what it is.
    let cell = |number: f64| match number.abs() < 1e16 {
        true => number.to_string(),
        false => format!("{number:e}"),
    };
    scan_list(path, reading, &mut |row| see(&cell(row[0])))
}

/// Whether it is a CSV file.
pub(super) fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "csv")
}

/// The error for an array of a shape and a type other than `expected`.
pub(super) fn invalid(path: &Path, (shape, dtype): (&[usize], Dtype), expected: &str) -> DataError {
    DataError::InvalidArray {
        file: path.display().to_string(),
        problem: format!("found shape {shape:?} and type {dtype:?}, expected {expected}"),
    }
}

/// One array of a file.
struct ArrayFile {
    dtype: Dtype,
    shape: Vec<usize>,
    /// Whether the first index runs fastest.
    fortran: bool,
    data: Vec<u8>,
}

impl ArrayFile {
    /// The only one.
    fn read(path: &Path) -> Result<Self, DataError> {
        Self::read_named(path, None)
    }

    /// That of a name in an NPZ file, or the only one.
    fn read_named(path: &Path, name: Option<&str>) -> Result<Self, DataError> {
        let bytes = fs::read(path).map_err(|source| DataError::Unreadable {
            file: path.display().to_string(),
            source,
        })?;
        let ending = path.extension().and_then(|ending| ending.to_str());
        let array = match ending {
            Some("safetensors") => Self::from_safetensors(&bytes),
            Some("npz") => unpack(&bytes, name).and_then(|bytes| Self::from_npy(&bytes)),
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
            data: array.data,
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

    /// The numbers of a matrix, the first index slowest.
    fn row_major(&self, path: &Path, [rows, columns]: [usize; 2]) -> Result<Vec<f64>, DataError> {
        let values = self.numbers(path)?;
        let place = |index| values[index % columns * rows + index / columns];
        Ok(match self.fortran {
            true => (0..values.len()).map(place).collect(),
            false => values,
        })
    }

    fn numbers(&self, path: &Path) -> Result<Vec<f64>, DataError> {
        dtype::numbers(self.dtype, &self.data).ok_or_else(|| self.invalid(path, NUMBERS))
    }

    /// The error for an array other than `expected`.
    fn invalid(&self, path: &Path, expected: &str) -> DataError {
        invalid(path, (&self.shape, self.dtype), expected)
    }
}

/// The bytes of one NPY file in an NPZ file, which is a ZIP archive: that of a name, or the only one.
fn unpack(bytes: &[u8], name: Option<&str>) -> Result<Vec<u8>, String> {
    let damaged = |error: io::Error| format!("not a whole NPZ file ({error})");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| damaged(e.into()))?;
    let names: Result<Vec<_>, _> = archive.file_names().collect();
    let names = names.map_err(|e| damaged(e.into()))?;
    let own = |name: &str| {
        let entry = format!("{name}.npy");
        let place = names.iter().position(|other| *other == entry);
        place.ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            format!(
                "found the arrays {}, expected one called {entry}",
                names.join(", ")
            )
        })
    };
    let place = match name {
        Some(name) => own(name)?,
        None => only(&names).map(|_| 0)?,
    };
    let entry = archive.by_index(place).map_err(|e| damaged(e.into()))?;
    // What unpacks to more than it says could go on for long.
    let (size, mut array) = (entry.size(), Vec::new());
    let mut bounded = entry.take(size.saturating_add(1));
    bounded.read_to_end(&mut array).map_err(damaged)?;
    match array.len() as u64 == size {
        true => Ok(array),
        false => Err(format!(
            "not a whole NPZ file (its array is not of the {size} bytes that it says)"
        )),
    }
}

/// The one name of an array.
pub(super) fn only<Name: AsRef<str>>(names: &[Name]) -> Result<&str, String> {
    match names {
        [name] => Ok(name.as_ref()),
        [] => Err("the file holds no array".to_owned()),
        more => {
            let names: Vec<&str> = more.iter().map(AsRef::as_ref).collect();
            let sparse = match names.contains(&"indptr.npy") {
                true => {
                    "; a sparse matrix is to be made dense, `numpy.save(file, matrix.toarray())`"
                }
                false => "",
            };
            let (count, names) = (names.len(), names.join(", "));
            Err(format!(
                "found {count} arrays ({names}), expected one{sparse}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    /// An archive with 1000 zeros.
    fn zeros() -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        archive.start_file("x.npy", options).expect("an entry");
        archive.write_all(&[0; 1000]).expect("written");
        archive.finish().expect("an archive").into_inner()
    }

    #[test]
    fn an_archive_that_unpacks_to_another_size_than_it_says_is_refused() {
        let archive = zeros();
        assert_eq!(unpack(&archive, None), Ok(vec![0; 1000]));
        let entry = archive.windows(4).position(|bytes| bytes == b"PK\x01\x02");
        let size = entry.expect("the list of entries") + 24;
        for said in [0u32, 10, 999, 1001, u32::MAX - 1] {
            let mut archive = archive.clone();
            archive[size..size + 4].copy_from_slice(&said.to_le_bytes());
            let problem = unpack(&archive, None).expect_err("another size");
            assert!(
                problem.contains("not a whole NPZ file"),
                "{said}: {problem}"
            );
        }
    }
}
