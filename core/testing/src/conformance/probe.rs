//! Configurations: round trips, and fields out of bounds.

use serde_json::{json, Value};

use super::{check_problem, quietly, Verdict};
use crate::problems::{self, Precision, Space};
use equilibria_core::{FixedPointSolver, Stop, Tolerance};

/// Problems on which a strange configuration must still behave: a smooth one, one with NaN, one without a solution.
const PROBLEMS: [&str; 4] = ["linear-90", "tanh-contractive", "nan-sample", "translation"];

/// Every breach of the contract of configurations, in words; empty if there is none.
///
/// The configuration must be valid, survive a round trip through JSON, and either refuse a field out of bounds, with an
/// error and not with a panic, or still behave truthfully. Every number in it is replaced in turn by what JSON has for
/// NaN, by negative numbers, 0, tiny and huge ones.
pub fn check_configuration(solver: &dyn FixedPointSolver) -> Vec<String> {
    let config = match serde_json::to_value(solver) {
        Ok(config) => config,
        Err(error) => return vec![format!("it cannot be serialized: {error}")],
    };
    let mut breaches = Vec::new();
    if let Err(error) = solver.validate() {
        breaches.push(format!("it is not valid to begin with: {error}"));
    }
    match parse(&config).and_then(|copy| serde_json::to_value(&copy)) {
        Ok(copy) if copy == config => {}
        Ok(copy) => breaches.push(format!("{config} comes back as {copy}")),
        Err(error) => breaches.push(format!("{config} does not come back: {error}")),
    }
    let mut paths = Vec::new();
    numbers(&config, String::new(), &mut paths);
    for path in paths {
        for value in probes() {
            let mut odd = config.clone();
            if let Some(number) = odd.pointer_mut(&path) {
                *number = value.clone();
            }
            let place = format!("`{}` = {value}", path.trim_start_matches('/'));
            breaches.extend(probe(&odd).into_iter().map(|b| format!("{place}: {b}")));
        }
    }
    breaches
}

fn probes() -> [Value; 10] {
    [
        Value::Null,
        json!(-1),
        json!(-0.5),
        json!(0),
        json!(1),
        json!(0.5),
        json!(1e-300),
        json!(1e300),
        json!(i64::MAX),
        json!(u64::MAX),
    ]
}

fn parse(config: &Value) -> serde_json::Result<Box<dyn FixedPointSolver>> {
    serde_json::from_value(config.clone())
}

/// What is wrong with a configuration that may be out of bounds; nothing if it is refused.
fn probe(config: &Value) -> Vec<String> {
    let accepted = quietly(|| {
        parse(config)
            .ok()
            .filter(|solver| solver.validate().is_ok())
    });
    let solver = match accepted {
        Ok(Some(solver)) => solver,
        Ok(None) => return Vec::new(),
        Err(panic) => return vec![panic],
    };
    let stop = Stop {
        max_evaluations: 60,
        ..Stop::at(Tolerance::absolute(1e-8))
    };
    let known = problems::all().into_iter();
    let outcomes = known
        .filter(|problem| PROBLEMS.contains(&problem.name))
        .map(|problem| check_problem(&*solver, &problem, Precision::Double, Space::Slice, &stop));
    let wrong = |outcome: super::Outcome| match outcome.verdict {
        Verdict::Wrong(_) => Some(outcome.to_string()),
        Verdict::Solved | Verdict::Unsolved => None,
    };
    outcomes.filter_map(wrong).collect()
}

/// JSON pointers of all numbers.
fn numbers(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(path),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| numbers(item, format!("{path}/{index}"), found));
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            fields.for_each(|(name, field)| numbers(field, format!("{path}/{name}"), found));
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
