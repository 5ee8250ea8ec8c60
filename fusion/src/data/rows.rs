//! Rows of samples, wherever they are: in memory, or in files that are larger.

use super::sampling::all_but;
use super::{select_modalities, DataError, MinMax, Split, Table, TargetKind, Targets};
use std::fmt::Debug;

/// Rows that are looked at together where all are.
const BLOCK: usize = 256;

/// The features of samples.
pub trait Features: Debug + Send + Sync + dyn_clone::DynClone {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of each modality, and its number of features.
    fn modalities(&self) -> Vec<(&str, usize)>;

    /// The tables with some rows in them, which are below [`len`](Self::len).
    ///
    /// # Errors
    /// [`StreamError::RowFile`](super::StreamError::RowFile).
    fn tables<'a>(&'a self, rows: &'a [usize]) -> Result<Tables<'a>, DataError>;

    /// Tells that these rows will be asked for next, so that they can be read meanwhile. Default: they are there.
    fn announce(&self, _rows: &[usize]) {}

    /// Keeps some of the modalities, numbered from 1, in the given order.
    ///
    /// # Errors
    /// [`DataError::Selection`].
    fn choose(&mut self, selection: &[usize]) -> Result<(), DataError>;

    /// Scales all features from now on.
    ///
    /// # Errors
    /// Those of [`MinMax::scale`].
    fn scale(&mut self, scaling: &MinMax) -> Result<(), DataError>;
}

dyn_clone::clone_trait_object!(Features);

/// Samples with what is to be predicted of them.
pub trait Rows: Features {
    /// Of which kind the targets are.
    fn kind(&self) -> TargetKind;

    /// The targets of some rows, in the given order.
    ///
    /// # Errors
    /// [`StreamError::RowFile`](super::StreamError::RowFile).
    fn targets(&self, rows: &[usize]) -> Result<Targets, DataError>;

    /// Some rows, in the given order.
    fn select(&self, rows: &[usize]) -> Box<dyn Rows>;

    /// All rows but some, which are given in ascending order.
    fn without(&self, rows: &[usize]) -> Box<dyn Rows>;

    /// The features without the targets.
    fn features(&self) -> &dyn Features;

    /// All rows, if they are in memory. Default: they are not.
    fn in_memory(&self) -> Option<&Split> {
        None
    }
}

dyn_clone::clone_trait_object!(Rows);

/// Tables that hold some rows.
#[derive(Debug)]
pub enum Tables<'a> {
    /// Tables with other rows, too, and the places of those that are meant.
    Within(&'a [Table], &'a [usize]),
    /// Tables of these rows alone.
    Alone(Vec<Table>),
}

impl Tables<'_> {
    /// Tables of these rows alone.
    pub fn into_owned(self) -> Vec<Table> {
        match self {
            Self::Within(tables, rows) => tables.iter().map(|table| table.select(rows)).collect(),
            Self::Alone(tables) => tables,
        }
    }

    /// Shows each row of a modality, from 0, in order.
    pub fn rows_of(&self, modality: usize) -> impl Iterator<Item = &[f64]> {
        let (table, rows) = match self {
            Self::Within(tables, rows) => (&tables[modality], Some(rows)),
            Self::Alone(tables) => (&tables[modality], None),
        };
        let count = rows.map_or_else(|| table.rows(), |rows| rows.len());
        (0..count).map(move |row| table.row(rows.map_or(row, |rows| rows[row])))
    }
}

impl dyn Rows + '_ {
    /// Some rows in memory, in the given order.
    ///
    /// # Errors
    /// [`StreamError::RowFile`](super::StreamError::RowFile).
    pub fn read(&self, rows: &[usize]) -> Result<Split, DataError> {
        Ok(Split {
            modalities: self.tables(rows)?.into_owned(),
            targets: self.targets(rows)?,
        })
    }

    /// All rows in memory.
    ///
    /// # Errors
    /// [`StreamError::RowFile`](super::StreamError::RowFile).
    pub fn read_all(&self) -> Result<Split, DataError> {
        self.read(&(0..self.len()).collect::<Vec<_>>())
    }

    /// The [groups](Targets::strata) of all rows, in order, some rows at a time in memory. The first error, if any, is left in `failed`.
    pub fn strata<'a>(
        &'a self,
        failed: &'a mut Result<(), DataError>,
    ) -> impl Iterator<Item = usize> + 'a {
        let blocks = blocks(self.len());
        let strata = blocks.map_while(move |block| match self.targets(&block) {
            Ok(targets) => Some(targets.strata()),
            Err(error) => {
                *failed = Err(error);
                None
            }
        });
        strata.flatten()
    }

    /// Shows the targets of all rows, some rows at a time and in order, with the number of the first.
    ///
    /// # Errors
    /// [`StreamError::RowFile`](super::StreamError::RowFile), and those of `see`.
    pub fn scan_targets(
        &self,
        see: &mut dyn FnMut(usize, &Targets) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        for block in blocks(self.len()) {
            see(block[0], &self.targets(&block)?)?;
        }
        Ok(())
    }
}

impl dyn Features + '_ {
    /// Numbers of features, one per modality.
    pub fn columns(&self) -> Vec<usize> {
        let modalities = self.modalities().into_iter();
        modalities.map(|(_, columns)| columns).collect()
    }

    /// Shows the features of all rows, some rows at a time and in order, with the number of the first.
    ///
    /// # Errors
    /// [`StreamError::RowFile`](super::StreamError::RowFile), and those of `see`.
    pub fn scan(
        &self,
        see: &mut dyn FnMut(usize, &Tables<'_>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        for block in blocks(self.len()) {
            see(block[0], &self.tables(&block)?)?;
        }
        Ok(())
    }
}

/// The rows from 0 on, some at a time.
fn blocks(rows: usize) -> impl Iterator<Item = Vec<usize>> {
    let starts = (0..rows).step_by(BLOCK);
    starts.map(move |start| (start..rows.min(start + BLOCK)).collect())
}

impl Features for Vec<Table> {
    fn len(&self) -> usize {
        self.first().map_or(0, Table::rows)
    }

    fn modalities(&self) -> Vec<(&str, usize)> {
        let tables = self.iter();
        tables
            .map(|table| (&table.name[..], table.columns))
            .collect()
    }

    fn tables<'a>(&'a self, rows: &'a [usize]) -> Result<Tables<'a>, DataError> {
        Ok(Tables::Within(self, rows))
    }

    fn choose(&mut self, selection: &[usize]) -> Result<(), DataError> {
        *self = select_modalities(self, selection)?;
        Ok(())
    }

    fn scale(&mut self, scaling: &MinMax) -> Result<(), DataError> {
        MinMax::scale(scaling, self)
    }
}

impl Features for Split {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn modalities(&self) -> Vec<(&str, usize)> {
        self.modalities.modalities()
    }

    fn tables<'a>(&'a self, rows: &'a [usize]) -> Result<Tables<'a>, DataError> {
        self.modalities.tables(rows)
    }

    fn choose(&mut self, selection: &[usize]) -> Result<(), DataError> {
        self.modalities.choose(selection)
    }

    fn scale(&mut self, scaling: &MinMax) -> Result<(), DataError> {
        scaling.apply(self)
    }
}

impl Rows for Split {
    fn kind(&self) -> TargetKind {
        self.targets.kind()
    }

    fn targets(&self, rows: &[usize]) -> Result<Targets, DataError> {
        Ok(self.targets.select(rows))
    }

    fn select(&self, rows: &[usize]) -> Box<dyn Rows> {
        Box::new(Self::select(self, rows))
    }

    fn without(&self, rows: &[usize]) -> Box<dyn Rows> {
        let kept: Vec<usize> = all_but(self.len(), rows).collect();
        Box::new(Self::select(self, &kept))
    }

    fn features(&self) -> &dyn Features {
        self
    }

    fn in_memory(&self) -> Option<&Split> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split() -> Split {
        let table = |columns: usize| Table {
            name: format!("{columns}"),
            columns,
            values: (0..600 * columns).map(|i| (i * i % 997) as f64).collect(),
        };
        Split {
            modalities: vec![table(2), table(1)],
            targets: Targets::Numbers((0..600).map(f64::from).collect()),
        }
    }

    #[test]
    fn rows_in_blocks_are_all_rows() {
        let split = split();
        let rows: &dyn Rows = &split;
        let mut numbers = Vec::new();
        rows.scan_targets(&mut |first, targets| {
            assert_eq!(first, numbers.len());
            if let Targets::Numbers(own) = targets {
                numbers.extend(own);
            }
            Ok(())
        })
        .expect("in memory");
        assert_eq!(Targets::Numbers(numbers), split.targets);
        assert_eq!(rows.read_all().expect("in memory"), split);
    }

    #[test]
    fn scales_are_those_of_the_whole_table() {
        let split = split();
        let fitted = MinMax::fit_rows(&split).expect("in memory");
        assert_eq!(fitted, MinMax::fit(&split));
        assert_eq!(MinMax::identity_of(&[2, 1]), MinMax::identity(&split));
    }

    #[test]
    fn rows_are_left_out() {
        let split = split();
        let without = Rows::without(&split, &[0, 7, 599]);
        assert_eq!(without.len(), 597);
        let some = without.targets(&[0, 5, 6, 596]).expect("in memory");
        assert_eq!(some, Targets::Numbers(vec![1.0, 6.0, 8.0, 598.0]));
    }
}
