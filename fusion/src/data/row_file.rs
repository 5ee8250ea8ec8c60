//! Rows of numbers in a file of fixed width, of which any can be read.
//!
//! The file has no name: it is gone when nobody has it open any more, however the program ends.

use super::{DataError, StreamError};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of a number.
const BYTES: usize = 8;

/// The rows, numbers in f64.
#[derive(Debug)]
pub(super) struct RowFile {
    file: File,
    /// The folder it is in, for errors.
    folder: PathBuf,
    /// Numbers of a row.
    width: usize,
}

impl RowFile {
    /// A file in a folder for rows of so many numbers; among temporary files of the system where the folder is for reading only.
    ///
    /// # Errors
    /// [`StreamError::RowFile`].
    pub fn create(folder: &Path, width: usize) -> Result<Self, DataError> {
        let mut folder = folder.to_owned();
        let mut file = tempfile::tempfile_in(&folder);
        let readable = [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
        ];
        if file.as_ref().is_err_and(|e| readable.contains(&e.kind())) {
            folder = std::env::temp_dir();
            file = tempfile::tempfile_in(&folder);
        }
        match file {
            Ok(file) => Ok(Self {
                file,
                folder,
                width,
            }),
            Err(source) => Err(refused(&folder, source)),
        }
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Writes numbers of a row from a column on.
    ///
    /// # Errors
    /// [`StreamError::RowFile`].
    pub fn write(&self, row: usize, column: usize, values: &[f64]) -> Result<(), DataError> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let place = (row * self.width + column) * BYTES;
        let written = write_at(&self.file, &bytes, place as u64);
        written.map_err(|source| refused(&self.folder, source))
    }

    /// The numbers of some rows, one after the other. They are read in the order of the file.
    ///
    /// # Errors
    /// [`StreamError::RowFile`].
    pub fn read(&self, rows: &[usize]) -> Result<Vec<f64>, DataError> {
        let mut values = vec![0.0; rows.len() * self.width];
        let mut places: Vec<usize> = (0..rows.len()).collect();
        places.sort_unstable_by_key(|&place| rows[place]);
        let mut bytes = Vec::new();
        // Rows that follow one another are read at once.
        for run in places.chunk_by(|&a, &b| rows[a] + 1 == rows[b]) {
            bytes.resize(run.len() * self.width * BYTES, 0);
            let start = rows[run[0]] * self.width * BYTES;
            let read = read_at(&self.file, &mut bytes, start as u64);
            read.map_err(|source| refused(&self.folder, source))?;
            let words = bytes.chunks_exact(BYTES);
            let mut numbers =
                words.map(|word| word.try_into().map_or(f64::NAN, f64::from_le_bytes));
            for &place in run {
                let own = &mut values[place * self.width..][..self.width];
                (own.iter_mut().zip(&mut numbers)).for_each(|(value, number)| *value = number);
            }
        }
        Ok(values)
    }
}

fn refused(folder: &Path, source: io::Error) -> DataError {
    DataError::from(StreamError::RowFile {
        folder: folder.display().to_string(),
        source,
    })
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], place: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, place)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], place: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, place)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut place: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        match file.seek_write(bytes, place)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => (bytes, place) = (&bytes[count..], place + count as u64),
        }
    }
    Ok(())
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut place: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        match file.seek_read(bytes, place)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => (bytes, place) = (&mut bytes[count..], place + count as u64),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_they_are_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = RowFile::create(folder.path(), 3).expect("a file");
        for row in 0..5 {
            let value = row as f64;
            file.write(row, 0, &[value]).expect("it is written");
            file.write(row, 1, &[value + 0.25, value + 0.5])
                .expect("it is written");
        }
        let own = |row: f64| [row, row + 0.25, row + 0.5];
        let expected = [3.0, 1.0, 2.0, 1.0].map(own).concat();
        assert_eq!(file.read(&[3, 1, 2, 1]).expect("it is read"), expected);
        assert!(file.read(&[5]).is_err());
        // It has no name.
        let entries = std::fs::read_dir(folder.path()).expect("a folder");
        assert_eq!(entries.count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = RowFile::create(Path::new("no/such/folder"), 1).expect_err("refused");
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }
}
