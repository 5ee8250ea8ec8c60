//! Files of a data folder that are there with a name or an ending that is not read.

use super::check::SplitName;
use super::files::FORMATS;
use super::{DataError, TargetKind};
use std::path::Path;
use std::{fs, io};

/// What is to be done about a file with one of these endings, in lower case.
const REMEDIES: [(&str, &str); 12] = [
    ("gz", "unpack it"),
    ("bz2", "unpack it"),
    ("xz", "unpack it"),
    ("zip", "unpack it"),
    ("zst", "unpack it"),
    (
        "h5ad",
        "save its matrix, `numpy.save(\"1_tr.npy\", adata.X)`, `adata.X.toarray()` if it is sparse",
    ),
    (
        "h5mu",
        "save the matrix of each modality, `numpy.save(\"1_tr.npy\", mdata[\"rna\"].X)`",
    ),
    (
        "pt",
        "save the tensor, `numpy.save(\"1_tr.npy\", x.float().numpy())`",
    ),
    (
        "pth",
        "save the tensor, `numpy.save(\"1_tr.npy\", x.float().numpy())`",
    ),
    (
        "tsv",
        "write it with commas, `df.to_csv(\"1_tr.csv\", index=False)`",
    ),
    (
        "parquet",
        "write it as text, `pandas.read_parquet(file).to_csv(\"1_tr.csv\", index=False)`",
    ),
    (
        "xlsx",
        "write it as text, `pandas.read_excel(file).to_csv(\"1_tr.csv\", index=False)`",
    ),
];

/// Endings of files that are no data.
const OTHERS: [&str; 14] = [
    "json", "md", "py", "r", "toml", "yaml", "yml", "html", "png", "svg", "pdf", "log", "ipynb",
    "sh",
];

/// Files that are looked at together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Tables, their lists of samples and of features, and the lists of classes and modalities.
    Features,
    /// What is to be predicted.
    Targets,
    /// The lists of samples of what is to be predicted.
    TargetIds,
}

/// What a file of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A table or a list of targets, in any format.
    Values,
    /// A list of names.
    List,
}

impl Role {
    fn formats(self) -> &'static [&'static str] {
        match self {
            Self::Values => &FORMATS,
            Self::List => &FORMATS[..1],
        }
    }
}

/// Makes sure that no file of a group that the given splits of a folder are meant to have goes unread for its name, unless
/// there is one with the right name.
///
/// # Errors
/// [`DataError::OtherEnding`] or [`DataError::OtherName`].
pub(super) fn check(folder: &Path, parts: &[SplitName], group: Group) -> Result<(), DataError> {
    let names = file_names(folder)?;
    for name in &names {
        let (stem, ending) = parted(name);
        let meant = proper(&stem);
        let Some((role, its_group)) = role(&meant, parts) else {
            if group == Group::Features
                && names_samples(&meant, parts)
                && !OTHERS.contains(&&*ending)
            {
                return Err(other_list_of_samples(folder, name));
            }
            continue;
        };
        let right = |ending: &&str| *name == format!("{meant}.{ending}");
        let readable =
            (role.formats().iter()).any(|ending| names.contains(&format!("{meant}.{ending}")));
        // Two numbers that are the same, 1 and 01.
        let twice = readable
            && role == Role::Values
            && meant.trim_start_matches(char::is_numeric)
                == stem.trim_start_matches(char::is_numeric)
            && stem != meant;
        let silent = role == Role::List && OTHERS.contains(&&*ending)
            || ending.is_empty() && (role == Role::Values || folder.join(name).is_dir());
        if its_group != group || role.formats().iter().any(right) || readable && !twice || silent {
            continue;
        }
        return Err(refused(folder, name, (&stem, &ending), (&meant, role)));
    }
    Ok(())
}

/// The stem and the endings of a file's name, in lower case; `1_tr.ids.csv` is taken for `1_tr_ids.csv`.
fn parted(name: &str) -> (String, String) {
    let lower = name.to_lowercase();
    let (stem, endings) = lower.split_once('.').unwrap_or((&lower, ""));
    match endings.strip_prefix("ids.") {
        Some(endings) => (format!("{stem}_ids"), endings.to_owned()),
        None => (stem.to_owned(), endings.to_owned()),
    }
}

/// The name that is probably meant: splits are called tr and te, numbers have no leading zeros.
fn proper(stem: &str) -> String {
    let word = |word: &str| match word {
        "train" | "training" => "tr".to_owned(),
        "test" | "testing" => "te".to_owned(),
        "id" => "ids".to_owned(),
        "sample" => "samples".to_owned(),
        "class" => "classes".to_owned(),
        "modality" => "modalities".to_owned(),
        "label" => "labels".to_owned(),
        "featnames" => "featname".to_owned(),
        number if number.parse::<usize>().is_ok() => match number.trim_start_matches('0') {
            "" => "0".to_owned(),
            number => number.to_owned(),
        },
        other => other.to_owned(),
    };
    stem.split(['_', '-', ' '])
        .map(word)
        .collect::<Vec<_>>()
        .join("_")
}

/// What a proper name without ending stands for.
fn role(stem: &str, parts: &[SplitName]) -> Option<(Role, Group)> {
    if ["classes", "modalities"].contains(&stem) {
        return Some((Role::List, Group::Features));
    }
    let (first, rest) = stem.split_once('_')?;
    let number = first.parse::<usize>().is_ok();
    if number && rest == "featname" {
        return Some((Role::List, Group::Features));
    }
    let (suffix, ids) = match rest.split_once('_') {
        None => (rest, false),
        Some((suffix, "ids")) => (suffix, true),
        Some(_) => return None,
    };
    let target = TargetKind::ALL.iter().any(|kind| kind.stem() == first);
    if !parts.iter().any(|part| part.suffix() == suffix) {
        return None;
    }
    match (number, target, ids) {
        (true, _, false) => Some((Role::Values, Group::Features)),
        (true, _, true) => Some((Role::List, Group::Features)),
        (_, true, false) => Some((Role::Values, Group::Targets)),
        (_, true, true) => Some((Role::List, Group::TargetIds)),
        _ => (first == "samples" && !ids).then_some((Role::List, Group::Features)),
    }
}

/// Whether a name that stands for nothing tells of the samples of a split.
fn names_samples(stem: &str, parts: &[SplitName]) -> bool {
    let has = |word: &str| stem.split('_').any(|other| other == word);
    (has("ids") || has("samples")) && parts.iter().any(|part| has(part.suffix()))
}

fn refused(
    folder: &Path,
    name: &str,
    (stem, ending): (&str, &str),
    (meant, role): (&str, Role),
) -> DataError {
    let last = ending.rsplit('.').next().unwrap_or_default();
    let known = REMEDIES.iter().find(|(ending, _)| *ending == last);
    let readable = role.formats().contains(&ending);
    let remedy = match (known, role) {
        (Some((_, remedy)), _) if *remedy == "unpack it" => (*remedy).to_owned(),
        (Some((_, remedy)), Role::Values) => (*remedy).to_owned(),
        _ if readable => format!("call it {meant}.{ending}"),
        (_, Role::List) => format!("write one name per line, and call it {meant}.csv"),
        (None, Role::Values) => "write it in one of these formats".to_owned(),
    };
    let file = folder.join(name).display().to_string();
    if stem != meant && readable {
        return DataError::OtherName { file, remedy };
    }
    DataError::OtherEnding {
        file,
        stem: meant.to_owned(),
        known: (role.formats().iter())
            .map(|ending| format!(".{ending}"))
            .collect::<Vec<_>>()
            .join(", "),
        remedy,
    }
}

fn other_list_of_samples(folder: &Path, name: &str) -> DataError {
    DataError::OtherName {
        file: folder.join(name).display().to_string(),
        remedy: "names of samples belong into K_tr_ids.csv and K_te_ids.csv for the rows of one table, into samples_tr.csv and \
                 samples_te.csv for those of all files (if it holds something else, call it otherwise)"
            .to_owned(),
    }
}

/// The names of the files of a folder, sorted.
pub(super) fn file_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let unreadable = |source: io::Error| DataError::Unreadable {
        file: folder.display().to_string(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_meant_are_known() {
        for (name, meant, known) in [
            ("1_tr_ids.txt", "1_tr_ids", true),
            ("1_train_ids.csv", "1_tr_ids", true),
            ("1_tr.ids.csv", "1_tr_ids", true),
            ("01_te.npy", "1_te", true),
            ("Samples-test.csv", "samples_te", true),
            ("labels_tr_id.csv", "labels_tr_ids", true),
            ("classes.txt", "classes", true),
            ("2_featname.txt", "2_featname", true),
            ("readme.md", "readme", false),
            ("sample_info.csv", "samples_info", false),
        ] {
            let stem = proper(&parted(name).0);
            assert_eq!(stem, meant);
            assert_eq!(role(&stem, &SplitName::BOTH).is_some(), known, "{name}");
        }
        assert!(names_samples("samples_of_te", &[SplitName::Test]));
        assert!(!names_samples("samples_of_te", &[SplitName::Train]));
    }
}
