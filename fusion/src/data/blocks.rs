//! The text of a file, some whole lines at a time: a file may be larger than memory.

use super::text::{empty, unreadable};
use super::DataError;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a block, or a little less: as much as is read at a time where the lines are shorter.
const BYTES: usize = 1 << 20;

/// The blocks of a file, in order. Line ends are those of Unix; the blank lines at the end of the file are left out.
pub(super) struct Blocks<'a> {
    path: &'a Path,
    file: File,
    /// What has been read and not given yet.
    rest: Vec<u8>,
    /// Lines that were given.
    lines: usize,
    /// Whether nothing has been given yet.
    first: bool,
    /// Whether the file is at its end.
    ended: bool,
}

impl<'a> Blocks<'a> {
    /// Opens a file.
    pub fn open(path: &'a Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| unreadable(path, source))?;
        Ok(Self {
            path,
            file,
            rest: Vec::new(),
            lines: 0,
            first: true,
            ended: false,
        })
    }

    /// The next block, with the number of lines before it; `None` at the end. No quoted cell is parted, for there is an even number of
    /// quotes in each.
    ///
    /// # Errors
    /// [`DataError::Unreadable`], also of text that is not UTF-8, and [`DataError::EmptyFile`] where there are only blank lines.
    pub fn next(&mut self) -> Result<Option<(usize, String)>, DataError> {
        let mut wanted = BYTES;
        let block = loop {
            self.fill(wanted)?;
            if self.ended {
                break std::mem::take(&mut self.rest);
            }
            if let Some(end) = end_of_block(&self.rest) {
                let rest = self.rest.split_off(end);
                break std::mem::replace(&mut self.rest, rest);
            }
            wanted = self.rest.len() + BYTES;
        };
        let text = String::from_utf8(block).map_err(|error| {
            let error = io::Error::new(io::ErrorKind::InvalidData, error.utf8_error());
            unreadable(self.path, error)
        })?;
        let text = match self.ended {
            true => text.trim_end(),
            false => &text[..],
        };
        // Spreadsheets put a byte order mark in front of "CSV UTF-8".
        let text = match self.first {
            true => text.strip_prefix('\u{feff}').unwrap_or(text),
            false => text,
        };
        if text.is_empty() {
            return match self.first {
                true => Err(empty(self.path)),
                false => Ok(None),
            };
        }
        let text = match text.contains('\r') {
            true => text.replace("\r\n", "\n").replace('\r', "\n"),
            false => text.to_owned(),
        };
        let before = self.lines;
        self.lines += text.bytes().filter(|&byte| byte == b'\n').count();
        self.first = false;
        Ok(Some((before, text)))
    }

    /// Reads until so many bytes are there, or the file is at its end.
    fn fill(&mut self, wanted: usize) -> Result<(), DataError> {
        let missing = wanted.saturating_sub(self.rest.len());
        let part = (&mut self.file).take(missing as u64);
        let read = { part }.read_to_end(&mut self.rest);
        let read = read.map_err(|source| unreadable(self.path, source))?;
        self.ended = read < missing;
        Ok(())
    }
}

/// Where a block can end: behind a line that is not blank, nor followed by nothing but blank ones, and outside of quotes. Whether blank
/// lines are the last ones of the file is not known yet.
fn end_of_block(bytes: &[u8]) -> Option<usize> {
    let (mut quoted, mut end, mut blank) = (false, None, true);
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted && !blank => (end, blank) = (Some(index + 1), true),
            _ => {}
        }
        blank &= byte.is_ascii_whitespace();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str) -> Vec<(usize, String)> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("1_tr.csv");
        std::fs::write(&path, text).expect("it is written");
        let mut blocks = Blocks::open(&path).expect("it is there");
        std::iter::from_fn(|| blocks.next().expect("sound")).collect()
    }

    #[test]
    fn a_long_file_comes_in_whole_lines_which_are_counted() {
        let lines = BYTES / 4;
        let text = "1,2,3\r\n".repeat(lines) + "\r\n \n";
        let all = blocks(&text);
        assert!(all.len() > 1);
        let mut before = 0;
        for (lines, block) in &all {
            assert_eq!(*lines, before);
            assert!(block.starts_with('1') && !block.contains('\r'));
            before += block.matches('\n').count();
        }
        let whole: String = all.into_iter().map(|(_, block)| block).collect();
        assert_eq!(whole.lines().count(), lines);
        assert!(whole.lines().all(|line| line == "1,2,3"));
    }

    #[test]
    fn blank_lines_go_with_what_follows() {
        let line = "1".repeat(BYTES - 2);
        let all = blocks(&format!("{line}\n\n\n2\n\n"));
        assert_eq!(all.len(), 2);
        assert_eq!(all[1], (1, "\n\n2".to_owned()));
    }

    #[test]
    fn quoted_cells_are_whole() {
        let cell = format!("\"{}\"", "a\n".repeat(BYTES));
        let all = blocks(&format!("{cell}\n1\n"));
        assert!(all[0].1.starts_with(&cell));
    }
}
