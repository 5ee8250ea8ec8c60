//! Data without some of its modalities, in the shape it has.

use std::ops::Range;

use equilibria_core::prelude::*;

use super::folder::Folder;
use crate::data::{DataError, DataSet, Names, Split, SplitName, StreamError, Table};
use crate::model::DataSource;

plugin! {
    /// Other data with some modalities blank, all numbers 0: what a model makes of the others alone.
    ///
    /// For backbones that need all modalities, such as `mutan`, `mcan` and `cm-bert`; `modalities` of a configuration leaves them out
    /// where they need not be there. Zeros are no regions of an image, and no sound.
    pub struct Blank: DataSource {
        /// The data.
        pub data: Box<dyn DataSource> = Box::new(Folder::default()),
        /// Numbers of the modalities that are blank, from 1.
        pub modalities: Vec<usize> = vec![1],
    }
}

impl Blank {
    /// Refuses data whose rows are read batch by batch: all of them would be read here.
    fn check(&self) -> Result<(), DataError> {
        match self.data.streams() {
            true => Err(DataError::from(StreamError::NotStreamed {
                source_type: "blank",
            })),
            false => Ok(()),
        }
    }

    fn erase(&self, tables: &mut [Table]) -> Result<(), DataError> {
        let count = tables.len();
        for &number in &self.modalities {
            let table = number
                .checked_sub(1)
                .and_then(|index| tables.get_mut(index));
            let table = table.ok_or_else(|| DataError::Selection {
                selection: self.modalities.clone(),
                count,
            })?;
            table.values.fill(0.0);
        }
        Ok(())
    }
}

#[typetag::serde(name = "blank")]
impl DataSource for Blank {
    fn load(&self) -> Result<DataSet, DataError> {
        self.check()?;
        let mut set = self.data.load()?;
        self.erase(&mut set.train.modalities)?;
        self.erase(&mut set.test.modalities)?;
        Ok(set)
    }

    fn features(&self, part: SplitName) -> Result<Vec<Table>, DataError> {
        self.check()?;
        let mut tables = self.data.features(part)?;
        self.erase(&mut tables)?;
        Ok(tables)
    }

    fn split(&self, part: SplitName, classes: &[String]) -> Result<Split, DataError> {
        self.check()?;
        let mut split = self.data.split(part, classes)?;
        self.erase(&mut split.modalities)?;
        Ok(split)
    }

    fn names(&self) -> Result<Vec<Names>, DataError> {
        self.data.names()
    }

    fn scaled(&self) -> bool {
        self.data.scaled()
    }

    fn validation(&self) -> Option<Range<usize>> {
        self.data.validation()
    }

    fn place(
        &self,
        part: SplitName,
        modality: Option<usize>,
        cell: (usize, usize),
    ) -> (String, usize) {
        self.data.place(part, modality, cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::generated_questions::GeneratedQuestions;

    #[test]
    fn the_numbers_of_the_modalities_are_zero_and_all_else_is_as_it_was() {
        let questions = GeneratedQuestions::default();
        let blank = |modalities: &[usize]| Blank {
            data: Box::new(questions.clone()),
            modalities: modalities.to_vec(),
        };
        let (found, mut expected) = (blank(&[2]).load(), questions.load().expect("sound"));
        for split in [&mut expected.train, &mut expected.test] {
            split.modalities[1].values.fill(0.0);
        }
        assert_eq!(found.expect("sound"), expected);
        assert!(!blank(&[2]).scaled());
        let features = blank(&[1]).features(SplitName::Test).expect("sound");
        assert!(features[0].values.iter().all(|x| x.abs() < 1e-300));
        for wrong in [0, 3] {
            let error = blank(&[wrong]).load().expect_err("no such modality");
            assert!(
                matches!(error, DataError::Selection { count: 2, .. }),
                "{error}"
            );
        }
    }
}
