//! Stabilizers: parameters that keep a map contractive, by a change of variables.

use std::fmt::Debug;

use dfdx::prelude::*;
use equilibria_core::{
    registry, Backend, BuildAny, Error, Family, Matrix, Parameters, Result, Scalar,
};

/// A matrix on a tape.
pub type Traced<E, D> = Matrix<E, D, OwnedTape<E, D>>;

/// From the matrix V that is trained to the matrix W that a layer works with.
pub trait Stabilizer<E: Scalar, D: Backend<E>> {
    /// Name of the plugin, for messages.
    fn name(&self) -> &'static str;

    /// Which matrices it applies to; see [`stabilize`].
    fn parameters(&self) -> &[String];

    /// W from V, `[rows, columns]`, recorded on the tape of V.
    fn effective(&self, raw: Traced<E, D>) -> Result<Traced<E, D>>;
}

/// The family of stabilizers.
pub struct Stabilizers;

impl Family for Stabilizers {
    type Request<'a, D: 'a> = ();
    type Product<E: Scalar, D: Backend<E>> = Box<dyn Stabilizer<E, D>>;
}

/// The configuration of a stabilizer; the stabilizer comes from [`Build<Stabilizers>`](equilibria_core::Build).
#[equilibria_core::typetag::serde(tag = "type")]
pub trait StabilizerConfig:
    BuildAny<Stabilizers> + Debug + Send + Sync + dyn_clone::DynClone
{
    /// Checks the ranges of all fields. Default: everything is allowed.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

equilibria_core::kind!(dyn StabilizerConfig, "stabilizer", validate);

/// A stabilizer by name, with its default configuration.
///
/// # Errors
/// [`UnknownPlugin`](equilibria_core::Error::UnknownPlugin), which names the nearest known one.
pub fn stabilizer<E: Scalar, D: Backend<E>>(name: &str) -> Result<Box<dyn Stabilizer<E, D>>> {
    let config = registry::default::<dyn StabilizerConfig>(name)?;
    <D as Backend<E>>::build::<Stabilizers>(&*config, ())
}

/// The pattern of a stabilizer that applies to all weights.
pub fn all_weights() -> Vec<String> {
    vec!["weight".to_owned()]
}

/// A copy of `layer` that works with effective parameters, and the tape that leads from there back to the raw ones: what
/// gradients the effective parameters receive, the parameters of `layer` receive through it.
///
/// A stabilizer applies to a parameter whose name ends in one of its patterns, component by component: `hat.weight` is
/// meant by `weight`, `hat.weight` and `theta.1.hat.weight`. Vectors, `[1, d]`, are never touched. Of several
/// stabilizers, each works on the result of the one before.
///
/// # Errors
/// [`Error::Config`], with the pattern, if a pattern means no matrix of `layer`.
pub fn stabilize<E: Scalar, D: Backend<E>, L: Parameters<E, D> + Clone>(
    layer: &L,
    stabilizers: &[Box<dyn Stabilizer<E, D>>],
    tape: OwnedTape<E, D>,
) -> Result<(L, OwnedTape<E, D>)> {
    let (mut layer, mut tape) = (layer.clone(), Ok(tape));
    for stabilizer in stabilizers {
        require_matches(&**stabilizer, &layer)?;
        layer.visit_mut("", &mut |name, tensor| {
            let means = |pattern: &String| meant(name, tensor, pattern);
            if tape.is_err() || !stabilizer.parameters().iter().any(means) {
                return;
            }
            let owned = std::mem::replace(&mut tape, Ok(OwnedTape::default()));
            tape = owned
                .and_then(|tape| stabilizer.effective(tensor.clone().put_tape(tape)))
                .map(|effective| {
                    let (effective, tape) = effective.split_tape();
                    *tensor = effective;
                    tape
                });
        });
    }
    Ok((layer, tape?))
}

/// Whether `pattern` is the end of `name`, and the parameter is no vector.
fn meant<E: Scalar, D: Backend<E>>(name: &str, tensor: &Matrix<E, D>, pattern: &str) -> bool {
    let ends = name.strip_suffix(pattern);
    tensor.shape().0 > 1 && ends.is_some_and(|path| path.is_empty() || path.ends_with('.'))
}

fn require_matches<E: Scalar, D: Backend<E>, L: Parameters<E, D>>(
    stabilizer: &dyn Stabilizer<E, D>,
    layer: &L,
) -> Result<()> {
    let named = layer.named();
    let useless = (stabilizer.parameters().iter()).find(|pattern| {
        !named
            .iter()
            .any(|(name, tensor)| meant(name, tensor, pattern))
    });
    useless.map_or(Ok(()), |pattern| {
        let matrices = named.iter().filter(|(_, tensor)| tensor.shape().0 > 1);
        let names: Vec<&str> = matrices.map(|(name, _)| name.as_str()).collect();
        Error::require(
            false,
            stabilizer.name(),
            "parameters",
            "ends of names of matrices",
            format!("`{pattern}`, where there are {}", names.join(", ")),
        )
    })
}
