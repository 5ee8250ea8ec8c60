//! Matrices of several widths whose rows belong to samples.

use std::ops::Range;

use crate::Element;

/// Matrices with one row per sample: `[rows, width]` each, row-major.
pub(super) struct RowMatrices<E> {
    widths: Vec<usize>,
    /// Empty before there is memory for them.
    values: Vec<Vec<E>>,
}

impl<E> Default for RowMatrices<E> {
    fn default() -> Self {
        Self {
            widths: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl<E: Element> RowMatrices<E> {
    /// Matrices of these widths, without any row yet.
    pub fn new(widths: Vec<usize>) -> Self {
        Self {
            values: vec![Vec::new(); widths.len()],
            widths,
        }
    }

    /// Adds a matrix with all its rows.
    pub fn push(&mut self, width: usize, values: Vec<E>) {
        self.widths.push(width);
        self.values.push(values);
    }

    /// Adds other matrices with the same rows.
    pub fn append(&mut self, others: Self) {
        self.widths.extend(others.widths);
        self.values.extend(others.values);
    }

    /// Makes room for this many rows, unless it is there.
    pub fn reserve(&mut self, rows: usize) {
        for (values, width) in self.values.iter_mut().zip(&self.widths) {
            if values.is_empty() {
                values.resize(rows * width, E::zero());
            }
        }
    }

    /// The given rows of every matrix, added to `list`.
    pub fn rows<'m>(&'m self, rows: &Range<usize>, list: &mut Vec<&'m [E]>) {
        let matrices = self.values.iter().zip(&self.widths);
        list.extend(matrices.map(|(values, width)| &values[rows.start * width..rows.end * width]));
    }

    /// [`rows`](Self::rows) for writing.
    pub fn rows_mut<'m>(&'m mut self, rows: &Range<usize>, list: &mut Vec<&'m mut [E]>) {
        let matrices = self.values.iter_mut().zip(&self.widths);
        list.extend(
            matrices.map(|(values, width)| &mut values[rows.start * width..rows.end * width]),
        );
    }

    /// Exchanges two rows.
    pub fn swap(&mut self, a: usize, b: usize) {
        for (values, &width) in self.values.iter_mut().zip(&self.widths) {
            swap_rows(values, width, a, b);
        }
    }
}

/// Exchanges rows `a` and `b` of a row-major matrix with rows of `width` numbers. An empty one has none.
pub(super) fn swap_rows<E>(matrix: &mut [E], width: usize, a: usize, b: usize) {
    if a != b && !matrix.is_empty() {
        let (low, high) = (a.min(b), a.max(b));
        let (head, tail) = matrix.split_at_mut(high * width);
        head[low * width..][..width].swap_with_slice(&mut tail[..width]);
    }
}
