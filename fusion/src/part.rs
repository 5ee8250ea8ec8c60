//! A part of a batch, which goes through a model by itself.

use std::ops::Range;

use equilibria_core::{Error, Result};

/// Some rows of a batch that follow one another.
///
/// What is drawn for a row depends on its number in the batch, so that rows get the same masks and probes in whatever parts they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Number of the first row in the batch, from 0.
    pub first: usize,
    /// Rows of the part.
    pub rows: usize,
    /// Rows of the batch.
    pub of: usize,
}

impl Part {
    /// The rows of a range.
    pub fn new(range: Range<usize>, of: usize) -> Self {
        Self {
            first: range.start,
            rows: range.len(),
            of,
        }
    }

    /// Whether it is all of the batch.
    pub fn is_whole(&self) -> bool {
        self.rows == self.of
    }

    /// Its rows among those of the batch, in [0, 1].
    pub fn share(&self) -> f64 {
        self.rows as f64 / self.of as f64
    }

    /// Number of the first row of a matrix with so many rows, where each row of the part stands for the same number of them.
    ///
    /// # Errors
    /// [`Error::Shape`] where it does not.
    pub fn first_of(&self, rows: usize) -> Result<usize> {
        Ok(self.first * self.each(rows)?)
    }

    /// Rows of the matrix of the whole batch, of which the part has so many.
    ///
    /// # Errors
    /// Those of [`first_of`](Self::first_of).
    pub fn all_of(&self, rows: usize) -> Result<usize> {
        Ok(self.of * self.each(rows)?)
    }

    fn each(&self, rows: usize) -> Result<usize> {
        match rows.is_multiple_of(self.rows.max(1)) {
            true => Ok(rows / self.rows.max(1)),
            false => Err(Error::Shape {
                what: "a matrix of a part of a batch".to_owned(),
                expected: format!("a multiple of {} rows", self.rows),
                got: rows.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_stand_for_several_are_counted_so() {
        let part = Part::new(4..7, 10);
        assert_eq!((part.first, part.rows, part.of), (4, 3, 10));
        assert_eq!(part.first_of(3).expect("one each"), 4);
        assert_eq!(part.first_of(6).expect("two each"), 8);
        assert_eq!(part.all_of(6).expect("two each"), 20);
        assert!(part.first_of(7).is_err());
        assert!((part.share() - 0.3).abs() < 1e-15 && !part.is_whole());
        assert!(Part::new(0..10, 10).is_whole());
    }
}
