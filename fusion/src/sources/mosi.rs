//! Sentences of CMU-MOSI.

use std::ops::Range;

use equilibria_core::prelude::*;

use crate::data::{DataError, DataSet, Mosi, OsPath};
use crate::model::DataSource;

plugin! {
    /// Sentences as text and sound, with a sentiment from −3 to 3: the files of CM-BERT in a folder.
    ///
    /// `train.tsv`, `dev.tsv` and `test.tsv` have a text and a number in each line under a heading, with a tab between; `vocab.txt` is the
    /// vocabulary of BERT, by which texts are cut into pieces; `train_audio.npy` and so on have `places` rows of sound for each text, one for
    /// each piece, the beginning and the end included. The original has all three in one pickle:
    /// `python -c "import pickle, numpy as n; [n.save(k + '_audio', a) for k, a in zip(('train', 'dev', 'test'), pickle.load(open('audio.pkl', 'rb')))]"`.
    /// Sentences of `dev` are for validation where `training.validation` is above 0, and learned from else. Nothing is scaled.
    ///
    /// Reference: A. Zadeh et al., MOSI, IEEE Intelligent Systems 31, 2016, in the form of K. Yang et al., CM-BERT, ACM MM 2020.
    pub struct MosiSource: DataSource {
        /// The folder.
        pub path: OsPath = OsPath::from("."),
        /// Pieces of words that a sentence has room for, with its beginning and its end, at least 2.
        pub places: usize = 50,
    }
}

#[typetag::serde(name = "mosi")]
impl DataSource for MosiSource {
    fn load(&self) -> Result<DataSet, DataError> {
        Mosi::new(self.path.as_ref(), self.places).load()
    }

    fn validation(&self) -> Option<Range<usize>> {
        let counts = Mosi::new(self.path.as_ref(), self.places).counts();
        let [train, dev] = counts?;
        (dev > 0).then(|| train..train + dev)
    }

    fn scaled(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Targets;
    use std::path::Path;

    #[test]
    fn sentences_have_words_sound_and_a_number() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mosi");
        let source = MosiSource {
            path: OsPath::from(folder),
            places: 50,
        };
        let set = source.load().expect("whole");
        assert_eq!((set.train.len(), set.test.len()), (5, 2));
        assert_eq!(source.validation(), Some(4..5));
        let [text, sound] = &set.train.modalities[..] else {
            panic!("two modalities");
        };
        assert_eq!((text.columns, sound.columns), (50, 250));
        // [CLS] the plot was really good [SEP].
        assert_eq!(text.row(0)[..8], [2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 3.0, 0.0]);
        // "it " keeps no space; "so so boring" is three known words.
        assert_eq!(text.row(3)[..6], [2.0, 16.0, 16.0, 17.0, 3.0, 0.0]);
        let Targets::Numbers(numbers) = &set.train.targets else {
            panic!("numbers");
        };
        assert_eq!(numbers, &[1.8, -1.4, 0.0, -2.6, 2.2]);
        let other = MosiSource {
            places: 40,
            ..source
        };
        let error = other.load().expect_err("50 rows of sound").to_string();
        assert!(
            error.contains("[4, 50, 5], expected [4, 40, width]"),
            "{error}"
        );
    }
}
