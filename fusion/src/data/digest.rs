//! Digests, by which a data set is known again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{DataError, Features, LabelSets, Rows, Samples, SplitName, Targets};

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

    /// That of one split alone, without its targets.
    ///
    /// # Errors
    /// Those of reading the rows.
    pub fn of_features(part: SplitName, features: &dyn Features) -> Result<Self, DataError> {
        let columns = features.columns().into_iter();
        let start = |columns: usize| Sha256::new_with_prefix((columns as u64).to_le_bytes());
        let mut hashes: Vec<Sha256> = columns.map(start).collect();
        features.scan(&mut |_, tables| {
            for (modality, hash) in hashes.iter_mut().enumerate() {
                (tables.rows_of(modality)).for_each(|row| add_numbers(hash, row));
            }
            Ok(())
        })?;
        let tables = (1..).zip(hashes);
        let named = tables.map(|(k, hash)| (part.table_stem(k), hex(hash)));
        Ok(Self(named.collect()))
    }

    /// That of one split alone.
    ///
    /// # Errors
    /// Those of reading the rows.
    pub fn of_rows(part: SplitName, rows: &dyn Rows) -> Result<Self, DataError> {
        let mut all = Self::of_features(part, rows.features())?;
        let mut hash = Sha256::new();
        rows.scan_targets(&mut |first, targets| {
            add_targets(&mut hash, targets, first == 0);
            Ok(())
        })?;
        all.0.insert(part.targets_stem(rows.kind()), hex(hash));
        Ok(all)
    }
}

impl Samples {
    /// By what this set is known again.
    ///
    /// # Errors
    /// Those of reading the rows.
    pub fn digest(&self) -> Result<Digest, DataError> {
        let mut all = BTreeMap::from([("classes".to_owned(), of_classes(&self.classes))]);
        for part in SplitName::BOTH {
            all.extend(Digest::of_rows(part, self.split(part))?.0);
        }
        Ok(Digest(all))
    }
}

/// Adds some rows, which may be the first.
fn add_targets(hash: &mut Sha256, targets: &Targets, first: bool) {
    match targets {
        Targets::Classes(classes) => {
            (classes.iter()).for_each(|&class| hash.update((class as u64).to_le_bytes()));
        }
        Targets::LabelSets(LabelSets { columns, values }) => {
            if first {
                hash.update((*columns as u64).to_le_bytes());
            }
            (values.iter()).for_each(|&bit| hash.update(u64::from(bit).to_le_bytes()));
        }
        Targets::Numbers(values) => add_numbers(hash, values),
        Targets::Answers(answers) => {
            for answered in &answers.rows {
                for text in std::iter::once(&answered.kind).chain(&answered.people) {
                    hash.update(text.as_bytes());
                    hash.update([0xFF]);
                }
            }
        }
        Targets::Boxes(boxes) => {
            let rows = 0..boxes.rows.len();
            rows.for_each(|row| add_numbers(hash, &boxes.numbers(row)));
        }
    }
}

/// Each name ends in a byte that no text has.
fn of_classes(classes: &[String]) -> String {
    let mut hash = Sha256::new();
    for name in classes {
        hash.update(name.as_bytes());
        hash.update([0xFF]);
    }
    hex(hash)
}

/// Adds the bytes of numbers; −0 is 0.
fn add_numbers(hash: &mut Sha256, values: &[f64]) {
    (values.iter()).for_each(|value| hash.update((value + 0.0).to_le_bytes()));
}

fn hex(hash: Sha256) -> String {
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DataSet, Split, Table};

    fn digest(set: DataSet) -> Digest {
        Samples::from(set).digest().expect("in memory")
    }

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
            digest(set()).differences(&digest(other))
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
        let changes: [(Change, &[&str]); 6] = [
            (|set| set.train.modalities[0].values[7] += 1e-12, &["1_tr"]),
            (|set| set.test.modalities[1].values[0] = 0.25, &["2_te"]),
            (|set| set.train.modalities[0].values.swap(0, 1), &["1_tr"]),
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
        let [narrow, wide] = [2, 4].map(|columns| {
            let mut table = set().train.modalities.swap_remove(0);
            table.columns = columns;
            Digest::of_features(SplitName::Train, &vec![table]).expect("in memory")
        });
        assert_eq!(narrow.differences(&wide), ["1_tr"]);
        let mut renamed = set();
        renamed.classes = vec!["xy".to_owned()];
        assert_eq!(digest(set()).differences(&digest(renamed)), ["classes"]);
    }

    #[test]
    fn a_digest_survives_json() -> Result<(), serde_json::Error> {
        let digest = digest(set());
        let text = serde_json::to_string(&digest)?;
        assert_eq!(serde_json::from_str::<Digest>(&text)?, digest);
        Ok(())
    }
}
