//! Generated sentences with sentiments.

use equilibria_core::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use crate::data::{require_sizes, require_total, DataError, DataSet, Split, Table, Targets};
use crate::model::DataSource;

plugin! {
    /// Generated sentences, as text and sound, with a sentiment from −3 to 3: to train the backbone `cm-bert` with no download.
    ///
    /// The text is numbers of words: 1 begins a sentence, 2 ends it, 0 is padding behind; 3 negates the word after it, and the others have
    /// values of their own. The sound has a row for every place: how much the word is stressed, and noise of deviation 0.1; the row of the
    /// beginning is the mean of those of the words. Stress is the square of a uniform number. The sentiment is the sum of value · (0.4 + 2
    /// stress) of all words, negated where they are, and cut off. What it shows is that a model trains, and that sound helps it; it says
    /// nothing about sentences.
    pub struct GeneratedSentiments: DataSource {
        /// Sentences to learn from, from 1 to 1048576.
        pub train: usize = 700,
        /// Sentences for the final evaluation, from 1 to 1048576.
        pub test: usize = 300,
        /// Places of a sentence, from 4 to 1048576.
        pub places: usize = 8,
        /// Numbers in a row of sound, from 1 to 1048576.
        pub sound: usize = 5,
        /// Seed of values and sentences.
        pub seed: u64 = 1,
    }
}

const BEGIN: usize = 1;
const END: usize = 2;
const NEGATE: usize = 3;

/// Words with values; their numbers follow those above.
const WORDS: usize = 20;

/// The deviation of the noise in sound.
const NOISE: f64 = 0.1;

#[typetag::serde(name = "generated-sentiments")]
impl DataSource for GeneratedSentiments {
    fn load(&self) -> Result<DataSet, DataError> {
        let sizes = [
            ("train", 1, self.train),
            ("test", 1, self.test),
            ("places", 4, self.places),
            ("sound", 1, self.sound),
        ];
        require_sizes("generated-sentiments", &sizes)?;
        let columns = self.places * (1 + self.sound);
        require_total("generated-sentiments", self.train + self.test, columns)?;
        let mut rng = StdRng::seed_from_u64(self.seed);
        let values: Vec<f64> = (0..WORDS).map(|_| rng.gen_range(-1.0..1.0)).collect();
        let set = DataSet {
            name: "generated sentences".to_owned(),
            classes: Vec::new(),
            train: self.sentences(self.train, &values, &mut rng),
            test: self.sentences(self.test, &values, &mut rng),
        };
        set.validate()?;
        Ok(set)
    }

    fn scaled(&self) -> bool {
        false
    }
}

impl GeneratedSentiments {
    fn sentences(&self, count: usize, values: &[f64], rng: &mut StdRng) -> Split {
        let places = self.places;
        let (mut text, mut sound, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let length = rng.gen_range(2..=places - 2);
            let (mut sentiment, mut sign) = (0.0, 1.0);
            let (mut words, mut rows) = (vec![BEGIN as f64], vec![0.0; self.sound]);
            for place in 0..length {
                let negates = place + 1 < length && rng.gen_bool(0.2);
                let word = rng.gen_range(0..WORDS);
                let stress = rng.gen_range(0.0_f64..1.0).powi(2);
                rows.push(stress);
                rows.extend((1..self.sound).map(|_| NOISE * rng.sample::<f64, _>(StandardNormal)));
                if negates {
                    words.push(NEGATE as f64);
                    sign = -1.0;
                } else {
                    words.push((NEGATE + 1 + word) as f64);
                    sentiment += sign * values[word] * (0.4 + 2.0 * stress);
                    sign = 1.0;
                }
            }
            for column in 0..self.sound {
                let own = rows[self.sound..].iter().skip(column).step_by(self.sound);
                rows[column] = own.sum::<f64>() / length as f64;
            }
            words.push(END as f64);
            words.resize(places, 0.0);
            rows.resize(places * self.sound, 0.0);
            text.extend(words);
            sound.extend(rows);
            targets.push(sentiment.clamp(-3.0, 3.0));
        }
        let table = |name: &str, columns, values| Table {
            name: name.to_owned(),
            columns,
            values,
        };
        Split {
            modalities: vec![
                table("text", places, text),
                table("sound", places * self.sound, sound),
            ],
            targets: Targets::Numbers(targets),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_begin_end_and_are_padded() {
        let source = GeneratedSentiments::default();
        let set = source.load().expect("sound");
        assert_eq!(set, source.load().expect("sound"));
        assert_eq!((set.train.len(), set.test.len()), (700, 300));
        let [text, sound] = &set.train.modalities[..] else {
            panic!("two modalities");
        };
        for row in 0..set.train.len() {
            let words = text.row(row);
            let end = words.iter().position(|&w| w as usize == END);
            let end = end.expect("an end");
            assert_eq!(words[0] as usize, BEGIN);
            assert!(words[end + 1..].iter().all(|&w| w < 0.5));
            assert!(sound.row(row)[end * 5..].iter().all(|x| x.abs() < 1e-300));
            let stress = sound.row(row)[5..end * 5].iter().step_by(5);
            let mean = stress.sum::<f64>() / (end - 1) as f64;
            assert!((sound.row(row)[0] - mean).abs() < 1e-12, "{row}");
        }
        let Targets::Numbers(numbers) = &set.train.targets else {
            panic!("numbers");
        };
        assert!(numbers.iter().all(|y| y.abs() <= 3.0));
        assert!(numbers.iter().any(|&y| y > 1.0) && numbers.iter().any(|&y| y < -1.0));
    }
}
