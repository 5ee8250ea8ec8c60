//! A data set as a single `.safetensors` file.

use super::array::{self, Array};
use super::check::{check, Source, SplitName};
use super::{DataError, DataSet, LabelSets, Split, Table, TargetKind, Targets};
use crate::dtype;
use safetensors::SafeTensors;
use std::collections::HashMap;

/// The types of an array of numbers.
const NUMBERS: &str = "U8, U16, U32, F32 or F64";

impl DataSet {
    /// Writes the set as the bytes of one `.safetensors` file.
    ///
    /// Arrays `1.train`, `1.test`, `2.train`, ... hold the modalities (samples
    /// by features), `labels.train` and `labels.test` the class ids; or
    /// `multilabels.train`, ... samples by labels, 0 and 1; or `targets.train`,
    /// ... the numbers. The metadata holds `name`, `classes` and `modalities` (JSON lists of names),
    /// and the free-form `attribution` and `license`.
    ///
    /// Each table, and each list of numbers to predict, is stored in the
    /// smallest of U8, U16 and F32 that is exact for it. Failing that it is stored as F32 if this changes no value by a
    /// relative error of 1e-7 or more, and as F64 otherwise. Modalities go by
    /// the names they have in the training split. The order of the metadata
    /// entries is not fixed, so two calls may differ in their bytes.
    ///
    /// # Errors
    ///
    /// If the set is not [valid](Self::validate).
    pub fn to_bundle(&self, attribution: &str, license: &str) -> Result<Vec<u8>, DataError> {
        self.validate()?;
        let invalid = |problem: String| invalid(&self.name, problem);
        let mut arrays = Vec::new();
        for (part, split) in SplitName::BOTH.into_iter().zip([&self.train, &self.test]) {
            let targets = match &split.targets {
                Targets::Classes(labels) => Array::labels(labels)
                    .ok_or_else(|| invalid("a label does not fit in 32 bits".into()))?,
                Targets::LabelSets(sets) => {
                    let bits = sets.values.iter().map(|&bit| f64::from(u8::from(bit)));
                    let shape = vec![split.len(), sets.columns];
                    Array::numbers(shape, &bits.collect::<Vec<_>>())
                }
                Targets::Numbers(numbers) => Array::numbers(vec![numbers.len()], numbers),
                Targets::Answers(_) => {
                    return Err(invalid(
                        "a bundle has no place for answers of people".into(),
                    ))
                }
                Targets::Boxes(_) => return Err(invalid("a bundle has no place for boxes".into())),
            };
            arrays.push((part.targets_array(split.targets.kind()), targets));
            for (k, table) in (1..).zip(&split.modalities) {
                let shape = vec![table.rows(), table.columns];
                let array = Array::numbers(shape, &table.values);
                arrays.push((part.table_array(k), array));
            }
        }
        let views = arrays.iter().map(|(name, array)| (name, array));
        let metadata = self.bundle_metadata(attribution, license);
        safetensors::serialize(views, Some(metadata)).map_err(|error| invalid(error.to_string()))
    }

    /// Reads what [`to_bundle`](Self::to_bundle) wrote; `origin` names the
    /// bytes in errors, a file name for example.
    ///
    /// # Errors
    ///
    /// If the bytes are not a complete bundle or the arrays do not fit
    /// together; the error names the array and, where there is one, the row
    /// and column.
    pub fn from_bundle(bytes: &[u8], origin: &str) -> Result<Self, DataError> {
        let not_a_bundle =
            |error| invalid(origin, format!("not a whole safetensors file ({error})"));
        let arrays = SafeTensors::deserialize(bytes).map_err(not_a_bundle)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_a_bundle)?;
        let entries = Entries {
            origin,
            entries: header.metadata().as_ref(),
        };
        let modalities = entries.names("modalities")?;
        let reader = Reader { origin, arrays };
        let set = Self {
            name: entries.text("name")?.to_owned(),
            classes: entries.names("classes")?,
            train: reader.split(SplitName::Train, &modalities)?,
            test: reader.split(SplitName::Test, &modalities)?,
        };
        check(&set, Source::Bundle(origin))?;
        reader.check_count(modalities.len())?;
        Ok(set)
    }

    fn bundle_metadata(&self, attribution: &str, license: &str) -> HashMap<String, String> {
        let modalities = self
            .train
            .modalities
            .iter()
            .map(|table| table.name.as_str());
        let classes = self.classes.iter().map(String::as_str);
        let entries = [
            ("name", self.name.clone()),
            ("classes", json_list(classes)),
            ("modalities", json_list(modalities)),
            ("attribution", attribution.to_owned()),
            ("license", license.to_owned()),
        ];
        entries.map(|(key, text)| (key.to_owned(), text)).into()
    }
}

fn json_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<serde_json::Value>().to_string()
}

fn invalid(file: impl Into<String>, problem: String) -> DataError {
    DataError::InvalidBundle {
        file: file.into(),
        problem,
    }
}

/// The metadata of a bundle.
struct Entries<'a> {
    origin: &'a str,
    entries: Option<&'a HashMap<String, String>>,
}

impl Entries<'_> {
    fn text(&self, key: &str) -> Result<&str, DataError> {
        self.entries
            .and_then(|entries| entries.get(key))
            .map(String::as_str)
            .ok_or_else(|| invalid(self.origin, format!("the metadata has no entry {key:?}")))
    }

    fn names(&self, key: &str) -> Result<Vec<String>, DataError> {
        serde_json::from_str(self.text(key)?).map_err(|error| {
            let problem = format!("the metadata entry {key:?} is not a list of names ({error})");
            invalid(self.origin, problem)
        })
    }
}

/// The arrays of a bundle.
struct Reader<'a> {
    origin: &'a str,
    arrays: SafeTensors<'a>,
}

impl Reader<'_> {
    fn split(&self, part: SplitName, modalities: &[String]) -> Result<Split, DataError> {
        let tables = (1..)
            .zip(modalities)
            .map(|(k, name)| self.table(&part.table_array(k), name));
        Ok(Split {
            modalities: tables.collect::<Result<_, DataError>>()?,
            targets: self.targets(part)?,
        })
    }

    /// Arrays that the metadata does not name would be lost without a word.
    fn check_count(&self, modalities: usize) -> Result<(), DataError> {
        let (found, expected) = (self.arrays.len(), 2 * (modalities + 1));
        if found == expected {
            return Ok(());
        }
        let problem = format!("found {found} arrays where the metadata calls for {expected}");
        Err(invalid(self.origin, problem))
    }

    fn table(&self, array: &str, name: &str) -> Result<Table, DataError> {
        let view = self.view(array)?;
        let &[_, columns] = view.shape() else {
            return Err(self.wrong_shape(array, view.shape(), "2 (samples by features)"));
        };
        let values = dtype::numbers(view.dtype(), view.data())
            .ok_or_else(|| self.wrong_type(array, view.dtype(), NUMBERS))?;
        Ok(Table {
            name: name.to_owned(),
            columns,
            values,
        })
    }

    /// Those of the kind that is there; class ids where there is none.
    fn targets(&self, part: SplitName) -> Result<Targets, DataError> {
        let names = self.arrays.names();
        let there = |kind: &TargetKind| names.contains(&part.targets_array(*kind).as_str());
        let kind = TargetKind::ALL.into_iter().find(there);
        let kind = kind.unwrap_or(TargetKind::Class);
        let array = part.targets_array(kind);
        if kind == TargetKind::LabelSet {
            let Table {
                columns, values, ..
            } = self.table(&array, "")?;
            let values = values.into_iter().map(|value| match value {
                0.0 => Some(false),
                1.0 => Some(true),
                _ => None,
            });
            let values: Option<Vec<bool>> = values.collect();
            let problem = || invalid(self.place(&array), "found values other than 0 and 1".into());
            let values = values.ok_or_else(problem)?;
            return Ok(Targets::LabelSets(LabelSets { columns, values }));
        }
        let view = self.view(&array)?;
        if view.shape().len() != 1 {
            return Err(self.wrong_shape(&array, view.shape(), "1 (samples)"));
        }
        let (dtype, data) = (view.dtype(), view.data());
        match kind {
            TargetKind::Number => dtype::numbers(dtype, data)
                .map(Targets::Numbers)
                .ok_or_else(|| self.wrong_type(&array, dtype, NUMBERS)),
            _ => array::read_labels(dtype, data)
                .map(Targets::Classes)
                .ok_or_else(|| self.wrong_type(&array, dtype, "U8, U16 or U32")),
        }
    }

    fn view(&self, array: &str) -> Result<safetensors::tensor::TensorView<'_>, DataError> {
        self.arrays
            .tensor(array)
            .map_err(|_| invalid(self.place(array), "the array is missing".into()))
    }

    fn wrong_shape(&self, array: &str, shape: &[usize], dimensions: &str) -> DataError {
        let problem =
            format!("found shape {shape:?} where the number of dimensions is {dimensions}");
        invalid(self.place(array), problem)
    }

    fn wrong_type(&self, array: &str, found: safetensors::Dtype, types: &str) -> DataError {
        invalid(
            self.place(array),
            format!("found type {found:?} in place of {types}"),
        )
    }

    fn place(&self, array: &str) -> String {
        format!("{} [{array}]", self.origin)
    }
}
