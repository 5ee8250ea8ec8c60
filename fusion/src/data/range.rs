//! Numbers beyond those of the dtype a model computes in.

use super::scale::FeatureRange;
use super::{DataError, Features, MinMax, SplitName, Targets};
use equilibria_core::Scalar;

/// What errors call a row, from 0, and a column, from 1, of a modality, from 1, or of the targets where there is none: the file and the row
/// there, from 1.
pub type Place<'a> = dyn Fn(SplitName, Option<usize>, (usize, usize)) -> (String, usize) + 'a;

impl MinMax {
    /// Makes sure that all features, as they are and scaled, are numbers of the type `E`.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] with the first that is none.
    pub fn check_range<E: Scalar>(
        &self,
        part: SplitName,
        modalities: &dyn Features,
        place: &Place<'_>,
    ) -> Result<(), DataError> {
        modalities.scan(&mut |first, tables| {
            for (modality, ranges) in self.modalities.iter().enumerate() {
                for (row, values) in (first..).zip(tables.rows_of(modality)) {
                    let features = ranges.iter().map(Some);
                    check_row::<E>(values, features, |column| {
                        place(part, Some(modality + 1), (row, column))
                    })?;
                }
            }
            Ok(())
        })
    }
}

impl Targets {
    /// Makes sure that all numbers to predict, and those of boxes, are numbers of the type `E`.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] with the first that is none.
    pub fn check_range<E: Scalar>(
        &self,
        part: SplitName,
        place: &Place<'_>,
    ) -> Result<(), DataError> {
        self.check_range_from::<E>(0, part, place)
    }

    /// [`check_range`](Self::check_range) of rows from one on.
    pub(crate) fn check_range_from<E: Scalar>(
        &self,
        first: usize,
        part: SplitName,
        place: &Place<'_>,
    ) -> Result<(), DataError> {
        let check = |row: usize, values: &[f64]| {
            let unscaled = std::iter::repeat(None);
            let place = |column| place(part, None, (first + row, column));
            check_row::<E>(values, unscaled, place)
        };
        match self {
            Self::Numbers(numbers) => {
                let mut rows = numbers.chunks_exact(1).enumerate();
                rows.try_for_each(|(row, own)| check(row, own))
            }
            Self::Boxes(boxes) => {
                (0..boxes.rows.len()).try_for_each(|row| check(row, &boxes.numbers(row)))
            }
            _ => Ok(()),
        }
    }
}

/// Makes sure that the values of a row, as they are and scaled where they are features, are numbers of the type `E`; `place` tells where
/// the one in a column, from 1, is from.
fn check_row<'a, E: Scalar>(
    values: &[f64],
    features: impl Iterator<Item = Option<&'a FeatureRange>>,
    place: impl Fn(usize) -> (String, usize),
) -> Result<(), DataError> {
    for (column, (&value, feature)) in (1..).zip(values.iter().zip(features)) {
        if let Some(problem) = problem::<E>(value, feature) {
            let (file, row) = place(column);
            return Err(DataError::OutOfRange {
                file,
                row,
                column,
                value,
                problem,
            });
        }
    }
    Ok(())
}

fn problem<E: Scalar>(value: f64, feature: Option<&FeatureRange>) -> Option<String> {
    let finite = |value: f64| E::of(value).wide().is_finite();
    let dtype = std::any::type_name::<E>();
    if !finite(value) {
        return Some(format!(
            "beyond the numbers of {dtype}, in which the model computes"
        ));
    }
    let feature = feature.filter(|feature| !finite(feature.scale(value)))?;
    let FeatureRange { minimum, range } = feature;
    Some(format!(
        "beyond the numbers of {dtype} once it is scaled by the training rows (minimum {minimum:e}, range {range:e})"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Boxes, Table};
    use crate::detection::OrientedBox;
    use std::sync::Arc;

    fn refused<E: Scalar>(train: [f64; 2], value: f64) -> Option<String> {
        let table = |values: &[f64]| Table {
            name: String::new(),
            columns: 1,
            values: values.to_vec(),
        };
        let split = crate::data::Split {
            modalities: vec![table(&train)],
            targets: Targets::Classes(vec![0; 2]),
        };
        let scaling = MinMax::fit(&split);
        let place = |_, _, (row, _)| ("1_te.csv".to_owned(), row + 10);
        let tables = vec![table(&[0.0, value])];
        let checked = scaling.check_range::<E>(SplitName::Test, &tables, &place);
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn numbers_beyond_the_dtype_are_located() {
        let message = refused::<f32>([0.0, 1.0], 1e300).expect("beyond f32");
        assert!(message.contains("1_te.csv, row 11, column 1"), "{message}");
        assert!(message.contains("beyond the numbers of f32"), "{message}");
        assert_eq!(refused::<f64>([0.0, 1.0], 1e300), None);
        assert_eq!(refused::<f32>([0.0, 1.0], 3e38), None);
    }

    #[test]
    fn scaling_may_not_leave_the_dtype_either() {
        let message = refused::<f32>([0.0, 1e-20], 1e30).expect("1e50");
        assert!(message.contains("once it is scaled"), "{message}");
        assert_eq!(refused::<f64>([0.0, 1e-20], 1e30), None);
        // The range is beyond f64 itself.
        let message = refused::<f64>([-1e308, 1e308], 1e308).expect("an infinite range");
        assert!(message.contains("range inf"), "{message}");
    }

    #[test]
    fn numbers_to_predict_are_located() {
        let targets = Targets::Numbers(vec![1.0, 1e39]);
        let place = |_, k: Option<usize>, (row, _)| (format!("{k:?}"), row + 1);
        let error = targets
            .check_range::<f32>(SplitName::Train, &place)
            .expect_err("beyond f32");
        assert!(
            error
                .to_string()
                .starts_with("None, row 2, column 1: found 1e39"),
            "{error}"
        );
        assert!(targets.check_range::<f64>(SplitName::Train, &place).is_ok());
    }

    #[test]
    fn numbers_of_boxes_are_located() {
        let at = |y: f64| OrientedBox {
            center: [0.0, y, 0.0],
            size: [1.0; 3],
            heading: 0.0,
        };
        let targets = Targets::Boxes(Boxes {
            classes: ["a", "b"].map(str::to_owned).into(),
            most: 2,
            rows: vec![Arc::new([(at(1.0), 0)]), Arc::new([(at(1e39), 1)])],
        });
        let place = |_, k: Option<usize>, (row, _)| (format!("{k:?}"), row + 1);
        let error = targets.check_range::<f32>(SplitName::Train, &place);
        let message = error.expect_err("beyond f32").to_string();
        assert!(message.starts_with("None, row 2, column 3"), "{message}");
        assert!(targets.check_range::<f64>(SplitName::Train, &place).is_ok());
    }
}
