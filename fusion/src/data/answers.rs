//! Answers of people to questions.

use std::sync::Arc;

/// What people answered to each question, and what a model can answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// The answers that can be given, those of [`DataSet::classes`](super::DataSet::classes).
    pub known: Arc<[String]>,
    /// One entry per question.
    pub rows: Vec<Arc<Answered>>,
}

/// What people answered to one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Type of its answers, such as `yes/no`, `number` or `other`.
    pub kind: String,
    /// The answer of each, as it was written.
    pub people: Vec<String>,
    /// The number of each answer that can be given, from 0, and how many people gave it; those that nobody gave are left out.
    pub counts: Vec<(usize, usize)>,
}

impl Answered {
    /// The answers of people, of which those count that a model can give.
    pub fn new(kind: &str, people: Vec<String>, place: impl Fn(&str) -> Option<usize>) -> Self {
        let mut counts: Vec<(usize, usize)> = Vec::new();
        for answer in people.iter().filter_map(|answer| place(answer)) {
            match counts.iter_mut().find(|(known, _)| *known == answer) {
                Some((_, count)) => *count += 1,
                None => counts.push((answer, 1)),
            }
        }
        Self {
            kind: kind.to_owned(),
            people,
            counts,
        }
    }
}
