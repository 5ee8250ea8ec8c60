//! Layers by name: from a plain configuration to a layer for any dtype and device.

use std::fmt::Debug;

use equilibria_core::{registry, AnyLayer, Backend, BuildAny, Error, Family, Result, Scalar};

use crate::Initializer;

/// The family of implicit layers.
pub struct Layers;

impl Family for Layers {
    type Request<'a, D: 'a> = LayerRequest<'a, D>;
    type Product<E: Scalar, D: Backend<E>> = AnyLayer<E, D>;
}

/// What a layer is built for.
pub struct LayerRequest<'a, D> {
    /// Dimension of one sample's state.
    pub state: usize,
    /// Width of each injected input.
    pub inputs: &'a [usize],
    /// Makes the parameters.
    pub init: &'a mut Initializer<D>,
}

/// The configuration of an implicit layer, as it stands in a file. The layer itself comes from
/// [`Build<Layers>`](equilibria_core::Build).
#[equilibria_core::typetag::serde(tag = "type")]
pub trait LayerConfig: BuildAny<Layers> + Debug + Send + Sync + dyn_clone::DynClone {
    /// Checks the ranges of all fields. Default: everything is allowed.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// The only sizes that this configuration takes, for a layer whose rows have a structure (nodes, tokens, constraints are fields).
    /// Default: none, for any state will do, with one injected input.
    fn sizes(&self) -> Option<Sizes> {
        None
    }

    /// Whether the equation is meant for states and inputs above 0 alone. Default: no.
    fn needs_positive(&self) -> bool {
        false
    }

    /// Names of parameters here and in the state dict of the original code, if there is one: by them its checkpoints load. Default:
    /// none.
    fn original_names(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Sizes of one sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Dimension of the state.
    pub state: usize,
    /// Width of each injected input.
    pub inputs: Vec<usize>,
}

impl Sizes {
    /// Makes sure that a layer which has sizes of its own is asked for these.
    ///
    /// # Errors
    /// [`Error::Shape`], with the name of the `plugin`.
    pub fn require(own: Option<Self>, plugin: &str, state: usize, inputs: &[usize]) -> Result<()> {
        match own {
            Some(own) if own.state != state || own.inputs != inputs => Err(Error::Shape {
                what: format!("state and inputs of `{plugin}`"),
                expected: format!("{} and {:?} by its fields", own.state, own.inputs),
                got: format!("{state} and {inputs:?}"),
            }),
            _ => Ok(()),
        }
    }
}

equilibria_core::kind!(dyn LayerConfig, "layer", validate);

/// A layer by name, with its default configuration: of state dimension `state`, with injected inputs of these widths.
///
/// # Errors
/// [`UnknownPlugin`](equilibria_core::Error::UnknownPlugin), which names the nearest known one, and those of the layer, e.g. for
/// inputs it does not take.
pub fn layer<E: Scalar, D: Backend<E>>(
    name: &str,
    state: usize,
    inputs: &[usize],
    init: &mut Initializer<D>,
) -> Result<AnyLayer<E, D>> {
    let config = registry::default::<dyn LayerConfig>(name)?;
    let request = LayerRequest {
        state,
        inputs,
        init,
    };
    <D as Backend<E>>::build::<Layers>(&*config, request)
}

/// Pairs of names as [`LayerConfig::original_names`] has them.
pub fn pairs(names: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |&(ours, theirs): &(&str, &str)| (ours.to_owned(), theirs.to_owned());
    names.iter().map(owned).collect()
}

/// The width of the one injected input of a layer.
///
/// # Errors
/// [`Error::Config`], with the name of the `plugin`, if there is another number of inputs.
pub fn one_input(plugin: &'static str, inputs: &[usize]) -> Result<usize> {
    match inputs {
        [width] => Ok(*width),
        _ => {
            let got = format!("{} inputs", inputs.len());
            Error::require(false, plugin, "inputs", "one injected input", got).map(|()| 0)
        }
    }
}

/// The width of the one injected input of a layer that takes it as wide as the state.
///
/// # Errors
/// [`Error::Config`], with the name of the `plugin`, for other inputs.
pub fn one_input_like_state(plugin: &'static str, state: usize, inputs: &[usize]) -> Result<usize> {
    let expected = "one, as wide as the state";
    let got = format!("{inputs:?}");
    Error::require(inputs == [state], plugin, "inputs", expected, got).map(|()| state)
}
