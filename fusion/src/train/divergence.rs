//! Which parameter is behind numbers that are not finite. It is looked for when something has failed: training steps pay nothing.

use dfdx::prelude::HasShape;
use equilibria_core::{to_host, Backend, Error, Parameters, Result, Scalar};

use crate::model::Model;

/// No weight that has learned anything is as large; outputs far from the targets come from such ones.
const HUGE: f64 = 1e6;

/// The parameter that stands out.
struct Worst {
    name: String,
    /// Its largest entry, without its sign; infinite where one is not finite.
    largest: f64,
    /// Parameters that are not finite.
    affected: usize,
    parameters: usize,
}

impl Worst {
    /// The first parameter that is not finite, or else the one with the largest entry; `None` of a model without parameters.
    fn of<E: Scalar, D: Backend<E>>(model: &Model<E, D>) -> Option<Self> {
        let size = |value: E| match value.is_finite() {
            true => value.wide().abs(),
            false => f64::INFINITY,
        };
        let named = model.named();
        let sizes = named.iter().map(|(_, tensor)| {
            let values = to_host(tensor).into_iter();
            values.map(size).fold(0.0, f64::max)
        });
        let sizes: Vec<f64> = sizes.collect();
        let largest = sizes.iter().copied().reduce(f64::max)?;
        let place = sizes.iter().position(|size| *size >= largest)?;
        Some(Self {
            name: named[place].0.clone(),
            largest,
            affected: sizes.iter().filter(|size| size.is_infinite()).count(),
            parameters: sizes.len(),
        })
    }

    fn error(self, source: Error, place: impl ToString, remedy: &'static str) -> Error {
        Error::Diverged {
            place: place.to_string(),
            parameter: self.name,
            largest: self.largest,
            affected: self.affected,
            parameters: self.parameters,
            remedy,
            source: Box::new(source),
        }
    }
}

/// The same error, where it may come from the parameters of the model with [`Error::Diverged`] around it: the first that is not
/// finite, or else the largest. `place` is where it happened, a step or a file, and `remedy` what to do, in the imperative.
pub fn explain<E: Scalar, D: Backend<E>>(
    error: Error,
    model: &Model<E, D>,
    place: impl ToString,
    remedy: &'static str,
) -> Error {
    let least = match innermost(&error) {
        Error::NonFinite { .. } => 0.0,
        // Of a solve, and of metrics and losses.
        Error::Unconverged { .. } | Error::Parse { .. } => HUGE,
        _ => return error,
    };
    match Worst::of(model).filter(|worst| worst.largest >= least) {
        Some(worst) => worst.error(error, place, remedy),
        None => error,
    }
}

/// Refuses parameters that are not finite.
pub(super) fn require_finite<E: Scalar, D: Backend<E>>(
    model: &Model<E, D>,
    place: impl ToString,
    remedy: &'static str,
) -> Result<()> {
    for (name, tensor) in model.named() {
        let values = to_host(&tensor);
        let Some(entry) = values.iter().position(|value| !value.is_finite()) else {
            continue;
        };
        let columns = tensor.shape().1;
        let source = Error::NonFinite {
            what: format!("`{name}`"),
            row: entry / columns,
            column: entry % columns,
        };
        return Err(explain(source, model, place, remedy));
    }
    Ok(())
}

fn innermost(error: &Error) -> &Error {
    match error {
        Error::Equilibrium { source, .. } => innermost(source),
        other => other,
    }
}
