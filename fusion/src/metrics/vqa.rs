//! Answers to questions about images, each compared with those of ten people: the metric of the VQA challenge, to the letter.
//!
//! Reference: S. Antol et al., VQA: Visual Question Answering, ICCV 2015, section 3, and its evaluation program, whose oddities belong to
//! every published number: the answers of people are normalized less than those of a model, and not at all where all ten agree.

use std::collections::BTreeMap;

/// What is removed, or becomes a space.
const PUNCTUATION: &str = ";/[]\"{}()=+\\_-><@`,?!";

/// Periods that are removed at most: the program passes a flag where the number of replacements belongs, and the flag is 32.
const PERIODS: usize = 32;

/// Words with apostrophes. Where one of them has been left out it is put back.
const CONTRACTIONS: &str = "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd \
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock \
    oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've \
    someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll \
    they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've \
    who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're \
    you've";

const NUMBERS: [&str; 12] = [
    "none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
];

/// Soft accuracy of answers, over all questions and by their type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VqaAccuracy {
    /// Sum of the accuracies and number of questions, by type.
    types: BTreeMap<String, (f64, usize)>,
}

impl VqaAccuracy {
    /// Adds a question of a type, such as `yes/no`, `number` or `other`; returns its accuracy, in [0, 1].
    pub fn add(&mut self, kind: &str, prediction: &str, answers: &[impl AsRef<str>]) -> f64 {
        let accuracy = vqa_accuracy(prediction, answers);
        let entry = self.types.entry(kind.to_owned()).or_default();
        entry.0 += accuracy;
        entry.1 += 1;
        accuracy
    }

    /// Mean over all questions, in percent; 0 if there are none.
    pub fn overall(&self) -> f64 {
        let all = self.types.values();
        let (sum, count) = all.fold((0.0, 0), |(sum, count), (s, c)| (sum + s, count + c));
        mean(sum, count)
    }

    /// Number of questions.
    pub fn questions(&self) -> usize {
        self.types.values().map(|(_, count)| count).sum()
    }

    /// Mean over the questions of each type, in percent, and their number.
    pub fn by_type(&self) -> impl Iterator<Item = (&str, f64, usize)> {
        let types = self.types.iter();
        types.map(|(name, &(sum, count))| (name.as_str(), mean(sum, count), count))
    }

    /// Mean over the questions of one type, in percent; `None` if there are none.
    pub fn of_type(&self, name: &str) -> Option<f64> {
        let (sum, count) = self.types.get(name)?;
        Some(mean(*sum, *count))
    }
}

fn mean(sum: f64, count: usize) -> f64 {
    100.0 * sum / count.max(1) as f64
}

/// The accuracy of one answer: the mean over people i of min(#{j ≠ i: answer j is the prediction} / 3, 1), in [0, 1]; 0 without people.
///
/// For ten people of whom n gave this answer, that is [`soft_target`]`(n)`.
pub fn vqa_accuracy(prediction: &str, answers: &[impl AsRef<str>]) -> f64 {
    let prediction = normalize_answer(prediction);
    let unanimous = answers
        .windows(2)
        .all(|two| two[0].as_ref() == two[1].as_ref());
    let agrees = |answer: &str| match unanimous {
        true => answer == prediction,
        false => without_punctuation(answer) == prediction,
    };
    let agree: Vec<bool> = answers
        .iter()
        .map(|answer| agrees(answer.as_ref()))
        .collect();
    let total = agree.iter().filter(|&&agrees| agrees).count();
    let share = |own: &bool| ((total - usize::from(*own)) as f64 / 3.0).min(1.0);
    agree.iter().map(share).sum::<f64>() / agree.len().max(1) as f64
}

/// What an answer is worth that so many of ten people gave: 0, 0.3, 0.6, 0.9, then 1.
pub fn soft_target(people: usize) -> f64 {
    [0.0, 0.3, 0.6, 0.9].get(people).copied().unwrap_or(1.0)
}

/// A predicted answer as it is compared: without punctuation and articles, in lower case, numbers up to ten as digits, apostrophes put back.
pub fn normalize_answer(answer: &str) -> String {
    let plain = answer.replace(['\n', '\t'], " ");
    let lower = without_punctuation(plain.trim()).to_lowercase();
    let words = lower.split_whitespace().map(digits);
    let words = words.filter(|word| !["a", "an", "the"].contains(&word.as_str()));
    words
        .map(|word| contraction(&word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The first step of both normalizations. A mark is removed if it touches a space anywhere, or if a comma stands between two digits;
/// else it becomes a space. A period is removed unless a digit follows.
fn without_punctuation(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let is_digit = |place: Option<&char>| place.is_some_and(char::is_ascii_digit);
    let between =
        |three: &[char]| three[1] == ',' && is_digit(three.first()) && is_digit(three.last());
    let thousands = characters.windows(3).any(between);
    let touches = |mark: char| {
        let pair = |two: &[char]| two == [mark, ' '] || two == [' ', mark];
        characters.windows(2).any(pair)
    };
    let kept = characters.iter().filter_map(|&c| match c {
        c if !PUNCTUATION.contains(c) => Some(c),
        c if thousands || touches(c) => None,
        _ => Some(' '),
    });
    let kept: Vec<char> = kept.collect();
    let mut removed = 0;
    let mut result = String::with_capacity(kept.len());
    for (place, &c) in kept.iter().enumerate() {
        if c == '.' && removed < PERIODS && !is_digit(kept.get(place + 1)) {
            removed += 1;
        } else {
            result.push(c);
        }
    }
    result
}

/// A number word as digits; `none` is 0.
fn digits(word: &str) -> String {
    let place = NUMBERS.iter().position(|&number| number == word);
    place.map_or_else(|| word.to_owned(), |n| n.saturating_sub(1).to_string())
}

/// The word with the apostrophe that it lacks.
fn contraction(word: &str) -> String {
    // The one entry of the original table that takes an apostrophe away.
    if word == "somebody'd" {
        return "somebodyd".to_owned();
    }
    let lacks_one = |form: &&str| {
        let apostrophes = form.match_indices('\'');
        let mut shorter = apostrophes.map(|(at, _)| [&form[..at], &form[at + 1..]].concat());
        shorter.any(|shorter| shorter == word)
    };
    let mut forms = CONTRACTIONS.split_whitespace();
    forms.find(lacks_one).unwrap_or(word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_normalized_step_by_step() {
        for (answer, expected) in [
            ("  A red\ncar.", "red car"),
            ("1,000 people", "1000 people"),
            ("left/right", "left right"),
            ("left / right", "left right"),
            ("t-shirt", "t shirt"),
            ("2.5 ft.", "2.5 ft"),
            ("None", "0"),
            ("ten", "10"),
            ("dont know", "don't know"),
            ("they'dve", "they'd've"),
            ("shes", "shes"),
            ("somebody'd", "somebodyd"),
            ("", ""),
        ] {
            assert_eq!(normalize_answer(answer), expected, "{answer}");
        }
        assert_eq!(normalize_answer(&".".repeat(34)), "..");
    }

    /// Ten times `left/right` is not normalized, and so never predicted right.
    #[test]
    fn unanimous_answers_are_taken_as_they_are() {
        let same = ["left/right"; 10];
        assert!(vqa_accuracy("left/right", &same) < 1e-15);
        let mut others = same;
        others[9] = "right";
        assert!((vqa_accuracy("left/right", &others) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn accuracies_are_soft_targets() {
        for people in 0..=10 {
            let answer = |i| if i < people { "yes" } else { "no" };
            let answers: Vec<&str> = (0..10).map(answer).collect();
            let accuracy = vqa_accuracy("yes", &answers);
            assert!((accuracy - soft_target(people)).abs() < 1e-15, "{people}");
        }
        assert!(vqa_accuracy("yes", &[""; 0]) < 1e-15);
    }

    #[test]
    fn means_are_taken_by_type_and_over_all() {
        let mut accuracy = VqaAccuracy::default();
        accuracy.add("number", "2", &["2"; 10]);
        accuracy.add("other", "cat", &["dog"; 10]);
        accuracy.add("other", "cat", &["cat"; 10]);
        let types: Vec<_> = accuracy.by_type().collect();
        assert_eq!(types, [("number", 100.0, 1), ("other", 50.0, 2)]);
        assert_eq!(
            (accuracy.of_type("yes/no"), accuracy.questions()),
            (None, 3)
        );
        assert!((accuracy.overall() - 200.0 / 3.0).abs() < 1e-12);
    }
}
