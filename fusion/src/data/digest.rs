//! Digests, by which a data set is known again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{DataSet, LabelSets, SplitName, Table, Targets};

/// What tells whether two data sets hold the same rows in the same order: SHA-256 of each table, of the targets of each
/// split, and of the names of classes. Where the rows come from, and what modalities are called, does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest(BTreeMap<String, String>);

impl Digest {
    /// What differs from `other`, by the names of the files of a data folder: `1_tr`, `labels_te`, `classes`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let mut differing: Vec<String> = names
            .filter(|name| self.0.get(*name) != other.0.get(*name))
            .cloned()
            .collect();
        differing.sort();
        differing.dedup();
        differing
    }

    /// That of one split alone, without its targets where none are given.
    pub fn of_split(part: SplitName, modalities: &[Table], targets: Option<&Targets>) -> Self {
        let tables = (1..).zip(modalities);
        let mut all: BTreeMap<_, _> = tables
            .map(|(k, table)| (part.table_stem(k), of_table(table)))
            .collect();
        all.extend(targets.map(|targets| (part.targets_stem(targets.kind()), of_targets(targets))));
        Self(all)
    }
}

impl DataSet {
    /// By what this set is known again.
    pub fn digest(&self) -> Digest {
        let mut all = BTreeMap::from([("classes".to_owned(), of_classes(&self.classes))]);
        for part in SplitName::BOTH {
            let split = self.split(part);
            all.extend(Digest::of_split(part, &split.modalities, Some(&split.targets)).0);
        }
        Digest(all)
    }
}

fn of_table(table: &Table) -> String {
    let columns = (table.columns as u64).to_le_bytes();
    hex([columns].into_iter().chain(numbers(&table.values)))
}

fn of_targets(targets: &Targets) -> String {
    match targets {
        Targets::Classes(classes) => hex(classes.iter().map(|&class| (class as u64).to_le_bytes())),
        Targets::LabelSets(LabelSets { columns, values }) => {
            let bits = values.iter().map(|&bit| u64::from(bit).to_le_bytes());
            hex([(*columns as u64).to_le_bytes()].into_iter().chain(bits))
        }
        Targets::Numbers(values) => hex(numbers(values)),
        Targets::Answers(answers) => {
            let end: &[u8] = &[0xFF];
            hex(answers.rows.iter().flat_map(|answered| {
                let texts = std::iter::once(&answered.kind).chain(&answered.people);
                texts.flat_map(move |text| [text.as_bytes(), end])
            }))
        }
        Targets::Boxes(boxes) => {
            let rows = 0..boxes.rows.len();
            hex(rows.flat_map(|row| numbers(&boxes.numbers(row)).collect::<Vec<_>>()))
        }
    }
}

/// Each name ends in a byte that no text has.
fn of_classes(classes: &[String]) -> String {
    let end: &[u8] = &[0xFF];
    hex(classes.iter().flat_map(|name| [name.as_bytes(), end]))
}

/// The bytes of numbers; −0 is 0.
fn numbers(values: &[f64]) -> impl Iterator<Item = [u8; 8]> + '_ {
    values.iter().map(|value| (value + 0.0).to_le_bytes())
}

fn hex(parts: impl Iterator<Item = impl AsRef<[u8]>>) -> String {
    let mut hash = Sha256::new();
    parts.for_each(|part| hash.update(part));
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Split;

    fn set() -> DataSet {
        let split = |from: f64| Split {
            modalities: vec![
                Table {
                    name: "a".to_owned(),
                    columns: 2,
                    values: (0..8).map(|k| from + f64::from(k)).collect(),
                },
                Table {
                    name: "b".to_owned(),
                    columns: 1,
                    values: vec![0.5; 4],
                },
            ],
            targets: Targets::Classes(vec![0, 1, 0, 1]),
        };
        DataSet {
            name: "set".to_owned(),
            classes: vec!["x".to_owned(), "y".to_owned()],
            train: split(0.0),
            test: split(10.0),
        }
    }

    #[test]
    fn every_number_counts_and_names_say_where_it_is() {
        let differences = |change: fn(&mut DataSet)| {
            let mut other = set();
            change(&mut other);
            set().digest().differences(&other.digest())
        };
        assert_eq!(differences(|_| {}), [""; 0]);
        assert_eq!(
            differences(|set| {
                set.name = "moved".to_owned();
                set.train.modalities[1].name = "other".to_owned();
                set.train.modalities[0].values[0] = -0.0;
            }),
            [""; 0]
        );
        type Change = fn(&mut DataSet);
        let changes: [(Change, &[&str]); 7] = [
            (|set| set.train.modalities[0].values[7] += 1e-12, &["1_tr"]),
            (|set| set.test.modalities[1].values[0] = 0.25, &["2_te"]),
            (|set| set.train.modalities[0].values.swap(0, 1), &["1_tr"]),
            (|set| set.train.modalities[0].columns = 4, &["1_tr"]),
            (
                |set| set.test.targets = Targets::Classes(vec![0, 1, 1, 1]),
                &["labels_te"],
            ),
            (
                |set| set.train.targets = Targets::Numbers(vec![0.0; 4]),
                &["labels_tr", "targets_tr"],
            ),
            (|set| set.classes[1] = "z".to_owned(), &["classes"]),
        ];
        for (change, expected) in changes {
            assert_eq!(differences(change), expected);
        }
        let mut renamed = set();
        renamed.classes = vec!["xy".to_owned()];
        assert_eq!(set().digest().differences(&renamed.digest()), ["classes"]);
    }

    #[test]
    fn a_digest_survives_json() -> Result<(), serde_json::Error> {
        let digest = set().digest();
        let text = serde_json::to_string(&digest)?;
        assert_eq!(serde_json::from_str::<Digest>(&text)?, digest);
        Ok(())
    }
}
