//! Groups of parameters that are trained in a way of their own.

use std::collections::HashSet;

use equilibria_core::{Backend, Error, Parameters, Result, Scalar};
use serde::{Deserialize, Serialize};

use super::OptimizerConfig;

/// What is different for some parameters.
///
/// A pattern means every parameter in whose name its parts follow one another: `bias` means `fusion.fuse.gn.bias`, `fusion` means that
/// and all others of the fusion, `gn.bias` the biases of group normalizations. Where several groups mean a parameter, the later one
/// decides; what it leaves open is as the one before has it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Patterns, at least one. The log warns of one that means no parameter.
    pub names: Vec<String>,
    /// Learning rate, above 0. Default: that of the optimizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Weight decay, at least 0. Default: that of the optimizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether they stay as they are; their gradients do not count for clipping. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<bool>,
}

impl Group {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// [`Error::Config`], with the field.
    pub fn validate(&self) -> Result<()> {
        let named = !self.names.is_empty() && self.names.iter().all(|name| !name.is_empty());
        let got = format!("{:?}", self.names);
        let expected = "parts of names of parameters, at least one";
        Error::require(named, "training.group", "names", expected, got)?;
        if let Some(rate) = self.rate {
            Error::require_positive("training.group", "rate", rate)?;
        }
        self.weight_decay.map_or(Ok(()), |decay| {
            Error::require_not_negative("training.group", "weight_decay", decay)
        })
    }

    fn means(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| means(pattern, name))
    }
}

/// Whether the parts of a pattern follow one another in a name.
fn means(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<&str>, Vec<&str>) =
        (pattern.split('.').collect(), name.split('.').collect());
    name.windows(pattern.len()).any(|part| part == pattern)
}

/// How one parameter is trained.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub config: OptimizerConfig,
    /// Whether it is trained at all.
    pub trained: bool,
}

/// How every parameter is trained, in their order. Running statistics are not.
pub(super) fn settings<E: Scalar, D: Backend<E>>(
    config: &OptimizerConfig,
    groups: &[Group],
    parameters: &(impl Parameters<E, D> + ?Sized),
) -> Vec<Setting> {
    let mut names = Vec::new();
    parameters.visit("", &mut |name, _| names.push(name.to_owned()));
    // No error: a study takes one fusion after the other, and some have no parameters.
    for pattern in groups.iter().flat_map(|group| &group.names) {
        if !names.iter().any(|name| means(pattern, name)) {
            log::warn!("a group of parameters: `{pattern}` is part of no name");
        }
    }
    let mut statistics = HashSet::new();
    parameters.visit_statistics("", &mut |name| {
        statistics.insert(name.to_owned());
    });
    let setting = |name: &String| {
        let mut setting = Setting {
            config: config.clone(),
            trained: true,
        };
        for group in groups.iter().filter(|group| group.means(name)) {
            setting.config.change(group.rate, group.weight_decay);
            setting.trained = !group.frozen.unwrap_or(!setting.trained);
        }
        setting.trained &= !statistics.contains(name);
        setting
    };
    names.iter().map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_parts_of_names() {
        let name = "fusion.theta.1.gn1.bias";
        for pattern in ["bias", "fusion", "theta.1", "gn1.bias", name] {
            assert!(means(pattern, name), "{pattern}");
        }
        for pattern in ["gn", "theta.bias", "fusion.theta.1.gn1.bias.x", "usion"] {
            assert!(!means(pattern, name), "{pattern}");
        }
    }

    #[test]
    fn fields_out_of_range_are_named() {
        let group = |names: &[&str], rate| Group {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            rate,
            ..Group::default()
        };
        assert!(group(&["bias"], Some(0.1)).validate().is_ok());
        for wrong in [
            group(&[], None),
            group(&[""], None),
            group(&["a"], Some(0.0)),
        ] {
            let error = wrong.validate().err();
            assert!(
                matches!(
                    error,
                    Some(Error::Config {
                        plugin: "training.group",
                        ..
                    })
                ),
                "{error:?}"
            );
        }
    }
}
