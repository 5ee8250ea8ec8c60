//! Boxes that are to be found.

use std::sync::Arc;

use crate::detection::OrientedBox;

/// The boxes of each sample, any number of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Boxes {
    /// Names of their classes, those of [`DataSet::classes`](super::DataSet::classes).
    pub classes: Arc<[String]>,
    /// How many a sample has room for.
    pub most: usize,
    /// One entry per sample: each box with its class.
    pub rows: Vec<Arc<[(OrientedBox, usize)]>>,
}

impl Boxes {
    /// Numbers of a box in a matrix: 1 more than its class, or 0 where there is no box, then middle, size and heading.
    pub const NUMBERS: usize = 8;

    /// The boxes of one sample as numbers, with zeros for those that are not there.
    pub fn numbers(&self, row: usize) -> Vec<f64> {
        let mut numbers = Vec::with_capacity(self.most * Self::NUMBERS);
        for (shape, class) in self.rows[row].iter() {
            numbers.push(*class as f64 + 1.0);
            numbers.extend(shape.center.iter().chain(&shape.size));
            numbers.push(shape.heading);
        }
        numbers.resize(self.most * Self::NUMBERS, 0.0);
        numbers
    }

    /// The boxes of a sample from these numbers.
    pub fn from_numbers(numbers: &[f64]) -> Vec<(OrientedBox, usize)> {
        let there = numbers
            .chunks_exact(Self::NUMBERS)
            .filter(|own| own[0] > 0.5);
        let shape = |own: &[f64]| {
            let shape = OrientedBox {
                center: [own[1], own[2], own[3]],
                size: [own[4], own[5], own[6]],
                heading: own[7],
            };
            (shape, (own[0] - 0.5) as usize)
        };
        there.map(shape).collect()
    }
}

/// Boxes that do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoxesError {
    /// More boxes in a row than there is room for.
    #[error("{file}, row {row}: found {found} boxes, expected at most {most}; set `data.boxes` to as many as a row has")]
    TooMany {
        /// The targets.
        file: String,
        /// The row, from 1.
        row: usize,
        /// Boxes of the row.
        found: usize,
        /// Boxes that a row has room for.
        most: usize,
    },

    /// Boxes of no class at all.
    #[error("found no classes of boxes; name one at least, in `data.classes` of the data source `scans`")]
    NoClasses,

    /// Mean sizes that are not as many as there are classes.
    #[error("found {sizes} mean sizes for {classes} classes of boxes; give `head.sizes` one for each class, in their order, or none")]
    Sizes {
        /// Mean sizes of the head.
        sizes: usize,
        /// Classes of the data.
        classes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_back_from_their_numbers() {
        let shape = |x: f64| OrientedBox {
            center: [x, 2.0, -1.0],
            size: [0.5, 0.25, 0.125],
            heading: -3.0,
        };
        let boxes = Boxes {
            classes: ["a", "b"].map(str::to_owned).into(),
            most: 3,
            rows: vec![Arc::new([(shape(0.0), 0), (shape(1.0), 1)]), Arc::new([])],
        };
        let numbers = boxes.numbers(0);
        assert_eq!(numbers.len(), 24);
        assert_eq!(Boxes::from_numbers(&numbers), boxes.rows[0].to_vec());
        assert!(Boxes::from_numbers(&boxes.numbers(1)).is_empty());
    }
}
