//! What is to be predicted of each sample.

use equilibria_core::{from_host, Backend, Error, Matrix, Result, Scalar};
use std::fmt;

use super::{Answers, Boxes};

/// What is known of each sample, and to be predicted.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One class per sample, an index into [`DataSet::classes`](super::DataSet::classes).
    Classes(Vec<usize>),
    /// Any number of labels per sample.
    LabelSets(LabelSets),
    /// One number per sample.
    Numbers(Vec<f64>),
    /// Answers of ten people per sample.
    Answers(Answers),
    /// Any number of boxes in space per sample.
    Boxes(Boxes),
}

/// Which labels each sample has.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelSets {
    /// Number of labels, those of [`DataSet::classes`](super::DataSet::classes).
    pub columns: usize,
    /// Row after row, one entry per label: whether the sample has it.
    pub values: Vec<bool>,
}

/// The kinds of [`Targets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// One class per row.
    Class,
    /// Several labels per row.
    LabelSet,
    /// One number per row.
    Number,
    /// Answers of ten people per row.
    Answers,
    /// Boxes in space per row.
    Boxes,
}

impl TargetKind {
    /// Those that a folder of tables may have.
    pub(super) const ALL: [Self; 3] = [Self::Class, Self::LabelSet, Self::Number];

    /// Name of the files of a folder, before the split, and of the arrays of a bundle.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::Class => "labels",
            Self::LabelSet => "multilabels",
            Self::Number => "targets",
            Self::Answers => "answers",
            Self::Boxes => "boxes",
        }
    }

    /// The head that learns from them, for errors.
    pub(super) fn head(self) -> &'static str {
        match self {
            Self::Class => "multi-class",
            Self::LabelSet => "multi-label",
            Self::Number => "regression",
            Self::Answers => "answers",
            Self::Boxes => "boxes",
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Class => "one class per row",
            Self::LabelSet => "several labels per row",
            Self::Number => "one number per row",
            Self::Answers => return f.write_str("answers of ten people per row"),
            Self::Boxes => return f.write_str("boxes in space per row"),
        };
        write!(f, "{what} (`{}_tr`)", self.stem())
    }
}

impl Targets {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::LabelSets(sets) => sets.values.len().checked_div(sets.columns).unwrap_or(0),
            Self::Numbers(numbers) => numbers.len(),
            Self::Answers(answers) => answers.rows.len(),
            Self::Boxes(boxes) => boxes.rows.len(),
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which kind they are of.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Classes(_) => TargetKind::Class,
            Self::LabelSets(_) => TargetKind::LabelSet,
            Self::Numbers(_) => TargetKind::Number,
            Self::Answers(_) => TargetKind::Answers,
            Self::Boxes(_) => TargetKind::Boxes,
        }
    }

    /// Those of a kind that a folder may have, from rows of so many numbers: the class, a 1 for each label there is, the number. `None` for
    /// other kinds.
    pub(super) fn of_rows(kind: TargetKind, columns: usize, rows: &[f64]) -> Option<Self> {
        Some(match kind {
            TargetKind::Class => Self::Classes(rows.iter().map(|&class| class as usize).collect()),
            TargetKind::LabelSet => Self::LabelSets(LabelSets {
                columns,
                values: rows.iter().map(|&bit| bit > 0.0).collect(),
            }),
            TargetKind::Number => Self::Numbers(rows.to_vec()),
            TargetKind::Answers | TargetKind::Boxes => return None,
        })
    }

    /// Those of the given samples, in the given order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(rows.iter().map(|&i| classes[i]).collect()),
            Self::LabelSets(LabelSets { columns, values }) => Self::LabelSets(LabelSets {
                columns: *columns,
                values: (rows.iter())
                    .flat_map(|&i| &values[i * columns..(i + 1) * columns])
                    .copied()
                    .collect(),
            }),
            Self::Numbers(numbers) => Self::Numbers(rows.iter().map(|&i| numbers[i]).collect()),
            Self::Answers(answers) => Self::Answers(Answers {
                known: answers.known.clone(),
                rows: rows.iter().map(|&i| answers.rows[i].clone()).collect(),
            }),
            Self::Boxes(boxes) => Self::Boxes(Boxes {
                classes: boxes.classes.clone(),
                most: boxes.most,
                rows: rows.iter().map(|&i| boxes.rows[i].clone()).collect(),
            }),
        }
    }

    /// Groups whose shares a [holdout](super::stratified_holdout) keeps: the classes; all samples are one group otherwise.
    pub fn strata(&self) -> Vec<usize> {
        match self {
            Self::Classes(classes) => classes.clone(),
            _ => vec![0; self.len()],
        }
    }

    /// As a matrix of one row per sample: 1 at the class and 0 elsewhere, 1 at every label, the number, or how many people gave each
    /// answer; or the [numbers](Boxes::numbers) of all boxes, whatever `columns` is.
    ///
    /// # Errors
    /// [`Error::Shape`] if they do not fit into `columns`.
    pub fn matrix<E: Scalar, D: Backend<E>>(
        &self,
        device: &D,
        columns: usize,
    ) -> Result<Matrix<E, D>> {
        let bit = |bit: bool| if bit { E::one() } else { E::zero() };
        let (width, values) = match self {
            Self::Classes(classes) => (columns, one_hot(classes, columns)?),
            Self::LabelSets(sets) => (sets.columns, sets.values.iter().map(|&b| bit(b)).collect()),
            Self::Numbers(numbers) => (1, numbers.iter().map(|&number| E::of(number)).collect()),
            Self::Answers(answers) => (answers.known.len(), people(answers)),
            Self::Boxes(boxes) => {
                let numbers = (0..boxes.rows.len()).flat_map(|row| boxes.numbers(row));
                let shape = (boxes.rows.len(), boxes.most * Boxes::NUMBERS);
                return from_host(device, numbers.map(E::of).collect(), shape);
            }
        };
        if width != columns {
            return Err(Error::Shape {
                what: format!("the targets, {}", self.kind()),
                expected: format!("[{}, {columns}]", self.len()),
                got: format!("[{}, {width}]", self.len()),
            });
        }
        from_host(device, values, (self.len(), columns))
    }
}

/// How many people gave each answer.
fn people<E: Scalar>(answers: &Answers) -> Vec<E> {
    let columns = answers.known.len();
    let mut values = vec![E::zero(); answers.rows.len() * columns];
    for (row, answered) in answers.rows.iter().enumerate() {
        for &(answer, count) in &answered.counts {
            values[row * columns + answer] = E::of(count as f64);
        }
    }
    values
}

fn one_hot<E: Scalar>(classes: &[usize], columns: usize) -> Result<Vec<E>> {
    let mut values = vec![E::zero(); classes.len() * columns];
    for (row, &class) in classes.iter().enumerate() {
        if class >= columns {
            return Err(Error::Shape {
                what: format!("label of row {row}"),
                expected: format!("below {columns}"),
                got: class.to_string(),
            });
        }
        values[row * columns + class] = E::one();
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::prelude::Cpu;

    fn sets(columns: usize, bits: &[u8]) -> Targets {
        let values = bits.iter().map(|&bit| bit == 1).collect();
        Targets::LabelSets(LabelSets { columns, values })
    }

    #[test]
    fn rows_are_selected_whole() {
        let picked = sets(3, &[1, 0, 0, 0, 1, 1]).select(&[1, 0, 1]);
        assert_eq!(picked, sets(3, &[0, 1, 1, 1, 0, 0, 0, 1, 1]));
        assert_eq!((picked.len(), picked.strata()), (3, vec![0; 3]));
        let numbers = Targets::Numbers(vec![1.5, -2.0]);
        assert_eq!(numbers.select(&[1]), Targets::Numbers(vec![-2.0]));
        assert_eq!(Targets::Classes(vec![2, 0]).strata(), [2, 0]);
    }

    #[test]
    fn matrices_hold_ones_or_the_numbers() {
        let matrix = |targets: Targets, columns| {
            let matrix = targets.matrix::<f64, _>(&Cpu::default(), columns);
            matrix.map(|matrix| matrix.as_vec())
        };
        let classes = || Targets::Classes(vec![1, 0]);
        assert_eq!(matrix(classes(), 2).expect("fits"), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(matrix(sets(2, &[1, 1]), 2).expect("fits"), [1.0, 1.0]);
        let numbers = || Targets::Numbers(vec![-1.5]);
        assert_eq!(matrix(numbers(), 1).expect("fits"), [-1.5]);
        for wrong in [
            matrix(classes(), 1),
            matrix(sets(2, &[1, 1]), 3),
            matrix(numbers(), 2),
        ] {
            assert!(matches!(wrong, Err(Error::Shape { .. })));
        }
    }
}
