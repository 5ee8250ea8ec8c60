//! WordPiece: the words of BERT.

use std::collections::HashMap;
use std::path::Path;

use super::text;
use super::DataError;

/// Letters of a word that is looked up at most.
const LONGEST: usize = 100;

/// Pieces of words and their numbers.
///
/// Text is put in lower case, cut at spaces and around punctuation of ASCII, and each word into the longest known pieces from its
/// beginning on, those after the first with `##` before them. Accents are not removed, which English does not need.
///
/// Reference: J. Devlin et al., BERT, NAACL 2019, section 3, as in its authors' program.
#[derive(Debug, Clone, PartialEq)]
pub struct WordPiece {
    pieces: HashMap<String, usize>,
    begin: usize,
    end: usize,
    unknown: usize,
}

impl WordPiece {
    /// Reads a vocabulary, one piece per line; the number of a piece is that of its line, from 0. `[PAD]` is the first line, and `[UNK]`,
    /// `[CLS]` and `[SEP]` are among the others.
    ///
    /// # Errors
    /// [`DataError::MissingPiece`] for one of these that is not there, and those of files that cannot be read.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = text::read(path)?;
        let mut pieces = HashMap::new();
        for (number, piece) in text.lines().enumerate() {
            pieces.entry(piece.trim().to_owned()).or_insert(number);
        }
        let find = |piece: &'static str| {
            let missing = || DataError::MissingPiece {
                file: path.display().to_string(),
                piece,
            };
            pieces.get(piece).copied().ok_or_else(missing)
        };
        if find("[PAD]")? != 0 {
            return Err(DataError::MissingPiece {
                file: path.display().to_string(),
                piece: "[PAD]",
            });
        }
        let [begin, end, unknown] = [find("[CLS]")?, find("[SEP]")?, find("[UNK]")?];
        Ok(Self {
            pieces,
            begin,
            end,
            unknown,
        })
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there are none; never, as some are needed.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The numbers of a text: that of its beginning, those of its pieces, that of its end, and 0 up to `places`, of which there are two at
    /// least. Pieces that do not fit are left out.
    pub fn numbers(&self, text: &str, places: usize) -> Vec<usize> {
        let mut numbers = vec![self.begin];
        for word in words(text) {
            self.cut(&word, &mut numbers);
        }
        numbers.truncate(places.saturating_sub(1).max(1));
        numbers.push(self.end);
        numbers.resize(places.max(2), 0);
        numbers
    }

    /// Adds the pieces of a word.
    fn cut(&self, word: &str, numbers: &mut Vec<usize>) {
        let before = numbers.len();
        let letters: Vec<char> = word.chars().collect();
        let mut start = 0;
        while start < letters.len() && letters.len() <= LONGEST {
            let piece = |end: &usize| {
                let own: String = letters[start..*end].iter().collect();
                let key = if start > 0 { format!("##{own}") } else { own };
                self.pieces.get(&key).map(|&number| (number, *end))
            };
            let ends: Vec<usize> = (start + 1..=letters.len()).rev().collect();
            let Some((number, end)) = ends.iter().find_map(piece) else {
                break;
            };
            numbers.push(number);
            start = end;
        }
        if start < letters.len() {
            numbers.truncate(before);
            numbers.push(self.unknown);
        }
    }
}

/// Words and marks of a text.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in text.to_lowercase().split_whitespace() {
        let mut word = String::new();
        for letter in part.chars().filter(|letter| !letter.is_control()) {
            if letter.is_ascii_punctuation() {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                words.push(letter.to_string());
            } else {
                word.push(letter);
            }
        }
        words.extend((!word.is_empty()).then_some(word));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_into_the_longest_known_pieces() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("vocab.txt");
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nbor\n##ing\n##s\nboring\nso\n'\nt\n";
        std::fs::write(&path, vocabulary).expect("written");
        let pieces = WordPiece::read(&path).expect("whole");
        assert_eq!(pieces.len(), 11);
        let numbers = |text| pieces.numbers(text, 8);
        assert_eq!(numbers("SO  boring"), [2, 8, 7, 3, 0, 0, 0, 0]);
        assert_eq!(numbers("borings bors"), [2, 7, 6, 4, 6, 3, 0, 0]);
        // A word that cannot be cut to its end is unknown as a whole.
        assert_eq!(numbers("borx't"), [2, 1, 9, 10, 3, 0, 0, 0]);
        assert_eq!(numbers("so so so so so so so so"), [2, 8, 8, 8, 8, 8, 8, 3]);
        assert_eq!(numbers(""), [2, 3, 0, 0, 0, 0, 0, 0]);
        let long = "s".repeat(LONGEST + 1);
        assert_eq!(numbers(&long)[1], 1);

        std::fs::write(&path, "[PAD]\n[UNK]\n[CLS]\n").expect("written");
        let error = WordPiece::read(&path).expect_err("no end").to_string();
        assert!(error.contains("`[SEP]`"), "{error}");
    }
}
