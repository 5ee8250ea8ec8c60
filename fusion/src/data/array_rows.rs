//! Arrays whose rows are read one after the other: a file may be larger than memory.

use super::files::{self, NUMBERS};
use super::text::{empty, unreadable, SeeRow};
use super::{npy, DataError};
use crate::dtype;
use safetensors::tensor::{Dtype, Metadata};
use safetensors::SafeTensorError;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use zip::ZipArchive;

/// Bytes that are read at a time.
const BUFFER: usize = 1 << 20;

/// The longest header of an array in an NPZ file; those of NumPy have some hundred bytes.
const LONGEST_HEADER: usize = 1 << 20;

/// Bytes of the list of arrays in a safetensors file, at most, as of the crate that reads whole ones.
const LONGEST_LIST: u64 = 100_000_000;

/// The one array of a file, at its first row.
pub(super) struct ArrayRows<'a> {
    path: &'a Path,
    dtype: Dtype,
    shape: Vec<usize>,
    fortran: bool,
    /// Bytes of a number.
    size: usize,
    big_endian: bool,
    bytes: Box<dyn Read>,
}

impl<'a> ArrayRows<'a> {
    /// Opens a file and reads what it tells of its array.
    ///
    /// # Errors
    /// [`DataError::Unreadable`] and [`DataError::InvalidArray`].
    pub fn open(path: &'a Path) -> Result<Self, DataError> {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let opened = match ending {
            Some("safetensors") => Self::from_safetensors(path),
            Some("npz") => Self::from_npz(path),
            _ => Self::from_npy(path),
        };
        opened.map_err(|fault| match fault {
            Fault::Io(source) => unreadable(path, source),
            Fault::Content(problem) => DataError::InvalidArray {
                file: path.display().to_string(),
                problem,
            },
        })
    }

    fn from_npy(path: &'a Path) -> Result<Self, Fault> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut header = Vec::new();
        (&mut file).take(12).read_to_end(&mut header)?;
        if let Some(&start) = header.first_chunk() {
            let missing = npy::header_bytes(start).saturating_sub(start.len());
            (&mut file).take(missing as u64).read_to_end(&mut header)?;
        }
        let array = npy::describe(&header)?;
        let start = array.start as u64;
        array.check_bytes(length.saturating_sub(start))?;
        file.seek(SeekFrom::Start(start))?;
        Ok(Self::described(path, array, Box::new(file)))
    }

    fn from_npz(path: &'a Path) -> Result<Self, Fault> {
        let damaged = |error: io::Error| format!("not a whole NPZ file ({error})");
        let open = || -> Result<ZipArchive<BufReader<File>>, Fault> {
            let file = BufReader::new(File::open(path)?);
            Ok(ZipArchive::new(file).map_err(|error| damaged(error.into()))?)
        };
        let mut archive = open()?;
        let names: Result<Vec<_>, _> = archive.file_names().collect();
        files::only(&names.map_err(|error| damaged(error.into()))?)?;
        let mut entry = archive.by_index(0).map_err(|error| damaged(error.into()))?;
        let length = entry.size();
        let mut header = Vec::new();
        (&mut entry)
            .take(12)
            .read_to_end(&mut header)
            .map_err(damaged)?;
        if let Some(&start) = header.first_chunk() {
            let missing = npy::header_bytes(start).saturating_sub(start.len());
            (&mut entry)
                .take(missing.min(LONGEST_HEADER) as u64)
                .read_to_end(&mut header)
                .map_err(damaged)?;
        }
        drop(entry);
        let array = npy::describe(&header)?;
        array.check_bytes(length.saturating_sub(array.start as u64))?;
        // The reader of an entry borrows its archive: another thread unpacks it.
        let (start, mut archive) = (array.start as u64, open()?);
        let (reader, mut writer) = io::pipe()?;
        std::thread::Builder::new().spawn(move || -> io::Result<()> {
            let mut entry = archive.by_index(0).map_err(io::Error::from)?;
            io::copy(&mut (&mut entry).take(start), &mut io::sink())?;
            // Whoever reads has stopped, or finds the array too short.
            io::copy(&mut entry, &mut writer).map(drop)
        })?;
        Ok(Self::described(path, array, Box::new(reader)))
    }

    fn from_safetensors(path: &'a Path) -> Result<Self, Fault> {
        let damaged = |error: SafeTensorError| format!("not a whole safetensors file ({error})");
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut start = Vec::new();
        (&mut file).take(8).read_to_end(&mut start)?;
        let Some(&bytes) = start.first_chunk() else {
            return Err(damaged(SafeTensorError::HeaderTooSmall).into());
        };
        let bytes = u64::from_le_bytes(bytes);
        if bytes > LONGEST_LIST {
            return Err(damaged(SafeTensorError::HeaderTooLarge).into());
        }
        let (mut header, start) = (Vec::new(), bytes + 8);
        (&mut file).take(bytes).read_to_end(&mut header)?;
        if start > length {
            return Err(damaged(SafeTensorError::InvalidHeaderLength).into());
        }
        let header = std::str::from_utf8(&header)
            .map_err(|error| damaged(SafeTensorError::InvalidHeader(error)))?;
        let metadata: Metadata = serde_json::from_str(header)
            .map_err(|error| damaged(SafeTensorError::InvalidHeaderDeserialization(error)))?;
        // Of the whole file the crate makes sure itself, and wants all of it for that.
        let tensors = metadata.tensors();
        let end = tensors.values().map(|info| info.data_offsets.1).max();
        if start.checked_add(end.unwrap_or(0) as u64) != Some(length) {
            return Err(damaged(SafeTensorError::MetadataIncompleteBuffer).into());
        }
        let mut names: Vec<&String> = tensors.keys().collect();
        names.sort_unstable();
        let info = &tensors[files::only(&names)?];
        file.seek(SeekFrom::Start(start))?;
        Ok(Self {
            path,
            dtype: info.dtype,
            shape: info.shape.clone(),
            fortran: false,
            size: info.dtype.bitsize() / 8,
            big_endian: false,
            bytes: Box::new(file),
        })
    }

    fn described(path: &'a Path, array: npy::Described, bytes: Box<dyn Read>) -> Self {
        Self {
            path,
            dtype: array.dtype,
            shape: array.shape,
            fortran: array.fortran,
            size: array.size,
            big_endian: array.big_endian,
            bytes,
        }
    }

    /// Columns of a matrix.
    pub fn columns(&self) -> Option<usize> {
        match self.shape[..] {
            [_, columns] => Some(columns),
            _ => None,
        }
    }

    /// Shows the rows of a matrix, in order; returns how many columns it has.
    ///
    /// # Errors
    /// [`DataError::InvalidArray`] for an array that is none, or has its columns one after the other; those of `see`.
    pub fn scan_matrix(self, see: &mut SeeRow<'_>) -> Result<usize, DataError> {
        let [rows, columns] = self.shape[..] else {
            return Err(self.invalid("2 dimensions (samples by features)"));
        };
        if rows == 0 {
            return Err(empty(self.path));
        }
        if columns == 0 {
            return Err(self.invalid("at least one column"));
        }
        if self.fortran && rows > 1 && columns > 1 {
            let expected =
                "rows one after the other where tables are streamed, `numpy.ascontiguousarray(a)`";
            return Err(self.invalid(expected));
        }
        self.scan((rows, columns), see)?;
        Ok(columns)
    }

    /// Shows the numbers of a list, in order.
    ///
    /// # Errors
    /// [`DataError::InvalidArray`] for an array of more dimensions; those of `see`.
    pub fn scan_list(self, see: &mut SeeRow<'_>) -> Result<(), DataError> {
        match self.shape[..] {
            [0] | [0, 1] => Err(empty(self.path)),
            [rows] | [rows, 1] => self.scan((rows, 1), see),
            _ => Err(self.invalid("1 dimension (samples)")),
        }
    }

    fn scan(self, (rows, columns): (usize, usize), see: &mut SeeRow<'_>) -> Result<(), DataError> {
        if self.size == 0 || dtype::numbers(self.dtype, &[]).is_none() {
            return Err(self.invalid(NUMBERS));
        }
        let mut row = vec![0; columns * self.size];
        let mut bytes = BufReader::with_capacity(BUFFER, self.bytes);
        for _ in 0..rows {
            bytes
                .read_exact(&mut row)
                .map_err(|source| unreadable(self.path, source))?;
            if self.big_endian {
                row.chunks_exact_mut(self.size).for_each(<[u8]>::reverse);
            }
            see(&dtype::numbers(self.dtype, &row).unwrap_or_default())?;
        }
        Ok(())
    }

    fn invalid(&self, expected: &str) -> DataError {
        files::invalid(self.path, (&self.shape, self.dtype), expected)
    }
}

/// Why a file cannot be read.
enum Fault {
    Io(io::Error),
    Content(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<String> for Fault {
    fn from(problem: String) -> Self {
        Self::Content(problem)
    }
}
