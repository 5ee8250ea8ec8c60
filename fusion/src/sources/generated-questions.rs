//! Generated questions about images.

use std::sync::Arc;

use equilibria_core::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use crate::data::{require_sizes, Answered, Answers, DataError, DataSet, Split, Table, Targets};
use crate::model::DataSource;

plugin! {
    /// Generated questions about images: to train the backbones `mutan` and `mcan` with no download.
    ///
    /// The first modality is the question, six numbers of words with 0 behind: `is there a red circle`, `how many things are red`, or
    /// `what color is the circle`, where there is one of that shape. The second is the image, five regions, of which three to five are
    /// there: a 1 for one of four colors, a 1 for one of three shapes, and two numbers of noise. Neither answers the question alone. What it
    /// shows is that a model trains, and attends; it says nothing about images.
    ///
    /// Each question has its one right answer, or the answers of ten people, for the head `answers`.
    pub struct GeneratedQuestions: DataSource {
        /// Questions to learn from, from 1 to 1048576.
        pub train: usize = 1100,
        /// Questions for the final evaluation, from 1 to 1048576.
        pub test: usize = 400,
        /// Whether ten people answer, each right with probability 0.9 and else with any answer.
        pub people: bool = false,
        /// Seed of the images.
        pub seed: u64 = 1,
    }
}

const COLORS: [&str; 4] = ["red", "green", "blue", "yellow"];
const SHAPES: [&str; 3] = ["circle", "square", "triangle"];
const REGIONS: usize = 5;
const WORDS: usize = 6;

/// Words other than colors and shapes, from 1.
const OTHERS: [&str; 10] = [
    "is", "there", "a", "how", "many", "things", "are", "what", "color", "the",
];

const ANSWERS: [&str; 10] = [
    "yes", "no", "0", "1", "2", "3", "red", "green", "blue", "yellow",
];

/// Place of a word in the vocabulary, from 1; 0 where it is none.
fn word(word: &str) -> f64 {
    let all = OTHERS.iter().chain(&COLORS).chain(&SHAPES);
    let place = (1..).zip(all).find(|(_, known)| **known == word);
    place.map_or(0.0, |(place, _): (u8, _)| f64::from(place))
}

fn answer(text: &str) -> usize {
    ANSWERS.iter().position(|&known| known == text).unwrap_or(0)
}

#[typetag::serde(name = "generated-questions")]
impl DataSource for GeneratedQuestions {
    fn load(&self) -> Result<DataSet, DataError> {
        let sizes = [("train", 1, self.train), ("test", 1, self.test)];
        require_sizes("generated-questions", &sizes)?;
        let mut rng = StdRng::seed_from_u64(self.seed);
        let set = DataSet {
            name: "generated questions".to_owned(),
            classes: ANSWERS.map(str::to_owned).to_vec(),
            train: questions(self.train, &mut rng),
            test: questions(self.test, &mut rng),
        };
        let set = match self.people {
            true => answered_by_people(set, &mut rng),
            false => set,
        };
        set.validate()?;
        Ok(set)
    }

    fn scaled(&self) -> bool {
        false
    }
}

/// The answers of ten people in place of the right ones.
fn answered_by_people(mut set: DataSet, rng: &mut StdRng) -> DataSet {
    let known: Arc<[String]> = ANSWERS.map(str::to_owned).into();
    for split in [&mut set.train, &mut set.test] {
        let Targets::Classes(right) = &split.targets else {
            continue;
        };
        let row = |&right: &usize| {
            let kind = match right {
                0 | 1 => "yes/no",
                2..=5 => "number",
                _ => "other",
            };
            let given = |_| match rng.gen_bool(0.9) {
                true => ANSWERS[right].to_owned(),
                false => ANSWERS[rng.gen_range(0..ANSWERS.len())].to_owned(),
            };
            let people = (0..10).map(given).collect();
            let place = |text: &str| ANSWERS.iter().position(|&known| known == text);
            Arc::new(Answered::new(kind, people, place))
        };
        let rows = right.iter().map(row).collect();
        let known = known.clone();
        split.targets = Targets::Answers(Answers { known, rows });
    }
    set
}

fn questions(count: usize, rng: &mut StdRng) -> Split {
    let (mut texts, mut images, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    while answers.len() < count {
        let there = rng.gen_range(3..=REGIONS);
        let regions: Vec<[usize; 2]> = (0..there)
            .map(|_| {
                [
                    rng.gen_range(0..COLORS.len()),
                    rng.gen_range(0..SHAPES.len()),
                ]
            })
            .collect();
        let Some((text, right)) = ask(&regions, rng) else {
            continue;
        };
        let mut words: Vec<f64> = text.split(' ').map(word).collect();
        words.resize(WORDS, 0.0);
        texts.extend(words);
        answers.push(right);
        for region in 0..REGIONS {
            let own = regions.get(region);
            let is = |kind: usize, value: usize| own.is_some_and(|own| own[kind] == value);
            let bit = |bit: bool| f64::from(u8::from(bit));
            images.extend((0..COLORS.len()).map(|color| bit(is(0, color))));
            images.extend((0..SHAPES.len()).map(|shape| bit(is(1, shape))));
            let noise = (0..2).map(|_| rng.sample::<f64, _>(StandardNormal));
            let noise: Vec<f64> = noise.collect();
            images.extend(noise.iter().map(|noise| bit(own.is_some()) * noise));
        }
    }
    let table = |name: &str, columns, values| Table {
        name: name.to_owned(),
        columns,
        values,
    };
    let pixels = COLORS.len() + SHAPES.len() + 2;
    Split {
        modalities: vec![
            table("question", WORDS, texts),
            table("image", REGIONS * pixels, images),
        ],
        targets: Targets::Classes(answers),
    }
}

/// A question and its answer; none where the image does not answer it.
fn ask(regions: &[[usize; 2]], rng: &mut StdRng) -> Option<(String, usize)> {
    let (color, shape) = (
        rng.gen_range(0..COLORS.len()),
        rng.gen_range(0..SHAPES.len()),
    );
    let (color_name, shape_name) = (COLORS[color], SHAPES[shape]);
    match rng.gen_range(0..3) {
        0 => {
            // Half of the questions are about what is there.
            let seen = regions[rng.gen_range(0..regions.len())];
            let [color, shape] = if rng.gen_bool(0.4) {
                seen
            } else {
                [color, shape]
            };
            let there = regions.contains(&[color, shape]);
            let text = format!("is there a {} {}", COLORS[color], SHAPES[shape]);
            Some((text, answer(if there { "yes" } else { "no" })))
        }
        1 => {
            let number = regions.iter().filter(|region| region[0] == color).count();
            let text = format!("how many things are {color_name}");
            (number <= 3).then(|| (text, answer(&number.to_string())))
        }
        _ => {
            let mut own = regions.iter().filter(|region| region[1] == shape);
            let only = own.next().filter(|_| own.next().is_none())?;
            let text = format!("what color is the {shape_name}");
            Some((text, answer(COLORS[only[0]])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_follow_from_the_seed_and_have_every_answer() {
        let source = GeneratedQuestions::default();
        let set = source.load().expect("sound");
        assert_eq!(set, source.load().expect("sound"));
        assert_eq!((set.train.len(), set.test.len()), (1100, 400));
        let Targets::Classes(answers) = &set.train.targets else {
            panic!("classes");
        };
        assert!((0..ANSWERS.len()).all(|answer| answers.contains(&answer)));
        // Every word is known, and no region that is not there has a number.
        let [text, image] = &set.train.modalities[..] else {
            panic!("two modalities");
        };
        assert!(text.values.iter().all(|&word| word < 18.0));
        assert!((0..set.train.len()).all(|row| text.row(row)[0] > 0.5));
        for region in image.values.chunks_exact(9) {
            let colors: f64 = region[..4].iter().sum();
            let there = region.iter().any(|x| x.abs() > 0.0);
            assert!((colors - f64::from(u8::from(there))).abs() < 1e-300);
        }
    }

    #[test]
    fn people_mostly_give_the_right_answer_to_the_same_questions() {
        let one = GeneratedQuestions::default().load().expect("sound");
        let source = GeneratedQuestions {
            people: true,
            ..GeneratedQuestions::default()
        };
        let ten = source.load().expect("sound");
        assert_eq!(ten.train.modalities, one.train.modalities);
        let (Targets::Classes(right), Targets::Answers(people)) =
            (&one.train.targets, &ten.train.targets)
        else {
            panic!("one answer, and ten");
        };
        let agrees = |(right, row): (&usize, &Arc<Answered>)| {
            let own = row.counts.iter().find(|(answer, _)| answer == right);
            own.map_or(0, |(_, count)| *count)
        };
        let all: usize = right.iter().zip(&people.rows).map(agrees).sum();
        // 0.9 + 0.1 / 10 of 11000, within four standard deviations.
        assert!((all as f64 / 11_000.0 - 0.91).abs() < 0.011, "{all}");
    }
}
