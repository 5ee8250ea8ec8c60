//! Under which names a state dict of PyTorch keeps a parameter.

use std::collections::{BTreeMap, BTreeSet};

use equilibria_core::parameters::join;
use equilibria_core::registry;

use super::Metadata;

/// What modules around others call what is inside: `DataParallel` and `AveragedModel`, `torch.compile`, FSDP, and activation
/// checkpoints.
const WRAPPERS: [&str; 4] = [
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
];

/// What `AveragedModel` keeps beside the parameters: the number of its updates.
const UPDATES: &str = "n_averaged";

/// What every batch normalization keeps beside its parameters: the number of its batches.
const BATCHES: &str = "num_batches_tracked";

/// Between the names of arrays that follow one another in one parameter.
const PART: char = '+';

/// In the place of a number, for all from 1.
const NUMBER: char = '*';

/// Ends of names that hooks of `torch.nn.utils` give the parts of a parameter: weight_norm, spectral_norm, prune.
const PARTS: [&str; 5] = ["_g", "_v", "_u", "_orig", "_mask"];

/// The arrays of a file by the names that parameters have.
pub(super) struct Names<'f> {
    /// From the name without wrappers to the array.
    arrays: BTreeMap<String, &'f str>,
    all: BTreeSet<&'f str>,
}

/// How a parameter is kept; names of arrays.
pub(super) enum Kept<'f> {
    /// As it is.
    Plain(&'f str),
    /// As the length g and the direction v of weight normalization.
    WeightNorm { g: &'f str, v: &'f str },
    /// As several arrays that follow one another, rows or parts of the one row.
    Joined(Vec<&'f str>),
    /// With the singular vectors u and v of spectral normalization.
    SpectralNorm {
        weight: &'f str,
        u: &'f str,
        v: &'f str,
    },
}

impl<'f> Kept<'f> {
    /// All arrays.
    pub fn arrays(&self) -> Vec<&'f str> {
        match *self {
            Self::Plain(name) => vec![name],
            Self::Joined(ref names) => names.clone(),
            Self::WeightNorm { g, v } => vec![g, v],
            Self::SpectralNorm { weight, u, v } => vec![weight, u, v],
        }
    }
}

impl<'f> Names<'f> {
    /// The arrays of a file whose names have the prefix, which parameters do not have. `metadata` says which of several names
    /// of one tensor was written: `save_model` of safetensors keeps one, and notes it for each of the others.
    pub fn new(arrays: &[&'f str], metadata: &'f Metadata, prefix: &str) -> Self {
        let stored = arrays
            .iter()
            .filter_map(|&name| Some((name.strip_prefix(prefix)?, name)));
        let all = stored.clone().map(|(_, name)| name).collect();
        let alias = |(alias, kept): (&'f String, &'f String)| {
            let kept = arrays.iter().find(|name| *name == kept)?;
            Some((alias.strip_prefix(prefix)?, *kept))
        };
        let aliases: BTreeMap<_, _> = metadata.iter().filter_map(alias).collect();
        let named: Vec<(&str, &'f str)> = stored.chain(aliases).collect();
        // A name as it stands comes before one that has lost its wrappers.
        let bare = named.iter().map(|(name, array)| (unwrapped(name), *array));
        let exact = named
            .iter()
            .map(|(name, array)| ((*name).to_owned(), *array));
        let mut arrays = BTreeMap::new();
        for (name, array) in exact.chain(bare) {
            arrays.entry(name).or_insert(array);
        }
        Self { arrays, all }
    }

    /// How a parameter is kept; `None` if it is not there in any way that is known.
    pub fn find(&self, parameter: &str) -> Option<Kept<'f>> {
        let get = |name: &str| self.arrays.get(name).copied();
        if let Some(name) = get(parameter) {
            return Some(Kept::Plain(name));
        }
        if parameter.contains([PART, NUMBER]) {
            return self.joined(parameter).map(Kept::Joined);
        }
        let hooked = |end: &str| get(&format!("{parameter}{end}"));
        let registered = |end: &str| get(&(parametrizations(parameter) + end));
        let lengths = [
            (hooked("_g"), hooked("_v")),
            (registered("original0"), registered("original1")),
        ];
        let spectral = [
            (hooked("_orig"), hooked("_u"), hooked("_v")),
            (
                registered("original"),
                registered("0._u"),
                registered("0._v"),
            ),
        ];
        let weight_norm = lengths.into_iter().find_map(|(g, v)| {
            let (g, v) = (g?, v?);
            Some(Kept::WeightNorm { g, v })
        });
        let spectral_norm = spectral.into_iter().find_map(|(weight, u, v)| {
            let (weight, u, v) = (weight?, u?, v?);
            Some(Kept::SpectralNorm { weight, u, v })
        });
        weight_norm.or(spectral_norm)
    }

    /// The arrays of a name of several, all of them; `None` if one is missing.
    fn joined(&self, parameter: &str) -> Option<Vec<&'f str>> {
        let get = |name: &str| self.arrays.get(name).copied();
        let mut arrays = Vec::new();
        for part in parameter.split(PART) {
            if !part.contains(NUMBER) {
                arrays.push(get(part)?);
                continue;
            }
            let numbered = (1..).map(|number: usize| part.replace(NUMBER, &number.to_string()));
            let there: Vec<_> = numbered.map_while(|name| get(&name)).collect();
            if there.is_empty() {
                return None;
            }
            arrays.extend(there);
        }
        Some(arrays)
    }

    /// The arrays that a reparametrization has put in the place of a parameter.
    pub fn parts(&self, parameter: &str) -> Vec<String> {
        let registered = parametrizations(parameter);
        let of_parameter = |name: &str| {
            let end = name.strip_prefix(parameter);
            end.is_some_and(|end| PARTS.contains(&end)) || name.starts_with(&registered)
        };
        let parts: BTreeSet<&str> = (self.arrays.iter())
            .filter(|(name, _)| of_parameter(name))
            .map(|(_, array)| *array)
            .collect();
        parts.into_iter().map(str::to_owned).collect()
    }

    /// The array most like a parameter, of those not taken: one with its name behind a prefix, or one of a name nearly alike.
    pub fn nearest(&self, parameter: &str, taken: &BTreeSet<&str>) -> Option<String> {
        let left = || {
            self.all
                .iter()
                .copied()
                .filter(|name| !taken.contains(name))
        };
        let behind = format!(".{parameter}");
        let prefixed = left().find(|name| name.ends_with(&behind));
        let prefixed = prefixed.map(str::to_owned);
        prefixed.or_else(|| registry::nearest(parameter, left()))
    }

    /// The arrays not taken, but for the counts.
    pub fn additional(&self, taken: &BTreeSet<&str>) -> Vec<String> {
        let left = self.all.iter().filter(|name| !taken.contains(*name));
        let is_count = |name: &str| {
            let name = unwrapped(name);
            let last = name.rsplit('.').next().unwrap_or_default();
            name == UPDATES || last == BATCHES
        };
        let parameters = left.filter(|name| !is_count(name));
        parameters.map(|name| (*name).to_owned()).collect()
    }
}

/// A name without those of wrappers.
fn unwrapped(name: &str) -> String {
    let parts: Vec<&str> = name
        .split('.')
        .filter(|part| !WRAPPERS.contains(part))
        .collect();
    parts.join(".")
}

/// Where `torch.nn.utils.parametrizations` keeps what a parameter is made of, with a dot behind.
fn parametrizations(parameter: &str) -> String {
    let (path, leaf) = parameter.rsplit_once('.').unwrap_or(("", parameter));
    join(path, &format!("parametrizations.{leaf}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(arrays: &[&str], metadata: &[(&str, &str)], parameter: &str) -> Vec<String> {
        let metadata = metadata
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        let metadata = metadata.collect();
        let names = Names::new(arrays, &metadata, "");
        let kept = names.find(parameter).map(|kept| kept.arrays());
        let kept = kept.unwrap_or_default().into_iter();
        kept.map(str::to_owned).collect()
    }

    #[test]
    fn names_lose_their_wrappers_wherever_these_are() {
        for name in [
            "module.a.weight",
            "_orig_mod.module.a.weight",
            "a._orig_mod.weight",
            "module.a._fsdp_wrapped_module.weight",
        ] {
            assert_eq!(found(&[name], &[], "a.weight"), [name]);
        }
        // What is there by its own name is meant, even if it looks like a wrapper.
        let both = ["module.weight", "weight"];
        assert_eq!(found(&both, &[], "weight"), ["weight"]);
        assert_eq!(found(&both, &[], "module.weight"), ["module.weight"]);
    }

    #[test]
    fn parts_are_found_under_the_names_of_hooks_and_of_parametrizations() {
        let hook = ["module.a.weight_g", "module.a.weight_v"];
        assert_eq!(found(&hook, &[], "a.weight"), hook);
        let new = [
            "parametrizations.weight.original0",
            "parametrizations.weight.original1",
        ];
        assert_eq!(found(&new, &[], "weight"), new);
        let hook = ["weight_orig", "weight_u", "weight_v"];
        assert_eq!(found(&hook, &[], "weight"), hook);
        let new = [
            "a.parametrizations.weight.original",
            "a.parametrizations.weight.0._u",
            "a.parametrizations.weight.0._v",
        ];
        assert_eq!(found(&new, &[], "a.weight"), new);
        assert_eq!(found(&new[..2], &[], "a.weight"), [""; 0]);
    }

    #[test]
    fn an_alias_leads_to_the_array_that_was_written() {
        let alias = [("module.b.weight", "module.a.weight"), ("config", "{}")];
        let arrays = ["module.a.weight"];
        for parameter in ["a.weight", "b.weight"] {
            assert_eq!(found(&arrays, &alias, parameter), arrays);
        }
        assert_eq!(found(&arrays, &alias, "config"), [""; 0]);
    }
}
