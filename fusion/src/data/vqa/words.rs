//! Words of questions, and their numbers.

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{QuestionsError, Rules};
use crate::data::{text, DataError};

/// The word that stands for all that have no number.
const UNKNOWN: &str = "UNK";

/// Words by number, from 1; 0 is padding.
pub(super) struct Words {
    numbers: HashMap<String, usize>,
    unknown: usize,
    rules: Rules,
}

impl Words {
    /// Those of a list, one per line; the number of a word is that of its line.
    pub fn read(path: &Path, rules: Rules) -> Result<Self, DataError> {
        let mut numbers = HashMap::new();
        for (number, word) in (1..).zip(text::read_lines(path)?) {
            numbers.entry(word).or_insert(number);
        }
        let missing = || QuestionsError::NoUnknownWord {
            file: path.display().to_string(),
        };
        let unknown = *numbers.get(UNKNOWN).ok_or_else(missing)?;
        Ok(Self {
            numbers,
            unknown,
            rules,
        })
    }

    /// 1 for unknown words, then those of questions in the order in which they appear.
    pub fn of<'q>(questions: impl Iterator<Item = &'q str>, rules: Rules) -> Self {
        let mut numbers = HashMap::from([(UNKNOWN.to_owned(), 1)]);
        for word in questions.flat_map(|question| tokens(question, rules)) {
            let next = numbers.len() + 1;
            numbers.entry(word).or_insert(next);
        }
        Self {
            numbers,
            unknown: 1,
            rules,
        }
    }

    /// Tells lists of words apart: another word, or another number of one, gives another text.
    pub fn digest(&self) -> String {
        let mut all: Vec<_> = self
            .numbers
            .iter()
            .map(|(word, number)| (number, word))
            .collect();
        all.sort_unstable();
        let mut digest = Sha256::new();
        for (number, word) in all {
            digest.update(format!("{number} {word}\n"));
        }
        let bytes = digest.finalize();
        bytes
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Number of words, padding included.
    pub fn count(&self) -> usize {
        self.numbers.values().copied().max().unwrap_or(0) + 1
    }

    /// The numbers of the first words of a question, with 0 behind.
    pub fn numbers(&self, question: &str, places: usize) -> impl Iterator<Item = usize> + '_ {
        let words = tokens(question, self.rules).into_iter();
        let number = |word: String| self.numbers.get(&word).copied().unwrap_or(self.unknown);
        let numbers = words.map(number);
        numbers.chain(std::iter::repeat(0)).take(places)
    }
}

/// The words of a question: in lower case, without marks, cut at spaces, `-` and `/`.
fn tokens(question: &str, rules: Rules) -> Vec<String> {
    let marks = match rules {
        Rules::Mcan => ".,'!?\"()*#:;",
        Rules::Mutan => "?!'\"$:@(),.;",
    };
    let lower = question.to_lowercase();
    let kept = lower.chars().filter(|&c| !marks.contains(c));
    let kept: String = kept
        .map(|c| if c == '-' || c == '/' { ' ' } else { c })
        .collect();
    kept.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_cut_as_in_the_programs() {
        let question = "Is the T-shirt's price $5 (or #6), left/right?";
        assert_eq!(
            tokens(question, Rules::Mcan),
            ["is", "the", "t", "shirts", "price", "$5", "or", "6", "left", "right"]
        );
        assert_eq!(
            tokens(question, Rules::Mutan),
            ["is", "the", "t", "shirts", "price", "5", "or", "#6", "left", "right"]
        );
    }

    #[test]
    fn words_are_numbered_as_they_appear_and_padded_behind() {
        let words = Words::of(["what is it?", "is it red"].into_iter(), Rules::Mcan);
        let numbers = |question, places| words.numbers(question, places).collect::<Vec<_>>();
        assert_eq!(numbers("Is it blue", 5), [3, 4, 1, 0, 0]);
        assert_eq!(numbers("what is it red", 2), [2, 3]);
        assert_eq!(words.count(), 6);
        let others = Words::of(["is it red", "what is it?"].into_iter(), Rules::Mcan);
        assert_ne!(words.digest(), others.digest());
    }
}
