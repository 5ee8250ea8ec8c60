//! Min-max scaling learned on the training rows.

use super::{DataError, Features, Split, Table};
use serde::{Deserialize, Serialize};

/// How one feature is scaled: `(value - minimum) / range`, in the units of the
/// feature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FeatureRange {
    /// Smallest training value.
    pub minimum: f64,
    /// Largest minus smallest training value, or 1 for a constant feature.
    pub range: f64,
}

impl FeatureRange {
    /// That of a feature between two extremes.
    fn of((minimum, maximum): (f64, f64)) -> Self {
        let range = maximum - minimum;
        Self {
            minimum,
            range: if range > 0.0 { range } else { 1.0 },
        }
    }

    /// A value of the feature, made dimensionless.
    pub fn scale(&self, value: f64) -> f64 {
        (value - self.minimum) / self.range
    }
}

/// Per-feature scaling of the training rows to [0, 1].
///
/// Other rows are mapped by the same rule and may fall outside [0, 1]; they
/// are not clipped, since by how much they do is information too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MinMax {
    /// For each modality, one entry per column.
    pub modalities: Vec<Vec<FeatureRange>>,
}

impl MinMax {
    /// Checks a scaling that was read from a file: one entry for each of the `columns` of every modality, and no range that
    /// turns features around or divides by 0.
    ///
    /// # Errors
    ///
    /// What is wrong, and where.
    pub fn validate(&self, columns: &[usize]) -> Result<(), String> {
        let counts: Vec<usize> = self.modalities.iter().map(Vec::len).collect();
        if counts != columns {
            return Err(format!(
                "has features {counts:?}, expected {columns:?}, one number per modality; take a file that is as it was written"
            ));
        }
        for (k, ranges) in (1..).zip(&self.modalities) {
            for (column, feature) in (1..).zip(ranges) {
                let FeatureRange { minimum, range } = *feature;
                if !(minimum.is_finite() && range.is_finite() && range > 0.0) {
                    return Err(format!(
                        "modality {k}, column {column}: found the minimum {minimum} and the range {range}, expected finite numbers, \
                         and a range above 0; take a file that is as it was written"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Learns minimum and range of every feature from the training rows.
    ///
    /// A split without rows gives the identity.
    pub fn fit(train: &Split) -> Self {
        let tables = train.modalities.iter();
        let ranges = tables.map(|table| {
            let mut extremes = Extremes::new(table.columns);
            (0..table.rows()).for_each(|row| extremes.see(table.row(row)));
            extremes.ranges()
        });
        Self {
            modalities: ranges.collect(),
        }
    }

    /// [`fit`](Self::fit) to rows wherever they are.
    ///
    /// # Errors
    ///
    /// [`StreamError::RowFile`](super::StreamError::RowFile).
    pub fn fit_rows(train: &dyn Features) -> Result<Self, DataError> {
        let mut extremes: Vec<Extremes> = train.columns().into_iter().map(Extremes::new).collect();
        train.scan(&mut |_, tables| {
            for (modality, extremes) in extremes.iter_mut().enumerate() {
                tables.rows_of(modality).for_each(|row| extremes.see(row));
            }
            Ok(())
        })?;
        Ok(Self {
            modalities: extremes.into_iter().map(Extremes::ranges).collect(),
        })
    }

    /// The scaling that changes nothing.
    pub fn identity(train: &Split) -> Self {
        let tables = train.modalities.iter();
        Self::identity_of(&tables.map(|table| table.columns).collect::<Vec<_>>())
    }

    /// The scaling that changes nothing, of modalities with so many features.
    pub fn identity_of(columns: &[usize]) -> Self {
        let same = FeatureRange {
            minimum: 0.0,
            range: 1.0,
        };
        let columns = columns.iter();
        Self {
            modalities: columns.map(|&columns| vec![same; columns]).collect(),
        }
    }

    /// Scales a split in place; its values become dimensionless.
    ///
    /// # Errors
    ///
    /// If the split differs in its modalities or columns from the one that was
    /// fitted; it is then left unchanged.
    pub fn apply(&self, split: &mut Split) -> Result<(), DataError> {
        self.scale(&mut split.modalities)
    }

    /// [`apply`](Self::apply) to the modalities of a split, whose labels may not be known.
    pub fn scale(&self, modalities: &mut [Table]) -> Result<(), DataError> {
        self.check(modalities)?;
        for (ranges, table) in self.modalities.iter().zip(modalities) {
            // An empty table may claim 0 columns, which chunks refuse.
            for row in table.values.chunks_exact_mut(table.columns.max(1)) {
                for (value, feature) in row.iter_mut().zip(ranges) {
                    *value = feature.scale(*value);
                }
            }
        }
        Ok(())
    }

    fn check(&self, modalities: &[Table]) -> Result<(), DataError> {
        let tables = modalities.iter();
        let columns: Vec<_> = tables
            .map(|table| (&table.name[..], table.columns))
            .collect();
        self.check_columns(&columns)
    }

    /// Makes sure that modalities, of these names and numbers of features, are those the scaling was learned on.
    pub(super) fn check_columns(&self, modalities: &[(&str, usize)]) -> Result<(), DataError> {
        let (found, expected) = (modalities.len(), self.modalities.len());
        if found != expected {
            return Err(DataError::ModalityCount {
                file: "the split to scale".into(),
                found,
                expected,
            });
        }
        let pairs = (1..).zip(self.modalities.iter().zip(modalities));
        for (k, (ranges, &(name, columns))) in pairs {
            if ranges.len() != columns {
                return Err(DataError::ColumnCount {
                    file: format!("modality {k} ({name}) of the split to scale"),
                    columns,
                    reference: "the rows the scaling was fitted on".into(),
                    expected: ranges.len(),
                });
            }
        }
        Ok(())
    }
}

/// The smallest and the largest number of each feature of a modality, gathered row by row; none without rows.
struct Extremes(Vec<Option<(f64, f64)>>);

impl Extremes {
    fn new(columns: usize) -> Self {
        Self(vec![None; columns])
    }

    fn see(&mut self, row: &[f64]) {
        for (extremes, &value) in self.0.iter_mut().zip(row) {
            let (low, high) = extremes.unwrap_or((value, value));
            *extremes = Some((low.min(value), high.max(value)));
        }
    }

    fn ranges(self) -> Vec<FeatureRange> {
        let extremes = self.0.into_iter();
        extremes
            .map(|extremes| FeatureRange::of(extremes.unwrap_or((0.0, 1.0))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Targets;
    use approx::assert_relative_eq;

    fn split(columns: usize, values: &[f64]) -> Split {
        Split {
            modalities: vec![Table {
                name: "a".into(),
                columns,
                values: values.to_vec(),
            }],
            targets: Targets::Classes(vec![0; values.len() / columns]),
        }
    }

    #[test]
    fn training_rows_fill_the_unit_interval_and_others_are_not_clipped() -> Result<(), DataError> {
        let mut train = split(2, &[-1.0, 5.0, 3.0, 5.0, 1.0, 5.0]);
        let mut test = split(2, &[7.0, 4.5, -3.0, 5.0]);
        let scale = MinMax::fit(&train);
        scale.apply(&mut train)?;
        scale.apply(&mut test)?;
        // Column 1: (v + 1) / 4. Column 2 is constant: (v - 5) / 1.
        let expected = [0.0, 0.0, 1.0, 0.0, 0.5, 0.0];
        assert_relative_eq!(train.modalities[0].values[..], expected[..]);
        assert_relative_eq!(test.modalities[0].values[..], [2.0, -0.5, -0.5, 0.0][..]);
        Ok(())
    }

    #[test]
    fn a_split_that_does_not_fit_is_left_unchanged() {
        let scale = MinMax::fit(&split(2, &[0.0, 1.0, 2.0, 3.0]));
        let mut narrow = split(1, &[4.0]);
        let error = scale.apply(&mut narrow).map_err(|error| error.to_string());
        let expected = "modality 1 (a) of the split to scale has 1 columns, expected 2";
        assert!(error.is_err_and(|message| message.starts_with(expected)));
        assert_eq!(narrow, split(1, &[4.0]));

        let mut more = split(2, &[4.0, 5.0]);
        more.modalities.push(more.modalities[0].clone());
        assert!(matches!(
            scale.apply(&mut more),
            Err(DataError::ModalityCount {
                found: 2,
                expected: 1,
                ..
            })
        ));
    }

    #[test]
    fn scalings_that_no_data_has_are_refused() {
        let scale = MinMax::fit(&split(2, &[0.0, 1.0, 2.0, 3.0]));
        assert_eq!(scale.validate(&[2]), Ok(()));
        for columns in [&[][..], &[3], &[2, 2]] {
            let message = scale.validate(columns).expect_err("other columns");
            assert!(message.contains("features [2]"), "{message}");
        }
        for (minimum, range) in [
            (0.0, 0.0),
            (0.0, -1.0),
            (f64::NAN, 1.0),
            (0.0, f64::INFINITY),
        ] {
            let mut odd = scale.clone();
            odd.modalities[0][1] = FeatureRange { minimum, range };
            let message = odd.validate(&[2]).expect_err("odd");
            assert!(message.starts_with("modality 1, column 2:"), "{message}");
        }
    }

    #[test]
    fn scaling_survives_json() -> Result<(), serde_json::Error> {
        let scale = MinMax::fit(&split(2, &[0.25, 1.0, 0.75, 1.0]));
        let text = serde_json::to_string(&scale)?;
        assert_eq!(serde_json::from_str::<MinMax>(&text)?, scale);
        Ok(())
    }
}
