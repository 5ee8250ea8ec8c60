//! Memory that a program works in.

use crate::Element;

/// Values, tangents and cotangents of the rows of one call, of any content between calls.
#[derive(Debug, Default)]
pub(crate) struct Working<E> {
    /// Values, each in its place.
    pub(super) values: Vec<Vec<E>>,
    /// Tangents, by node.
    pub(super) tangents: Vec<Vec<E>>,
    /// Cotangents on the way to the state and on that to gradients, each in its place.
    pub(super) state_bars: Vec<Vec<E>>,
    pub(super) gradient_bars: Vec<Vec<E>>,
    /// What is added to cotangents that are there already, of values and of tangents, by argument.
    pub(super) addends: [Vec<Vec<E>>; 2],
}

/// Makes room for one matrix of `rows` rows for each width.
pub(super) fn reserve<E: Element>(
    matrices: &mut Vec<Vec<E>>,
    widths: impl ExactSizeIterator<Item = usize>,
    rows: usize,
) {
    if matrices.len() < widths.len() {
        matrices.resize_with(widths.len(), Vec::new);
    }
    for (matrix, width) in matrices.iter_mut().zip(widths) {
        if matrix.len() < rows * width {
            matrix.resize(rows * width, E::zero());
        }
    }
}
