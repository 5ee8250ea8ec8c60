//! What tools and people call a column that numbers or names the samples.

/// How sure a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// pandas calls an index so that it has read as a column.
    Unnamed,
    /// It is the name of an index, if it holds whole numbers.
    Index,
    /// It is that of identifiers, if it holds different whole numbers.
    Identifier,
}

/// Names of an index, in lower case and without what is between their words.
const INDEX: [&str; 8] = [
    "index",
    "id",
    "rowid",
    "rownames",
    "rowname",
    "rownumber",
    "barcode",
    "barcodes",
];

/// What is numbered, written likewise: the name of an index with `id`, `number` or `index` behind it.
const SAMPLES: [&str; 17] = [
    "sample",
    "patient",
    "subject",
    "participant",
    "person",
    "case",
    "cell",
    "donor",
    "record",
    "row",
    "individual",
    "specimen",
    "aliquot",
    "observation",
    "obs",
    "casesubmitter",
    "study",
];

/// What the name of a column tells, if it is that of an index.
pub(super) fn kind(name: &str) -> Option<Kind> {
    let lower = name.trim().to_lowercase();
    let unnamed = lower
        .strip_prefix("unnamed: ")
        .and_then(|rest| rest.split('_').next());
    if unnamed.is_some_and(|number| number.parse::<usize>().is_ok()) {
        return Some(Kind::Unnamed);
    }
    let bare: String = lower.chars().filter(|c| c.is_alphanumeric()).collect();
    let level = bare
        .strip_prefix("level")
        .is_some_and(|rest| rest.len() == 1 && rest.parse::<usize>().is_ok());
    let numbered = |ending: &str| {
        let what = bare.strip_suffix(ending);
        what.is_some_and(|what| SAMPLES.contains(&what))
    };
    if INDEX.contains(&bare.as_str())
        || level
        || ["id", "ids", "number", "index", "no"]
            .iter()
            .any(|ending| numbered(ending))
    {
        return Some(Kind::Index);
    }
    let identifier = ["_id", "-id", ".id", " id"]
        .iter()
        .any(|ending| lower.ends_with(ending))
        || SAMPLES.contains(&bare.as_str())
        || name.ends_with("Id")
        || ["uuid", "guid"].contains(&bare.as_str());
    identifier.then_some(Kind::Identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_indices_are_told_from_features() {
        for (name, expected) in [
            ("Unnamed: 0", Some(Kind::Unnamed)),
            ("Unnamed: 0_level_0", Some(Kind::Unnamed)),
            ("index", Some(Kind::Index)),
            ("ID", Some(Kind::Index)),
            ("sample_id", Some(Kind::Index)),
            ("sampleID", Some(Kind::Index)),
            ("Patient ID", Some(Kind::Index)),
            ("level_1", Some(Kind::Index)),
            ("slide_id", Some(Kind::Identifier)),
            ("sample", Some(Kind::Identifier)),
            // Genes and measurements.
            ("ID1", None),
            ("IDS", None),
            ("BID", None),
            ("X", None),
            ("age", None),
            ("refractive index", None),
            ("body mass index", None),
            ("unnamed", None),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
