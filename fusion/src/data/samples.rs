//! A data set whose rows need not be in memory.

use super::check::Source;
use super::{DataError, DataSet, Rows, SplitName, TargetKind};

/// A labeled multimodal data set with a fixed test split, as of [`DataSet`]; its rows are in memory, or in files.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Name of the data set.
    pub name: String,
    /// Names of the classes or, where samples have several, of the labels; none where a number is to be predicted.
    pub classes: Vec<String>,
    /// Samples to learn from; validation samples are taken from here.
    pub train: Box<dyn Rows>,
    /// Samples for the final evaluation only.
    pub test: Box<dyn Rows>,
}

impl From<DataSet> for Samples {
    fn from(set: DataSet) -> Self {
        Self {
            name: set.name,
            classes: set.classes,
            train: Box::new(set.train),
            test: Box::new(set.test),
        }
    }
}

impl Samples {
    /// One of the two splits.
    pub fn split(&self, part: SplitName) -> &dyn Rows {
        match part {
            SplitName::Train => &*self.train,
            SplitName::Test => &*self.test,
        }
    }

    /// The same samples with some of the modalities only, numbered from 1, in the given order.
    ///
    /// # Errors
    /// [`DataError::Selection`] for a number that is not there or is given twice, or if there is none.
    pub fn with_modalities(mut self, selection: &[usize]) -> Result<Self, DataError> {
        self.train.choose(selection)?;
        self.test.choose(selection)?;
        Ok(self)
    }

    /// Makes sure that there is what `head` learns from.
    ///
    /// # Errors
    /// [`DataError::Head`] if the targets are of another kind.
    pub fn require(&self, head: &'static str, needs: TargetKind) -> Result<(), DataError> {
        let found = self.train.kind();
        if found == needs {
            return Ok(());
        }
        Err(DataError::Head {
            data: self.name.clone(),
            head,
            needs,
            found,
            fitting: found.head(),
        })
    }

    /// The error for a number that is no sentiment from −3 to 3; rows are counted from 0.
    pub(crate) fn not_a_sentiment(&self, part: SplitName, row: usize, value: f64) -> DataError {
        DataError::NotASentiment {
            part,
            file: Source::Memory(&self.name).targets(part, TargetKind::Number),
            row: row + 1,
            value,
        }
    }
}
