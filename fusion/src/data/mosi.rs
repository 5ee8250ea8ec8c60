//! Sentences of CMU-MOSI: text with a sentiment, and sound.

use std::path::{Path, PathBuf};

use super::text;
use super::word_piece::WordPiece;
use super::{files, DataError, DataSet, Split, Table, Targets};

/// A folder with the files of CM-BERT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mosi {
    folder: PathBuf,
    /// Pieces of words for each sentence, with those of its beginning and its end, and padding.
    places: usize,
}

impl Mosi {
    /// The folder, and how many pieces a sentence has room for.
    pub fn new(folder: &Path, places: usize) -> Self {
        Self {
            folder: folder.to_owned(),
            places,
        }
    }

    /// Reads `train.tsv`, `dev.tsv` and `test.tsv`, a text and a number in each line under a heading, `train_audio.npy` and so on, as many
    /// rows of sound as there is room for pieces for each text, and `vocab.txt`, the pieces of BERT. Rows of `train` and `dev` follow one
    /// another in the training split.
    ///
    /// # Errors
    /// [`DataError::Sentence`] for a line that is no text and number, [`DataError::InvalidArray`] for sound of another shape, and those of
    /// files that cannot be read and of [`DataSet::validate`].
    pub fn load(&self) -> Result<DataSet, DataError> {
        let pieces = WordPiece::read(&self.folder.join("vocab.txt"))?;
        let mut train = self.split("train", &pieces)?;
        let dev = self.split("dev", &pieces)?;
        let tables = train.modalities.iter_mut().zip(dev.modalities);
        for (table, others) in tables {
            if table.columns != others.columns {
                return Err(DataError::ColumnCount {
                    file: self.folder.join("dev_audio.npy").display().to_string(),
                    columns: others.columns,
                    expected: table.columns,
                    reference: self.folder.join("train_audio.npy").display().to_string(),
                });
            }
            table.values.extend(others.values);
        }
        if let (Targets::Numbers(all), Targets::Numbers(others)) = (&mut train.targets, dev.targets)
        {
            all.extend(others);
        }
        let set = DataSet {
            name: self.folder.display().to_string(),
            classes: Vec::new(),
            train,
            test: self.split("test", &pieces)?,
        };
        set.validate()?;
        Ok(set)
    }

    /// Sentences in `train.tsv` and `dev.tsv`; none where they cannot be read.
    pub fn counts(&self) -> Option<[usize; 2]> {
        let count = |name| Some(self.sentences(name).ok()?.len());
        Some([count("train")?, count("dev")?])
    }

    /// Texts and numbers of a file.
    fn sentences(&self, name: &str) -> Result<Vec<(String, f64)>, DataError> {
        let path = self.folder.join(format!("{name}.tsv"));
        let text = text::read(&path)?;
        let lines = text.lines().zip(1..).skip(1);
        let lines = lines.filter(|(line, _)| !line.trim().is_empty());
        let sentence = |(line, row): (&str, usize)| {
            let cells = line.split_once('\t');
            let number = cells.and_then(|(text, number)| {
                let number: f64 = number.trim().parse().ok()?;
                Some((text.to_owned(), number))
            });
            number.ok_or_else(|| DataError::Sentence {
                file: path.display().to_string(),
                row,
            })
        };
        lines.map(sentence).collect()
    }

    fn split(&self, name: &str, pieces: &WordPiece) -> Result<Split, DataError> {
        let sentences = self.sentences(name)?;
        let numbers = |text: &str| pieces.numbers(text, self.places);
        let words = sentences.iter().flat_map(|(text, _)| numbers(text));
        let words = words.map(|word| word as f64).collect();
        let path = self.folder.join(format!("{name}_audio.npy"));
        let (shape, sound) = files::read_array(&path)?;
        let width = match shape[..] {
            [rows, places, width] if (rows, places) == (sentences.len(), self.places) => width,
            _ => {
                return Err(DataError::InvalidArray {
                    file: path.display().to_string(),
                    problem: format!(
                    "found shape {shape:?}, expected [{}, {}, width], sentences by pieces of words",
                    sentences.len(),
                    self.places
                ),
                })
            }
        };
        let table = |name: &str, columns, values| Table {
            name: name.to_owned(),
            columns,
            values,
        };
        Ok(Split {
            modalities: vec![
                table("text", self.places, words),
                table("sound", self.places * width, sound),
            ],
            targets: Targets::Numbers(sentences.into_iter().map(|(_, y)| y).collect()),
        })
    }
}
