//! Layers by name: from a plain configuration to a layer for any dtype and device.

use std::fmt::Debug;

use equilibria_core::{registry, AnyLayer, Backend, BuildAny, Family, Result, Scalar};

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
