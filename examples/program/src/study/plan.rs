//! What a study compares: a TOML file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// Configurations times seeds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Heading of the tables.
    pub title: String,
    /// The configuration that is varied, relative to the study's own file.
    pub config: PathBuf,
    /// One run per seed and variant.
    pub seeds: Vec<u64>,
    /// Steps over which the relative difference norm is followed after training; none without it.
    #[serde(default)]
    pub convergence: Option<usize>,
    /// What is compared.
    pub variant: Vec<Variant>,
}

/// A change of the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name in tables; also that of its folder.
    pub name: String,
    /// Changes as after `--set`: `key.path=value`.
    #[serde(default)]
    pub set: Vec<String>,
}

impl Plan {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let bad = |message: String| Error::Config {
            origin: path.display().to_string(),
            message,
        };
        let mut plan: Self = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if plan.seeds.is_empty() || plan.variant.is_empty() {
            return Err(bad(
                "at least one of `seeds` and one `[[variant]]`".to_owned()
            ));
        }
        require_distinct(&plan.seeds).map_err(bad)?;
        if plan.convergence == Some(0) {
            return Err(bad("`convergence` must be at least 1".to_owned()));
        }
        for (index, variant) in plan.variant.iter().enumerate() {
            let name = &variant.name;
            let plain = |c: char| c.is_alphanumeric() || " -_+.".contains(c);
            if name.trim().is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                let message = "letters, digits, spaces and `-_+.`: it is the name of a folder";
                return Err(bad(format!("`name = {name:?}` must be of {message}")));
            }
            if plan.variant[..index]
                .iter()
                .any(|other| other.name == *name)
            {
                return Err(bad(format!("two variants are called `{name}`")));
            }
        }
        plan.config = path.parent().unwrap_or(Path::new("")).join(&plan.config);
        Ok(plan)
    }
}

/// Refuses seeds that are there twice: one run would count as two, as if it had come out the same again.
///
/// # Errors
/// A message that names the first of them.
pub fn require_distinct(seeds: &[u64]) -> Result<(), String> {
    let repeated = |(index, seed): &(usize, &u64)| seeds[..*index].contains(seed);
    match seeds.iter().enumerate().find(repeated) {
        Some((_, seed)) => Err(format!(
            "seed {seed} is given twice: a run with the same seed is the same run; give each seed once"
        )),
        None => Ok(()),
    }
}
