//! Questions and annotations, in the JSON of the VQA challenge.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::Deserialize;

use super::QuestionsError;
use crate::data::cell::shown;
use crate::data::DataError;

/// People who answer each question; the metric and its soft targets are those of so many.
const PEOPLE: usize = 10;

/// A question about an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub id: u64,
    pub image: u64,
    pub text: String,
}

/// What people answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Annotation {
    /// Type of the answers.
    pub kind: String,
    /// The answer that most gave.
    pub common: String,
    /// Those of all.
    pub people: Vec<String>,
}

/// A value that may be missing, or of another type.
#[derive(Deserialize)]
#[serde(untagged)]
enum Field<T> {
    Proper(T),
    Other(serde_json::Value),
}

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self::Other(serde_json::Value::Null)
    }
}

#[derive(Deserialize)]
struct QuestionFile {
    questions: Vec<QuestionEntry>,
}

#[derive(Deserialize)]
struct QuestionEntry {
    #[serde(default)]
    question_id: Field<u64>,
    #[serde(default)]
    image_id: Field<u64>,
    #[serde(default)]
    question: Field<String>,
}

#[derive(Deserialize)]
struct AnnotationFile {
    annotations: Vec<AnnotationEntry>,
}

#[derive(Deserialize)]
struct AnnotationEntry {
    #[serde(default)]
    question_id: Field<u64>,
    #[serde(default)]
    answer_type: Field<String>,
    #[serde(default)]
    multiple_choice_answer: Field<String>,
    #[serde(default)]
    answers: Field<Vec<AnswerEntry>>,
}

#[derive(Deserialize)]
struct AnswerEntry {
    answer: String,
}

/// An entry of a list of a file, for errors.
struct Entry<'a> {
    file: &'a Path,
    list: &'static str,
    entry: usize,
}

impl Entry<'_> {
    fn error(&self, key: &'static str, problem: String) -> DataError {
        let (list, entry) = (self.list, self.entry);
        let file = self.file.display().to_string();
        let error = QuestionsError::Entry {
            file,
            list,
            entry,
            key,
            problem,
        };
        error.into()
    }

    /// The value of a key.
    fn take<T>(&self, key: &'static str, field: Field<T>, expected: &str) -> Result<T, DataError> {
        let problem = match field {
            Field::Proper(value) => return Ok(value),
            Field::Other(serde_json::Value::Null) => format!("it is missing, expected {expected}"),
            Field::Other(other) => {
                let found = shown(&other.to_string());
                format!("found {found}, expected {expected}")
            }
        };
        Err(self.error(key, problem))
    }
}

/// The first questions of a file, so many at most.
pub(super) fn questions(file: &Path, limit: usize) -> Result<Vec<Question>, DataError> {
    let expected = "an object with a list `questions`, as in VQA v2";
    let QuestionFile { questions } = read(file, expected)?;
    if questions.is_empty() {
        return Err(empty(file));
    }
    let question = |(entry, question): (usize, QuestionEntry)| {
        let list = "questions";
        let place = Entry { file, list, entry };
        Ok(Question {
            id: place.take("question_id", question.question_id, "a whole number")?,
            image: place.take("image_id", question.image_id, "a whole number")?,
            text: place.take("question", question.question, "a text")?,
        })
    };
    (1..)
        .zip(questions.into_iter().take(limit))
        .map(question)
        .collect()
}

/// The annotations of a file by question.
pub(super) fn annotations(file: &Path) -> Result<HashMap<u64, Annotation>, DataError> {
    let expected = "an object with a list `annotations`, as in VQA v2";
    let AnnotationFile { annotations } = read(file, expected)?;
    let mut all = HashMap::with_capacity(annotations.len());
    for (entry, annotation) in (1..).zip(annotations) {
        let list = "annotations";
        let place = Entry { file, list, entry };
        let expected = "ten entries, each with a text `answer`";
        let id = place.take("question_id", annotation.question_id, "a whole number")?;
        let kind = annotation.answer_type;
        let common = annotation.multiple_choice_answer;
        let people = place.take("answers", annotation.answers, expected)?;
        if people.len() != PEOPLE {
            let problem = format!("found {} entries, expected {expected}", people.len());
            return Err(place.error("answers", problem));
        }
        let annotation = Annotation {
            kind: place.take("answer_type", kind, "`yes/no`, `number` or `other`")?,
            common: place.take("multiple_choice_answer", common, "a text")?,
            people: people.into_iter().map(|entry| entry.answer).collect(),
        };
        if all.insert(id, annotation).is_some() {
            let problem = format!("an earlier entry is about question {id} already");
            return Err(place.error("question_id", problem));
        }
    }
    Ok(all)
}

/// The error for a question that nobody answered.
pub(super) fn unanswered(file: &Path, entry: usize, id: u64, annotations: &Path) -> DataError {
    let list = "questions";
    let problem = format!("{} has no answers to {id}", annotations.display());
    Entry { file, list, entry }.error("question_id", problem)
}

/// The answers that `answer_dict.json` lists, in the order of their numbers.
pub(super) fn dictionary(file: &Path) -> Result<Vec<String>, DataError> {
    let expected = "a list of two objects, from answers to numbers from 0 on, and back";
    let (numbers, _): (HashMap<String, usize>, serde_json::Value) = read(file, expected)?;
    let mut answers = vec![None; numbers.len()];
    for (answer, number) in numbers {
        let place = answers.get_mut(number).filter(|place| place.is_none());
        let Some(place) = place else {
            return Err(layout(
                file,
                format!("{answer:?} has the number {number}, which is another's or too large"),
                expected,
            ));
        };
        *place = Some(answer);
    }
    match answers.is_empty() {
        true => Err(empty(file)),
        false => Ok(answers.into_iter().flatten().collect()),
    }
}

fn empty(file: &Path) -> DataError {
    DataError::EmptyFile {
        file: file.display().to_string(),
    }
}

fn layout(file: &Path, problem: String, expected: &'static str) -> DataError {
    let file = file.display().to_string();
    let error = QuestionsError::Layout {
        file,
        problem,
        expected,
    };
    error.into()
}

fn read<T: DeserializeOwned>(file: &Path, expected: &'static str) -> Result<T, DataError> {
    let unreadable = |source| DataError::Unreadable {
        file: file.display().to_string(),
        source,
    };
    let reader = BufReader::new(File::open(file).map_err(unreadable)?);
    serde_json::from_reader(reader).map_err(|error| layout(file, error.to_string(), expected))
}
