//! Questions about images: the files of the VQA challenge, with features of regions.

mod base64;
mod entries;
mod error;
mod regions;
mod words;

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::entries::{Annotation, Question};
pub use self::error::QuestionsError;
use self::regions::Regions;
use self::words::Words;
use super::{
    files, Answered, Answers, DataError, DataSet, Names, Split, SplitName, Table, Targets,
};
use crate::metrics::normalize_answer;

/// The program whose reading of questions and answers counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rules {
    /// Answers of people are normalized as predictions are, and lose their commas.
    Mcan,
    /// Answers are taken as they are; questions to learn from whose most common answer cannot be given are left out.
    Mutan,
}

impl Rules {
    /// An answer as it is counted.
    fn answer(self, answer: &str) -> String {
        match self {
            Self::Mcan => normalize_answer(answer).replace(',', ""),
            Self::Mutan => answer.to_owned(),
        }
    }
}

/// A folder of questions, and how they are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Vqa {
    /// The folder.
    pub folder: PathBuf,
    /// What the names of the files call the questions to learn from, and those of the final evaluation.
    pub parts: [String; 2],
    /// Folders of `.npz` files, and `.tsv` files, in the folder.
    pub features: Vec<PathBuf>,
    /// How questions and answers are read.
    pub rules: Rules,
    /// Words that a question has room for.
    pub words: usize,
    /// Regions that an image has room for.
    pub regions: usize,
    /// With the rules of MCAN, an answer that is more frequent than this can be given.
    pub occurrences: usize,
    /// With those of MUTAN, so many of the most frequent answers.
    pub answers: usize,
    /// Questions of each split that are read at most.
    pub limit: usize,
}

/// Questions of a split with the files they are from.
struct Asked {
    file: PathBuf,
    annotations: PathBuf,
    questions: Vec<Question>,
}

impl Vqa {
    /// Reads questions, annotations and the regions of the images that they are about.
    ///
    /// # Errors
    /// [`DataError::Questions`] for what is not as it should be, by file, entry and key, and those of files that cannot be read and of
    /// [`DataSet::validate`].
    pub fn load(&self) -> Result<DataSet, DataError> {
        let asked = [self.asked(SplitName::Train)?, self.asked(SplitName::Test)?];
        let answered = [self.answered(&asked[0])?, self.answered(&asked[1])?];
        let known: Arc<[String]> = self.known(&asked, &answered)?.into();
        let numbers: HashMap<&str, usize> = known.iter().map(String::as_str).zip(0..).collect();
        let place = |answer: &str| numbers.get(self.rules.answer(answer).as_str()).copied();
        let words = self.vocabulary(|| Ok(&asked[0]))?;
        let mut splits = Vec::with_capacity(asked.len());
        for ((asked, answered), part) in asked.into_iter().zip(answered).zip(SplitName::BOTH) {
            let dropped = |answered: &Annotation| {
                part == SplitName::Train
                    && self.rules == Rules::Mutan
                    && place(&answered.common).is_none()
            };
            let pairs = asked.questions.iter().zip(1..).zip(answered);
            let (kept, rows): (Vec<_>, Vec<_>) = pairs
                .filter(|(_, answered)| !dropped(answered))
                .map(|(question, answered)| {
                    let row = Answered::new(&answered.kind, answered.people, place);
                    (question, Arc::new(row))
                })
                .unzip();
            let known = known.clone();
            splits.push(Split {
                modalities: self.tables(&asked.file, &kept, &words)?,
                targets: Targets::Answers(Answers { known, rows }),
            });
        }
        let (test, train) = (splits.pop(), splits.pop());
        let none = || DataError::EmptyFile {
            file: self.folder.display().to_string(),
        };
        let set = DataSet {
            name: self.folder.display().to_string(),
            classes: known.to_vec(),
            train: train.ok_or_else(none)?,
            test: test.ok_or_else(none)?,
        };
        set.validate()?;
        Ok(set)
    }

    /// Questions and regions of the final evaluation, which need no annotations.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn test_features(&self) -> Result<Vec<Table>, DataError> {
        let words = self.own_vocabulary()?;
        let asked = self.asked(SplitName::Test)?;
        let all: Vec<_> = asked.questions.iter().zip(1..).collect();
        self.tables(&asked.file, &all, &words)
    }

    /// What columns of questions are called: by place, and by the list that words have their numbers from. With another list a trained
    /// model would read other words without a word.
    ///
    /// # Errors
    /// Those of files that cannot be read.
    pub fn names(&self) -> Result<Vec<Names>, DataError> {
        let digest = self.own_vocabulary()?.digest();
        let name = |place| format!("word {place} by the list of words {digest}");
        let file = match files::there(&self.words_file()) {
            true => self.words_file(),
            false => self.questions_file(SplitName::Train),
        };
        Ok(vec![Names {
            number: 1,
            modality: Some("question".to_owned()),
            features: Some((1..=self.words).map(name).collect()),
            file: file.display().to_string(),
        }])
    }

    fn words_file(&self) -> PathBuf {
        self.folder.join("words.txt")
    }

    fn questions_file(&self, part: SplitName) -> PathBuf {
        let name = &self.parts[usize::from(part == SplitName::Test)];
        let file = format!("v2_OpenEnded_mscoco_{name}_questions.json");
        self.folder.join(file)
    }

    fn asked(&self, part: SplitName) -> Result<Asked, DataError> {
        let name = &self.parts[usize::from(part == SplitName::Test)];
        let annotations = format!("v2_mscoco_{name}_annotations.json");
        let file = self.questions_file(part);
        Ok(Asked {
            questions: entries::questions(&file, self.limit)?,
            file,
            annotations: self.folder.join(annotations),
        })
    }

    /// The annotation of each question.
    fn answered(&self, asked: &Asked) -> Result<Vec<Annotation>, DataError> {
        let mut all = entries::annotations(&asked.annotations)?;
        let own = |(entry, question): (usize, &Question)| {
            let own = all.remove(&question.id);
            own.ok_or_else(|| {
                entries::unanswered(&asked.file, entry, question.id, &asked.annotations)
            })
        };
        (1..).zip(&asked.questions).map(own).collect()
    }

    /// The answers that can be given.
    fn known(
        &self,
        asked: &[Asked; 2],
        answered: &[Vec<Annotation>; 2],
    ) -> Result<Vec<String>, DataError> {
        let listed = self.folder.join("answer_dict.json");
        if files::there(&listed) {
            return entries::dictionary(&listed);
        }
        let common = |part: &Vec<Annotation>| -> Vec<String> {
            (part.iter())
                .map(|answered| self.rules.answer(&answered.common))
                .collect()
        };
        let known = match self.rules {
            Rules::Mcan => {
                let all = answered.iter().flat_map(common);
                let mut counts = counted(all);
                counts.retain(|(_, count)| *count > self.occurrences);
                counts
            }
            Rules::Mutan => {
                let mut counts = counted(common(&answered[0]).into_iter());
                counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
                counts.truncate(self.answers);
                counts
            }
        };
        match known.is_empty() {
            true => Err(DataError::from(QuestionsError::NoAnswers {
                file: asked[0].annotations.display().to_string(),
            })),
            false => Ok(known.into_iter().map(|(answer, _)| answer).collect()),
        }
    }

    fn own_vocabulary(&self) -> Result<Words, DataError> {
        self.vocabulary(|| self.asked(SplitName::Train))
    }

    /// The words of `words.txt`, or those of the questions to learn from.
    fn vocabulary<A: Borrow<Asked>>(
        &self,
        asked: impl FnOnce() -> Result<A, DataError>,
    ) -> Result<Words, DataError> {
        let listed = self.words_file();
        let words = match files::there(&listed) {
            true => Words::read(&listed, self.rules)?,
            false => {
                let asked = asked()?;
                let texts = asked.borrow().questions.iter();
                Words::of(texts.map(|question| question.text.as_str()), self.rules)
            }
        };
        let (folder, count) = (self.folder.display(), words.count());
        log::info!("{folder}: {count} words with padding, for which `backbone.words` makes room");
        Ok(words)
    }

    /// Numbers of words, and regions, of questions with their entry in a file.
    fn tables(
        &self,
        file: &Path,
        questions: &[(&Question, usize)],
        words: &Words,
    ) -> Result<Vec<Table>, DataError> {
        let places = self.features.iter().map(|place| self.folder.join(place));
        let places: Vec<PathBuf> = places.collect();
        let wanted: HashSet<u64> = questions
            .iter()
            .map(|(question, _)| question.image)
            .collect();
        let regions = Regions::read(&places, &wanted, self.regions)?;
        let columns = self.regions * regions.width;
        let mut images = Vec::with_capacity(questions.len() * columns);
        let mut texts = Vec::with_capacity(questions.len() * self.words);
        for (question, entry) in questions {
            let image = regions.images.get(&question.image);
            let image = image.ok_or_else(|| {
                let shown = places.iter().map(|place| place.display().to_string());
                QuestionsError::NoImage {
                    file: file.display().to_string(),
                    entry: *entry,
                    image: question.image,
                    places: shown.collect::<Vec<_>>().join(", "),
                }
            })?;
            images.extend_from_slice(image);
            let numbers = words.numbers(&question.text, self.words);
            texts.extend(numbers.map(|number| number as f64));
        }
        let table = |name: &str, columns, values| Table {
            name: name.to_owned(),
            columns,
            values,
        };
        Ok(vec![
            table("question", self.words, texts),
            table("image", columns, images),
        ])
    }
}

/// Answers and how often each is there, in the order in which they appear.
fn counted(answers: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut counts: Vec<(String, usize)> = Vec::new();
    for answer in answers {
        let place = *places.entry(answer.clone()).or_insert(counts.len());
        match counts.get_mut(place) {
            Some((_, count)) => *count += 1,
            None => counts.push((answer, 1)),
        }
    }
    counts
}
