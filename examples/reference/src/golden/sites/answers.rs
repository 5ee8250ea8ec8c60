//! Answers to questions about images, and what they are worth.

use std::collections::BTreeMap;
use std::path::Path;

use equilibria_fusion::metrics::{soft_target, VqaAccuracy};
use serde::Deserialize;

use crate::golden::file::{Array, Arrays};
use crate::golden::ledger::Ledger;
use crate::golden::tolerance::STEP;
use crate::{Error, Result};

/// Its name in a folder.
pub const FILE: &str = "accuracy.json";

/// The numbers of the file.
#[derive(Deserialize)]
struct Answers {
    cases: Vec<Answer>,
    overall_percent: f64,
    per_answer_type_percent: BTreeMap<String, f64>,
    soft_target_by_count: BTreeMap<usize, f64>,
}

/// A question.
#[derive(Deserialize)]
struct Answer {
    question_id: u64,
    answer_type: String,
    prediction: String,
    answers: Vec<String>,
    accuracy: f64,
}

/// Compares every number of the file.
pub fn compare(path: &Path, ledger: &mut Ledger) -> Result<()> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let file = serde_json::from_str::<Answers>(&text);
    let file = file.map_err(|error| Error::golden(path, error))?;
    let mut accuracy = VqaAccuracy::default();
    let mut pairs = Vec::new();
    for question in &file.cases {
        let ours = accuracy.add(
            &question.answer_type,
            &question.prediction,
            &question.answers,
        );
        let name = format!("accuracy.{}", question.question_id);
        pairs.push((name, question.accuracy, ours));
    }
    let overall = (file.overall_percent, accuracy.overall());
    pairs.push(("overall_percent".to_owned(), overall.0, overall.1));
    let ours: BTreeMap<&str, f64> = accuracy
        .by_type()
        .map(|(kind, mean, _)| (kind, mean))
        .collect();
    for (kind, &golden) in &file.per_answer_type_percent {
        let ours = ours.get(&kind[..]).copied().unwrap_or(f64::NAN);
        pairs.push((format!("per_answer_type_percent.{kind}"), golden, ours));
    }
    for (&people, &golden) in &file.soft_target_by_count {
        let name = format!("soft_target_by_count.{people}");
        pairs.push((name, golden, soft_target(people)));
    }
    let array = |golden: f64| Array {
        shape: vec![1],
        values: vec![golden],
    };
    let named = pairs.iter();
    let golden = Arrays {
        path: path.to_owned(),
        arrays: named
            .map(|(name, golden, _)| (name.clone(), array(*golden)))
            .collect(),
    };
    ledger.open(&golden);
    for (name, _, ours) in &pairs {
        ledger.compare(&golden, name, &[*ours], STEP);
    }
    ledger.close(&golden);
    Ok(())
}
